"""The watching of a training: what is stopped goes on, what is taken back is removed, what has failed says why."""

from __future__ import annotations

import asyncio
import io
import json
from collections import deque
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from store.models import Job, Sample, TrainingSample
from store.repositories.jobs import JobRepository
from store.repositories.queue import JobQueue
from store.stores import Stores
from tests.worker.conftest import MakeJob
from worker.errors import AttemptFailedError, InferenceUnavailableError, JobFailedError, NotYetError
from worker.handlers.training import TrainingHandler, TrainingRemovalHandler
from worker.inference import InferenceClient
from worker.run import JobRunner
from worker.training import TrainingClient


class Tier:
    """Answers each look with the next of `states`, the last one for ever."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self.states = deque(states)
        self.asked: list[tuple[str, str]] = []
        self.begun: list[dict[str, Any]] = []
        self.looked = asyncio.Event()
        transport = httpx.MockTransport(self._answer)
        self.client = TrainingClient(InferenceClient("http://tier.test", timeout_s=5, transport=transport))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.path))
        if request.method == "DELETE":
            return httpx.Response(200, json={"ok": True})
        if request.method == "POST":
            self.begun.append(json.loads(await request.aread()))
        self.looked.set()
        state = self.states.popleft() if len(self.states) > 1 else self.states[0]
        return httpx.Response(200, json={"ok": True, "id": "x", **state})


def running(step: int = 0) -> dict[str, Any]:
    return {"status": "running", "step": step, "progress": float(step), "message": f"Step {step}"}


DONE = {"status": "done", "result": {"offered": True}}
UNKNOWN = {"status": "unknown"}


@pytest.fixture
async def job(stores: Stores, make_job: MakeJob) -> Job:
    written = io.BytesIO()
    soundfile.write(written, np.full(24_000, 0.1, np.float32), 24_000, format="WAV")
    await stores.objects.put("samples/vs_1/prepared-1.wav", written.getvalue())
    made = await make_job("training", subject_id="vs_1", config={"epochs": 7, "enable_timestamp_alignment": False})
    async with stores.database.write() as session:
        session.add(
            Sample(
                id="vs_1", user_id="user_1", name="One", format="wav", duration=1.0, sample_rate=24_000, channels=1, size=9,
                original_path="samples/vs_1/original.wav", prepared_path="samples/vs_1/prepared-1.wav", status="ready", ref_text="Ah.",
            )
        )  # fmt: skip
        await session.flush()
        session.add(TrainingSample(job_id=made.id, sample_id="vs_1", position=0))
    return made


async def told(handler: TrainingHandler, job: Job) -> tuple[Any, list[tuple[float, str]]]:
    """What came of it and what was reported."""
    reports: list[tuple[float, str]] = []

    async def report(progress: float, message: str) -> None:
        reports.append((progress, message))

    async with asyncio.timeout(60):
        return (await handler.run(job, report)).columns, reports


async def test_a_training_is_begun_with_its_recordings_and_followed_to_its_end(stores: Stores, job: Job) -> None:
    tier = Tier(UNKNOWN, running(), running(5), running(5), running(9), DONE)
    columns, reports = await told(TrainingHandler(stores, tier.client, look_s=0), job)
    assert columns == {"result": {"offered": True}}
    assert reports == [(0.0, "Step 0"), (5.0, "Step 5"), (9.0, "Step 9")]
    (begun,) = tier.begun
    assert (begun["id"], begun["language"], begun["epochs"], begun["align"]) == (job.id, "en-US", 7, False)
    assert [(len(each["audio"]) * 3 // 4 // 2, each["text"]) for each in begun["samples"]] == [(24_000, "Ah.")]


async def test_what_is_done_is_not_begun_again(stores: Stores, job: Job) -> None:
    tier = Tier(DONE)
    assert (await told(TrainingHandler(stores, tier.client, look_s=0), job))[0] == {"result": {"offered": True}}
    assert tier.begun == []


async def test_a_training_that_was_stopped_goes_on_as_long_as_it_gets_further(stores: Stores, job: Job) -> None:
    stopped = running(8) | {"status": "stopped"}
    tier = Tier(UNKNOWN, running(), running(8), stopped, running(8), running(12), DONE)
    await told(TrainingHandler(stores, tier.client, look_s=0), job)
    assert len(tier.begun) == 2
    tier = Tier(stopped, running(8), stopped)
    with pytest.raises(AttemptFailedError) as failed:
        await told(TrainingHandler(stores, tier.client, look_s=0), job)
    assert failed.value.code == "TRAINING_INTERRUPTED"
    assert len(tier.begun) == 1, "one that falls over at once is not begun for ever"


async def test_it_waits_for_another_training_and_for_the_service(stores: Stores, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotYetError, match="another training"):
        await told(TrainingHandler(stores, Tier(UNKNOWN, {"status": "waiting"}).client, look_s=0), job)

    def away(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503, headers={"Retry-After": "0"})

    client = TrainingClient(InferenceClient("http://tier.test", timeout_s=5, transport=httpx.MockTransport(away)))
    monkeypatch.setattr("worker.inference.tier.RETRIES", 0)
    with pytest.raises(InferenceUnavailableError):
        await told(TrainingHandler(stores, client, look_s=0), job)


async def test_a_failure_says_why_and_leaves_nothing_and_can_be_tried_again(stores: Stores, job: Job) -> None:
    failed = {"status": "failed", "error": {"code": "TRAINING_DIVERGED", "message": "It has diverged"}}
    tier = Tier(UNKNOWN, running(), failed)
    with pytest.raises(JobFailedError) as failure:
        await told(TrainingHandler(stores, tier.client, look_s=0), job)
    assert (failure.value.code, failure.value.message) == ("TRAINING_DIVERGED", "It has diverged")
    assert tier.asked[-1] == ("DELETE", f"/train/{job.id}")
    tier = Tier(failed, running(), DONE)
    await told(TrainingHandler(stores, tier.client, look_s=0), job)
    assert [method for method, _ in tier.asked][:3] == ["GET", "DELETE", "POST"]


async def test_a_job_without_recordings_or_words_fails(stores: Stores, job: Job) -> None:
    async with stores.database.write() as session:
        row = await session.get(Sample, "vs_1")
        assert row is not None
        row.ref_text = None
    with pytest.raises(JobFailedError) as failure:
        await told(TrainingHandler(stores, Tier(UNKNOWN).client, look_s=0), job)
    assert failure.value.code == "REFERENCE_TEXT_REQUIRED"
    async with stores.database.write() as session:
        await session.delete(await session.get(Sample, "vs_1"))
    with pytest.raises(JobFailedError) as failure:
        await told(TrainingHandler(stores, Tier(UNKNOWN).client, look_s=0), job)
    assert failure.value.code == "SAMPLE_NOT_FOUND"


@pytest.mark.parametrize("taken_back", [True, False], ids=["cancelled", "the worker stops"])
async def test_only_what_its_owner_takes_back_is_removed(stores: Stores, job: Job, taken_back: bool) -> None:
    tier = Tier(UNKNOWN, running())
    handler = TrainingHandler(stores, tier.client, look_s=0.01)
    runner = JobRunner(stores, {"training": handler}, lease_s=0.15, max_attempts=3, notify=lambda _: None)
    async with stores.database.write() as session:
        claimed = await JobQueue(session).claim(runner.new_owner(), 30, ["training"])
    assert claimed is not None
    work = asyncio.create_task(runner.run(claimed))
    async with asyncio.timeout(60):
        await tier.looked.wait()
        if taken_back:
            async with stores.database.write() as session:
                assert await JobRepository(session).cancel(job.id)
            assert await work == "lost"
        else:
            work.cancel()
            await asyncio.wait([work])
    assert (("DELETE", f"/train/{job.id}") in tier.asked) is taken_back


async def test_the_removal_spares_a_training_that_has_been_begun_again(stores: Stores, job: Job, make_job: MakeJob) -> None:
    tier = Tier(UNKNOWN)
    removal = await make_job("training_removal", subject_id=job.id)
    handler = TrainingRemovalHandler(stores, tier.client)

    async def report(progress: float, message: str) -> None:
        raise AssertionError("there is nothing to report")

    await handler.run(removal, report)
    assert tier.asked == []
    async with stores.database.write() as session:
        assert await JobRepository(session).cancel(job.id)
    await handler.run(removal, report)
    assert tier.asked == [("DELETE", f"/train/{job.id}")]
