"""compose.yaml and what may be laid over it: valid, consistent, and with settings that Voxify takes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from tests.deploy.settings_of import parse_command, settings_from
from tests.servers import ROOT

ONE = ROOT / "compose.yaml"
FOLDER = ROOT / "deploy" / "compose"
FILES = [ONE, FOLDER / "full.yaml", FOLDER / "gpu.yaml"]
SCHEMA = json.loads((ROOT / "deploy" / "schemas" / "compose-spec.json").read_text())
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?:(?P<how>:[-?])(?P<rest>[^}]*))?\}")
OURS = {"api", "inference", "worker", "beat", "migrate"}


def merged(below: Any, above: Any) -> Any:
    """Two files laid over each other, by Compose's rules for what ours hold: mappings by key, lists one after the other."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: merged(below[key], value) if key in below else value for key, value in above.items()}
    return below + above if isinstance(below, list) and isinstance(above, list) else above


def filled(value: Any, variables: Mapping[str, str]) -> Any:
    """With the variables in their places; a required one that is missing raises KeyError."""
    if isinstance(value, dict):
        return {key: filled(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, variables) for inner in value]
    if not isinstance(value, str):
        return value

    def one(match: re.Match[str]) -> str:
        if match["how"] == ":-":
            return variables.get(match["name"]) or match["rest"]
        return variables[match["name"]]

    return VARIABLE.sub(one, value).replace("$$", "$")


def services(*, full: bool) -> dict[str, Any]:
    """All services with every required variable set."""
    files = [yaml.safe_load(path.read_text()) for path in FILES[: 2 if full else 1]]
    whole = merged(*files) if full else files[0]
    required = {match["name"]: "0123456789abcdef" * 4 for match in VARIABLE.finditer(json.dumps(whole)) if match["how"] == ":?"}
    return dict(filled(whole, required)["services"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_follow_the_specification(path: Any) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA)


def test_a_mistake_is_found() -> None:
    wrong = yaml.safe_load(ONE.read_text())
    wrong["services"]["api"]["prots"] = ["8000:8000"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secret_has_a_default(path: Any) -> None:
    for match in VARIABLE.finditer(path.read_text()):
        if re.search("SECRET|PASSWORD|KEY", match["name"]):
            assert match["how"] == ":?", match[0]
        if match["how"] == ":?":
            assert len(match["rest"]) > 10, f"{match[0]} does not say what is wanted"


@pytest.mark.parametrize("full", [False, True], ids=["one machine", "full"])
def test_settings_are_ours_and_go_together(full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    there = services(full=full)
    for name in OURS & there.keys():
        settings = settings_from(there[name].get("environment", {}), monkeypatch)
        if name != "inference":
            assert (settings.queue == "celery") is full
            assert settings.database.startswith("postgresql" if full else "sqlite")
            assert settings.inference == "http://inference:3000"


def ports_of(service: Mapping[str, Any]) -> set[int]:
    return {int(port.rsplit(":", 1)[-1]) for port in [*service.get("ports", []), *service.get("expose", [])]}


@pytest.mark.parametrize("full", [False, True], ids=["one machine", "full"])
def test_addresses_name_services_and_ports_that_are_there(full: bool) -> None:
    there, seen = services(full=full), set()
    for name in OURS & there.keys():
        for setting, value in there[name].get("environment", {}).items():
            address = urlsplit(value)
            if address.scheme in ("", "s3"):
                continue
            port = address.port or {"postgresql+asyncpg": 5432}[address.scheme]
            assert address.hostname in there, f"{setting} of {name}: {value}"
            assert port in ports_of(there[address.hostname]), f"{setting} of {name}: {value}"
            seen.add(address.hostname)
    assert seen == ({"inference", "postgres", "redis", "rabbitmq", "garage", "chroma"} if full else {"inference"})


@pytest.mark.parametrize("full", [False, True], ids=["one machine", "full"])
def test_what_is_waited_for_is_there_and_says_when_it_is_well(full: bool) -> None:
    there = services(full=full)
    for name, service in there.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in there, f"{name} waits for {other}"
            if how["condition"] == "service_healthy":
                assert "test" in there[other]["healthcheck"], f"{name} waits for {other}, which does not say how it is"
            if how["condition"] == "service_completed_successfully":
                assert there[other]["restart"] == "no"
        if name not in {"migrate", "api", "inference"}:  # one ends; the images of the others say it
            assert "test" in service["healthcheck"], name


@pytest.mark.parametrize("full", [False, True], ids=["one machine", "full"])
def test_our_containers_may_do_little(full: bool) -> None:
    there = services(full=full)
    assert (there.keys() >= OURS) is full
    for name in OURS & there.keys():
        service = there[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["tmpfs"][0] == "/tmp", name
        assert service["image"].startswith("voxify-"), name


def test_nothing_is_published_to_the_world() -> None:
    for name, service in services(full=True).items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{port} of {name}"


def test_stopping_waits_for_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    there = services(full=True)
    settings = settings_from(there["api"]["environment"], monkeypatch)
    inference = settings_from(there["inference"]["environment"], monkeypatch)
    grace = {name: int(there[name]["stop_grace_period"].removesuffix("s")) for name in ("api", "worker", "inference")}
    assert grace["api"] > settings.shutdown_grace_s
    assert grace["worker"] > settings.drain_s
    assert grace["inference"] > inference.shutdown_grace_s >= inference.inference_timeout_s


@pytest.mark.parametrize(("name", "command"), [("migrate", "upgrade"), ("worker", "worker"), ("beat", "beat")])
def test_commands_are_ours(name: str, command: str) -> None:
    assert parse_command(services(full=True)[name]["command"]) == command


def test_files_that_are_mounted_are_there() -> None:
    for name, service in services(full=True).items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{source} of {name}"
