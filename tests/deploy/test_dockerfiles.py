"""What holds for both images, told from their files; tests/deploy/test_images.py builds one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from settings import Settings
from tests.servers import ROOT

FOLDER = ROOT / "deploy" / "docker"
FILES = sorted(FOLDER.glob("*.Dockerfile"))


def instructions(path: Path) -> list[tuple[str, str]]:
    """Each with its arguments, in order; comments and line ends gone."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_image_can_be_built_on_any_base_and_runs_as_nobody_special(path: Path) -> None:
    steps = instructions(path)
    assert steps[0][0] == "ARG"
    assert steps[0][1].startswith("BASE_IMAGE=")
    last = max(number for number, (name, _) in enumerate(steps) if name == "FROM")
    assert steps[last][1] == "${BASE_IMAGE}"
    final = dict(steps[last:])
    assert final["USER"] == "10001:10001"
    assert final["VOLUME"] == "/data"
    assert {"HEALTHCHECK", "ENTRYPOINT", "CMD", "EXPOSE"} <= final.keys()
    assert not [argument for name, argument in steps[last:] if name == "ARG"], "an argument of the build would stay in the image"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_index_of_packages_is_named(path: Path) -> None:
    addresses = re.findall(r"https?://[^\s'\"/:]+", path.read_text())
    assert set(addresses) <= {"http://127.0.0.1"}


@pytest.mark.parametrize(
    ("name", "port"), [("api", Settings(_env_file=None).api_port), ("inference", Settings(_env_file=None).inference_port)]
)
def test_ports_are_those_of_the_settings(name: str, port: int) -> None:
    steps = dict(instructions(FOLDER / f"{name}.Dockerfile"))
    assert steps["EXPOSE"] == str(port)
    assert f"127.0.0.1:{port}/" in steps["HEALTHCHECK"]


def test_the_context_holds_what_is_installed_and_no_more() -> None:
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = {name.rstrip("*") for name in about["tool"]["setuptools"]["packages"]["find"]["include"]} - {"inference"}
    assert admitted == rooms | {
        "*.py",
        "pyproject.toml",
        "requirements/api.txt",
        about["project"]["readme"],
        *about["project"]["license-files"],
    }
    assert {path.stem for path in ROOT.glob("*.py")} == set(about["tool"]["setuptools"]["py-modules"])
