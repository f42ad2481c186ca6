"""`voxify worker` and `voxify beat`: what they refuse, and a worker that looks for jobs by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner

from api.cli import app
from api.cli_worker import lanes_of
from settings import Settings
from tests.api.inference import FakeInference, served
from tests.api.rooms import caller
from tests.api.support import make_app, running
from tests.servers import free_port, voxify_process
from worker.lanes import LANES

POSTGRES, BROKER, VECTORS = "postgresql+asyncpg://host/voxify", "amqp://me:hunter2@host//", "http://host:8000"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("VOXIFY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOXIFY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("VOXIFY_ENV", "dev")
    return monkeypatch


@pytest.mark.parametrize(
    ("values", "what_to_do"),
    [
        ({"queue": "celery", "database_url": POSTGRES, "vectors_url": VECTORS}, "VOXIFY_BROKER_URL"),
        ({"queue": "celery", "database_url": POSTGRES, "vectors_url": VECTORS, "broker_url": "redis://host"}, "VOXIFY_BROKER_URL"),
        ({"queue": "celery", "broker_url": BROKER, "vectors_url": VECTORS}, "VOXIFY_DATABASE_URL"),
        ({"queue": "celery", "broker_url": BROKER, "database_url": POSTGRES}, "VOXIFY_VECTORS_URL"),
        ({"queue": "workers"}, "VOXIFY_VECTORS_URL"),
    ],
)
@pytest.mark.usefixtures("logs")
def test_what_does_not_go_together_is_refused_with_what_to_do(
    environment: pytest.MonkeyPatch, values: dict[str, str], what_to_do: str
) -> None:
    for name, value in values.items():
        environment.setenv(f"VOXIFY_{name.upper()}", value)
    for command in (["serve"], ["worker"], ["beat"]):
        refused = CliRunner().invoke(app, command)
        assert refused.exit_code == 2
        assert what_to_do in refused.output
        assert "hunter2" not in refused.output


def test_what_goes_together_is_not_refused(tmp_path: Path) -> None:
    given: dict[str, Any] = {"queue": "celery", "broker_url": SecretStr(BROKER), "database_url": POSTGRES, "vectors_url": VECTORS}
    made = Settings(data_dir=tmp_path, _env_file=None, **given)  # type: ignore[call-arg]
    assert "hunter2" not in repr(made)
    with pytest.raises(ValidationError):
        Settings(data_dir=tmp_path, _env_file=None, queue="rabbit")  # type: ignore[call-arg,arg-type]


@pytest.mark.usefixtures("logs", "environment")
def test_a_celery_worker_needs_an_api_that_rings() -> None:
    refused = CliRunner().invoke(app, ["worker", "--celery"])
    assert refused.exit_code == 2
    assert "VOXIFY_QUEUE=celery" in refused.output


@pytest.mark.usefixtures("logs", "environment")
def test_a_lane_that_there_is_not_is_named() -> None:
    refused = CliRunner().invoke(app, ["worker", "--lanes", "speech,song"])
    assert refused.exit_code == 2
    assert "song" in refused.output


def test_slots_are_those_of_the_lanes_that_are_named(settings: Settings) -> None:
    assert lanes_of(settings, "", 0) == {"speech": 2, "voice": 1, "quality": 1, "training": 1, "webhook": 2, "mail": 1}
    assert lanes_of(settings, "", 5) == {"speech": 5, "voice": 1, "quality": 1, "training": 1, "webhook": 2, "mail": 1}
    assert lanes_of(settings, " speech, mail", 0) == {"speech": 2, "mail": 1}
    assert lanes_of(settings, "voice,webhook", 3) == {"voice": 3, "webhook": 3}
    assert set(lanes_of(settings, "", 0)) == set(LANES)


@pytest.mark.timeout(300)
async def test_a_worker_that_looks_for_jobs_and_is_told_to_stop(settings: Settings, inference: FakeInference, tmp_path: Path) -> None:
    """On one host, with SQLite: the API takes jobs and a process beside it does them."""
    async with served(inference) as url:
        shared = {"queue": "workers", "vectors_url": f"http://127.0.0.1:{free_port()}", "inference_url": url, "speech_cache": False}
        own = {"env": "dev", "data_dir": settings.data_dir, "drain_s": 0.2, "queue_poll_s": 0.2}
        api = make_app(settings.model_copy(update=shared), inference_transport=inference.transport)
        async with running(api) as client:
            me = await caller(client, api, inference)
            first = (await me.data("POST", "/job", json={"text_content": "Hello."}))["id"]
            command = ("worker", "--lanes", "speech", "--slots", "1")
            with voxify_process(tmp_path / "log", *command, **shared, **own) as process:
                async with asyncio.timeout(200):
                    await inference.waiting.acquire()
                    await me.until(f"/job/{first}", "completed")
                    inference.gate.clear()
                    second = (await me.data("POST", "/job", json={"text_content": "Hello again."}))["id"]
                    await inference.waiting.acquire()
                    process.send_signal(signal.SIGTERM)
                    while process.poll() is None:
                        await asyncio.sleep(0.05)
            assert process.returncode == 0, (tmp_path / "log").read_text()[-2000:]
            put_back = await me.data("GET", f"/job/{second}")
            assert (put_back["status"], put_back["attempt"]) == ("pending", 0)
            inference.gate.set()
