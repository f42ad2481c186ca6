"""What a process counts about its jobs, and what it tells of the queue."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from sqlalchemy import event, update
from sqlalchemy.exc import OperationalError

from store.clock import utcnow
from store.models import Job
from store.stores import Stores
from tests.servers import free_port
from tests.worker.conftest import MakeJob
from tests.worker.test_run import Scripted, claim, raising
from worker.errors import AttemptFailedError, JobFailedError, NotYetError
from worker.handlers.base import Outcome
from worker.inference import PlannedChunk, Reference, Sampling, SpeechPlan
from worker.lanes import LANES, lane_of
from worker.metrics import Codes, WorkMetrics, new_registry, serve
from worker.queue_gauges import QueueGauges
from worker.run import JobRunner
from worker.speech import chunks_in_order
from worker.sweeper import Sweeper

DONE = Outcome({"duration": 2.5})


class Watched:
    """A runner, and the values in its registry."""

    def __init__(self, stores: Stores, work: Callable[[], Awaitable[Outcome]], *, max_attempts: int = 3) -> None:
        self.registry = CollectorRegistry()
        handler = Scripted(lambda _job, _report: work())
        metrics = WorkMetrics(self.registry)
        self.runner = JobRunner(
            stores, {"synthesis": handler}, lease_s=30, max_attempts=max_attempts, notify=lambda _id: None, metrics=metrics
        )

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"voxify_{name}", labels) or 0.0


@pytest.mark.parametrize(
    ("error", "end", "counted"),
    [
        (None, "completed", {}),
        (JobFailedError("EMPTY_TEXT", "Nothing"), "failed", {"job_failures_total": "EMPTY_TEXT"}),
        (AttemptFailedError("SYNTHESIS_FAILED", "No"), "pending", {"job_retries_total": "SYNTHESIS_FAILED"}),
        (NotYetError("Later"), "pending", {}),
        (RuntimeError("The heron"), "pending", {"job_retries_total": "INTERNAL_ERROR"}),
    ],
)
async def test_every_end_of_an_attempt_is_counted(
    stores: Stores, make_job: MakeJob, error: Exception | None, end: str, counted: dict[str, str]
) -> None:
    seen: list[float] = []

    async def work() -> Outcome:
        seen.append(watched.value("jobs_running", lane="speech"))
        return await (raising(error) if error is not None else asyncio.sleep(0, DONE))

    watched = Watched(stores, work)
    await make_job()
    await watched.runner.run(await claim(watched.runner))
    assert seen == [1.0]
    assert watched.value("jobs_running", lane="speech") == 0.0
    assert watched.value("job_duration_seconds_count", kind="synthesis", end=end) == 1.0
    assert watched.value("job_claim_delay_seconds_count", lane="speech") == 1.0
    for name in ("job_failures_total", "job_retries_total"):
        samples = [sample for metric in watched.registry.collect() for sample in metric.samples if sample.name == f"voxify_{name}"]
        expected = [({"kind": "synthesis", "code": counted[name]}, 1.0)] if name in counted else []
        assert [(sample.labels, sample.value) for sample in samples] == expected


async def test_the_last_attempt_is_a_failure(stores: Stores, make_job: MakeJob) -> None:
    watched = Watched(stores, lambda: raising(AttemptFailedError("SYNTHESIS_FAILED", "No")), max_attempts=1)
    await make_job()
    await watched.runner.run(await claim(watched.runner))
    assert watched.value("job_failures_total", kind="synthesis", code="SYNTHESIS_FAILED") == 1.0
    assert watched.value("job_retries_total", kind="synthesis", code="SYNTHESIS_FAILED") == 0.0


async def test_a_job_that_is_interrupted_or_lost_is_counted_so(stores: Stores, make_job: MakeJob) -> None:
    begun = asyncio.Event()

    async def hangs() -> Outcome:
        begun.set()
        await asyncio.Event().wait()
        return DONE

    watched = Watched(stores, hangs)
    made = await make_job()
    running = asyncio.create_task(watched.runner.run(await claim(watched.runner)))
    await begun.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert watched.value("job_duration_seconds_count", kind="synthesis", end="interrupted") == 1.0

    async def cancelled_meanwhile() -> Outcome:
        async with stores.database.write() as session:
            await session.execute(update(Job).where(Job.id == made.id).values(status="cancelled", lease_owner=None))
        return DONE

    lost = Watched(stores, cancelled_meanwhile)
    assert await lost.runner.run(await claim(lost.runner)) == "lost"
    assert lost.value("job_duration_seconds_count", kind="synthesis", end="lost") == 1.0


async def test_the_wait_for_a_claim_begins_when_the_job_is_due(stores: Stores, make_job: MakeJob) -> None:
    watched = Watched(stores, lambda: asyncio.sleep(0, DONE))
    job = await make_job()
    async with stores.database.write() as session:
        await session.execute(update(Job).where(Job.id == job.id).values(available_at=utcnow() - timedelta(seconds=90)))
    await watched.runner.run(await claim(watched.runner))
    assert watched.value("job_claim_delay_seconds_sum", lane="speech") == pytest.approx(90, abs=20)


async def test_leases_that_ran_out_are_counted(stores: Stores, make_job: MakeJob) -> None:
    watched = Watched(stores, lambda: asyncio.sleep(0, DONE), max_attempts=2)
    passed = utcnow() - timedelta(seconds=1)
    for attempt in (1, 2):
        await make_job(status="processing", attempt=attempt, lease_owner="w-gone", lease_until=passed)
    await Sweeper(watched.runner, orphan_grace_s=3600).recover()
    assert watched.value("leases_expired_total", kind="synthesis") == 2.0
    assert watched.value("job_failures_total", kind="synthesis", code="JOB_INTERRUPTED") == 1.0


class Inference:
    """Speaks chunk 0, fails at chunk 1 and never answers for chunk 2."""

    async def synthesize(self, chunk: PlannedChunk, **_: Any) -> NDArray[np.float32]:
        if chunk.index == 1:
            raise AttemptFailedError("SYNTHESIS_FAILED", "No")
        if chunk.index == 2:
            await asyncio.Event().wait()
        return np.zeros(256, np.float32)


async def test_chunks_are_measured_however_they_end() -> None:
    registry = CollectorRegistry()
    chunks = [PlannedChunk(index=n, text="a", start=0, end=1, frames=2) for n in range(3)]
    plan = SpeechPlan(model="m", language="en", support="native", speech=True, chunks=chunks)
    reference = Reference.of(np.zeros(256, np.float32), "a")
    spoken: AsyncGenerator[NDArray[np.float32]] = chunks_in_order(
        plan,
        reference,
        Sampling(1),
        Inference(),
        concurrency=3,
        request_id=None,
        metrics=WorkMetrics(registry),  # type: ignore[arg-type]
    )
    with pytest.raises(AttemptFailedError):
        _ = [chunk async for chunk in spoken]
    counts = {end: registry.get_sample_value("voxify_chunk_duration_seconds_count", {"end": end}) for end in ("ok", "failed", "cancelled")}
    assert counts == {"ok": 1.0, "failed": 1.0, "cancelled": 1.0}


def test_labels_are_bounded() -> None:
    registry = CollectorRegistry()
    metrics = WorkMetrics(registry)
    metrics.failed("a kind of tomorrow", "The heron keeps the key")
    assert registry.get_sample_value("voxify_job_failures_total", {"kind": "other", "code": "OTHER"}) == 1.0
    codes = Codes()
    assert len({codes(f"CODE_{number}") for number in range(1000)}) == 201
    assert codes("CODE_7") == "CODE_7"


def test_speech_and_its_cache() -> None:
    registry = CollectorRegistry()
    metrics = WorkMetrics(registry)
    metrics.spoke(5.0, 10.0)
    metrics.spoke(1.0, 0.0)
    metrics.looked_up(hit=True)
    assert registry.get_sample_value("voxify_speech_seconds_total") == 10.0
    assert registry.get_sample_value("voxify_speech_real_time_factor_sum") == 0.5
    assert registry.get_sample_value("voxify_speech_cache_total", {"result": "hit"}) == 1.0
    assert registry.get_sample_value("voxify_speech_cache_total", {"result": "miss"}) == 0.0


def test_a_process_of_its_own_answers_on_a_port() -> None:
    registry, port = new_registry(), free_port()
    WorkMetrics(registry)
    serve(registry, "127.0.0.1", port)
    told = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert 'voxify_jobs_running{lane="speech"} 0.0' in told
    assert "process_resident_memory_bytes" in told
    with pytest.raises(OSError, match="in use"):
        serve(registry, "127.0.0.1", port)


class Queue:
    """The gauges, and how often the database was asked for them."""

    def __init__(self, stores: Stores, **options: float) -> None:
        self.registry = CollectorRegistry()
        self.database = stores.database
        self.gauges = QueueGauges(self.registry, **options)
        self.looks = 0
        event.listen(stores.database.engine.sync_engine, "before_cursor_execute", self._count)

    def _count(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.looks += bool(re.search(r"sum\(CASE", statement))

    async def refresh(self) -> None:
        await self.gauges.refresh(self.database)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"voxify_queue_{name}", labels)


async def test_the_queue_by_lane(stores: Stores, make_job: MakeJob) -> None:
    now = utcnow()
    for kind, columns in (
        ("synthesis", {"available_at": now - timedelta(seconds=50)}),
        ("preview", {"available_at": now - timedelta(seconds=20)}),
        ("synthesis", {"available_at": now + timedelta(hours=1)}),
        ("synthesis", {"status": "processing"}),
        ("synthesis", {"status": "completed"}),
        ("clone_build", {"available_at": now + timedelta(hours=1)}),
        ("of tomorrow", {"status": "processing"}),
    ):
        job = await make_job(kind)
        async with stores.database.write() as session:
            await session.execute(update(Job).where(Job.id == job.id).values(**columns))
    queue = Queue(stores)
    await queue.refresh()
    assert queue.value("readable") == 1.0
    assert queue.value("oldest_seconds", lane="speech") == pytest.approx(50, abs=20)
    assert queue.value("oldest_seconds", lane="voice") == 0.0, "what is delayed does not wait"
    depth = {
        (lane, status): queue.value("depth", lane=lane, status=status)
        for lane in (*LANES, "other")
        for status in ("due", "delayed", "processing")
    }
    expected = {("speech", "due"): 2, ("speech", "delayed"): 1, ("speech", "processing"): 1, ("voice", "delayed"): 1}
    assert depth == dict.fromkeys(depth, 0.0) | expected | {("other", "processing"): 1}


async def test_many_scrapes_are_one_look(stores: Stores, make_job: MakeJob) -> None:
    queue = Queue(stores, fresh_s=3600)
    await asyncio.gather(*(queue.refresh() for _ in range(20)))
    await make_job()
    await queue.refresh()
    assert (queue.looks, queue.value("depth", lane="speech", status="due")) == (1, 0.0)
    eager = Queue(stores, fresh_s=0.0)
    await eager.refresh()
    assert eager.value("depth", lane="speech", status="due") == 1.0


async def test_while_the_database_is_away_there_are_no_numbers(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(stores, fresh_s=0.0)
    await queue.refresh()
    assert queue.value("depth", lane="speech", status="due") == 0.0
    with monkeypatch.context() as broken:

        def away(*_: Any) -> None:
            raise OperationalError("SELECT", {}, ConnectionError("10.0.0.7 refused"))

        broken.setattr(stores.database, "read", away)
        queue.gauges._good_until = 0.0
        await queue.refresh()
        assert (queue.value("readable"), queue.value("depth", lane="speech", status="due")) == (0.0, None)
        assert queue.value("oldest_seconds", lane="speech") is None
    await queue.refresh()
    assert (queue.value("readable"), queue.value("depth", lane="speech", status="due")) == (1.0, 0.0)


async def test_a_process_without_requests_keeps_them_fresh(stores: Stores, make_job: MakeJob) -> None:
    queue = Queue(stores, fresh_s=0.0)
    looking = asyncio.create_task(queue.gauges.keep_fresh(stores.database, every_s=0.01))
    await make_job()
    async with asyncio.timeout(30):
        while queue.value("depth", lane="speech", status="due") != 1.0:
            await asyncio.sleep(0.01)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


def test_every_kind_has_a_lane() -> None:
    assert {lane_of(kind) for kinds in LANES.values() for kind in kinds} == set(LANES)
    assert lane_of("of tomorrow") == "other"
