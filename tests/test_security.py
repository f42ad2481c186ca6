"""docs/security.md names no test that is not there, and `make audit` passes nothing over."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:\w+/)*test_\w+\.py)::(\w+)`", TEXT)))
THREATS = [line for line in TEXT.partition("## Threats")[2].partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*(?:\[[a-z0-9,-]+\])?==\S+)", re.IGNORECASE | re.MULTILINE)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_test_is_there(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_threat_names_a_test() -> None:
    assert len(THREATS) >= 30
    assert [line for line in THREATS if "::" not in line] == []
    assert TEXT.count("::") == len(re.findall(r"`(?:\w+/)*test_\w+\.py::\w+`", TEXT)), "a name that nobody looks at"


def test_what_is_audited_is_all_that_is_pinned() -> None:
    done = subprocess.run(["make", "--dry-run", "audit"], cwd=ROOT, check=True, capture_output=True, text=True)
    (command,) = (line for line in done.stdout.splitlines() if "pip-audit" in line)
    assert "--strict" in command, "what cannot be looked up is a failure"
    audited = {pin for name in re.findall(r"-r (\S+)", command) for pin in pins(ROOT / name)}
    assert len(audited) > 100
    for path in (ROOT / "requirements").glob("*.txt"):
        if path.name != "api-left-out.txt":
            assert pins(path) <= audited, path.name


def pins(path: Path) -> set[str]:
    return set(PIN.findall(path.read_text(encoding="utf-8")))
