"""`docs/contract-coverage.md` names every endpoint, and no test that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.api.isolation import ENDPOINTS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "contract-coverage.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:tests/)?[\w/]*test_\w+\.py)::(\w+)`", TEXT)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_test_is_there(file: str, name: str) -> None:
    path = ROOT / file if file.startswith("tests/") else ROOT / "tests" / "api" / file
    assert re.search(rf"^(async )?def {name}\(", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_line_of_a_table_names_a_test() -> None:
    asked = [
        line
        for line in TEXT.partition("## Missing")[0].splitlines()
        if line.startswith("| ") and not line.startswith(("| asked", "| endpoint"))
    ]
    assert len(asked) > 60
    assert [line for line in asked if "::" not in line] == []


def test_every_endpoint_is_named() -> None:
    named = set(re.findall(r"`([A-Z]+ /[^`]+)`", TEXT))
    ours = {name.replace(" /api/v1", " ") for name in ENDPOINTS if " /api/v1" in name and not name.startswith("OPTIONS")}
    assert ours - named == set(), "say in docs/contract-coverage.md where it is answered and which test shows it"
    assert named - ours == set(), "take what is gone out of docs/contract-coverage.md"


def test_rooms_that_are_named_are_there() -> None:
    for path in re.findall(r"`((?:api|store|worker|audio|inference)/[\w/.]+)`", TEXT):
        assert (ROOT / path).exists(), path
