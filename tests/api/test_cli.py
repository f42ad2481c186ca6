"""The command, as a process of its own where it serves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from api.app import create_app
from api.cli import app, end_streams
from settings import Settings


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("VOXIFY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOXIFY_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


@pytest.mark.usefixtures("logs")
def test_database_check_and_upgrade(environment: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["db", "check"]).exit_code == 1
    assert runner.invoke(app, ["db", "upgrade"]).exit_code == 0
    assert runner.invoke(app, ["db", "upgrade"]).exit_code == 0
    checked = runner.invoke(app, ["db", "check"])
    assert checked.exit_code == 0
    assert "newest" in checked.output


@pytest.mark.usefixtures("logs", "environment")
def test_serve_without_a_secret_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXIFY_ENV", "prod")
    refused = CliRunner().invoke(app, ["serve"])
    assert refused.exit_code == 2
    assert "VOXIFY_JWT_SECRET" in refused.output
    assert "Traceback" not in refused.output


@pytest.mark.usefixtures("logs", "environment")
def test_a_bad_setting_is_named_and_its_value_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXIFY_JWT_SECRET", "hunter2")
    refused = CliRunner().invoke(app, ["serve"])
    assert refused.exit_code == 2
    assert "VOXIFY_JWT_SECRET" in refused.output
    assert "hunter2" not in refused.output
    monkeypatch.delenv("VOXIFY_JWT_SECRET")
    monkeypatch.setenv("VOXIFY_API_PORT", "many")
    assert "VOXIFY_API_PORT" in CliRunner().invoke(app, ["serve"]).output


def test_serve_until_told_to_stop(environment: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"VOXIFY_ENV": "dev", "VOXIFY_API_PORT": str(port), "PYTHONPATH": str(Path(__file__).parents[2])}
    with (
        (environment / "log").open("w+") as log,
        subprocess.Popen([sys.executable, "-m", "api.cli", "serve"], env=os.environ | settings, stdout=log, stderr=log) as process,
    ):
        try:
            assert _answers(f"http://127.0.0.1:{port}/health/live", process).status_code == 200
            head = httpx.head(f"http://127.0.0.1:{port}/nope")
            assert (head.status_code, head.content) == (404, b"")
            assert "server" not in head.headers
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        assert process.returncode in {0, -signal.SIGTERM}
        log.seek(0)
        lines = [json.loads(line) for line in log]
    events = [line["event"] for line in lines]
    assert events.count("request") >= 2
    assert "api started" in events
    assert "api stopped" in events
    assert any(line["logger"] == "uvicorn.error" for line in lines), "uvicorn's own lines have the same form"


def _answers(address: str, process: subprocess.Popen[bytes]) -> httpx.Response:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return httpx.get(address, timeout=10)
        except httpx.ConnectError:
            time.sleep(0.05)  # between two knocks at a door that may still be closed, until the deadline
    raise AssertionError("the server did not come up")


def test_a_signal_during_the_start_finds_no_streams(tmp_path: Path) -> None:
    end_streams(create_app(Settings(env="dev", data_dir=tmp_path, _env_file=None)))  # type: ignore[call-arg]
