"""Several processes with RabbitMQ between them: whatever of it dies or stands still, every job is done."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from settings import Settings
from store.clock import utcnow
from store.ids import new_id
from store.models import Job
from store.repositories.jobs import JobRepository
from tests.api.inference import FakeInference, served
from tests.api.rooms import Caller, caller
from tests.api.support import make_app, running
from tests.conftest import MIGRATED, Postgres
from tests.engines import RabbitMQ, rabbitmq_server
from tests.servers import free_port, voxify_process

# Each takes seconds on a quiet machine; the limit is for one that is not.
pytestmark = pytest.mark.timeout(400)

WAIT_S = 150.0
QUICKLY_S = 2.0
LOST = {"lease_s": 3.0, "sweep_s": 0.3, "queue_poll_s": 0.3}


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    with rabbitmq_server() as made:
        yield made


@dataclass
class Stage:
    """An API that does no jobs itself, in the test's own process, and what else is needed to start workers."""

    me: Caller
    inference: FakeInference
    broker: RabbitMQ
    settings: Settings
    folder: Path

    @contextmanager
    def process(self, *command: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command of `voxify`, killed at the end."""
        given = {name: getattr(self.settings, name) for name in self.settings.model_fields_set} | settings
        plain = {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in given.items()}
        with voxify_process(self.log_file(*command), *command, **plain) as process:
            yield process

    def log_file(self, *command: str) -> Path:
        return self.folder / f"{'-'.join(command).replace('--', '')}.log"

    async def said(self, what: str, *command: str) -> None:
        """Return when the process has logged this."""
        async with asyncio.timeout(WAIT_S):
            while not self.log_file(*command).exists() or what not in self.log_file(*command).read_text():
                await asyncio.sleep(0.05)

    async def ended(self, process: subprocess.Popen[bytes]) -> int:
        async with asyncio.timeout(WAIT_S):
            while process.poll() is None:
                await asyncio.sleep(0.05)
        return process.returncode

    async def job(self, **asked: Any) -> str:
        """A job that the API has taken, quickly."""
        began = time.monotonic()
        made = await self.me.data("POST", "/job", json={"text_content": "Hello.", **asked})
        assert time.monotonic() - began < QUICKLY_S * load(), "the request has waited for the broker"
        return str(made["id"])

    async def unheard(self) -> str:
        """A job that nobody has rung for."""
        job = Job(id=new_id("job"), user_id=self.me.who.id, text_content="Hello.", voice_model_id="default_voice_001",
                  text_language="en-US", available_at=utcnow())  # fmt: skip
        await self.me.add(job)
        return job.id

    async def until(self, job_id: str, status: str) -> Job:
        async with asyncio.timeout(WAIT_S):
            while True:
                async with self.me.stores.database.read() as session:
                    job = await JobRepository(session).get(job_id)
                assert job is not None
                if job.status == status:
                    return job
                assert job.status in {"pending", "processing"}, (job.status, job.error_message)
                await asyncio.sleep(0.05)

    async def spoken(self, count: int = 1) -> None:
        """Return when so many chunks more have been asked for."""
        async with asyncio.timeout(WAIT_S):
            for _ in range(count):
                await self.inference.waiting.acquire()


def load() -> float:
    """By how much more work this machine has than it can do at once, at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.fixture
async def stage(broker: RabbitMQ, postgres: Postgres, tmp_path: Path) -> AsyncIterator[Stage]:
    inference = FakeInference()
    async with served(inference) as url:
        values: dict[str, Any] = {
            "env": "dev",
            "data_dir": tmp_path / "data",
            "database_url": await postgres.create(MIGRATED),
            "vectors_url": f"http://127.0.0.1:{free_port()}",  # nothing here looks for voices
            "queue": "celery",
            "broker_url": SecretStr(broker.url),
            "jwt_secret": SecretStr("s" * 32),
            "inference_url": url,
            "requests_per_minute": 10**6,
            "speech_cache": False,
        }
        settings = Settings(_env_file=None, **values, **LOST)
        app = make_app(settings, inference_transport=inference.transport)
        async with running(app) as client:
            yield Stage(await caller(client, app, inference), inference, broker, settings, tmp_path)
        inference.gate.set()


WORKER = ("worker", "--celery", "--slots", "1")
BEATING = (*WORKER, "--beat")


async def test_a_job_of_the_api_is_done_by_a_worker_and_one_that_a_dead_worker_had_by_another(stage: Stage) -> None:
    with stage.process(*WORKER) as worker:
        first = await stage.job()
        await stage.until(first, "completed")
        await stage.spoken()
        assert (await stage.me.ask("GET", f"/file/synthesis/{first}")).content[:4] == b"RIFF"
        stage.inference.gate.clear()
        second = await stage.job()
        await stage.spoken()
        os.killpg(worker.pid, signal.SIGKILL)
        with stage.process(*BEATING) as other:
            third = await stage.job()
            await stage.said("job recovered", *BEATING)
            stage.inference.gate.set()
            assert (await stage.until(second, "completed")).attempt == 2
            await stage.until(third, "completed")
            # A bell that nobody has rung is rung by the beat, and by two of them as well.
            with stage.process("beat") as beat:
                await stage.said("beat started", "beat")
                await stage.until(await stage.unheard(), "completed")
                beat.send_signal(signal.SIGTERM)
                assert await stage.ended(beat) == 0
            other.send_signal(signal.SIGTERM)
            assert await stage.ended(other) == 0


async def test_a_worker_that_is_told_to_stop_ends_what_it_can_and_puts_the_rest_back(stage: Stage) -> None:
    stage.inference.gate.clear()
    with stage.process(*WORKER, drain_s=str(WAIT_S)) as worker:
        begun, waiting = await stage.job(), await stage.job()
        await stage.spoken()
        worker.send_signal(signal.SIGTERM)
        await stage.said("Warm shutdown", *WORKER)
        stage.inference.gate.set()
        assert await stage.ended(worker) == 0
        jobs = [await stage.me.row(Job, job_id) for job_id in (begun, waiting)]
        assert sorted(job.status for job in jobs) == ["completed", "pending"], "it has claimed no more"
    stage.inference.gate.clear()
    with stage.process(*WORKER, drain_s="0.3") as worker:
        await stage.spoken()
        worker.send_signal(signal.SIGTERM)
        assert await stage.ended(worker) == 0
        (left,) = [job for job_id in (begun, waiting) if (job := await stage.me.row(Job, job_id)).status != "completed"]
        assert (left.status, left.attempt, left.lease_owner) == ("pending", 0, None), "put back at once, and not counted"


async def test_a_broker_that_stands_still_or_is_gone_holds_up_no_request_and_loses_no_job(stage: Stage) -> None:
    with stage.process(*WORKER) as worker:
        await stage.until(await stage.job(), "completed")
        asked = await stage.job(), await stage.job()
        stage.broker.pause()
        asked += await stage.job(), await stage.job()
        stage.broker.go_on()
        for job_id in (*asked, await stage.job()):
            await stage.until(job_id, "completed")
        stage.broker.kill()
        for job_id in (await stage.job(), await stage.job()):
            await stage.until(job_id, "completed")
        await stage.me.app.state.rooms.check_queue()  # it is no reason to send people away
        worker.send_signal(signal.SIGTERM)
        assert await stage.ended(worker) == 0
