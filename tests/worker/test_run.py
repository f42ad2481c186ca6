"""A claimed job always ends in one known way, whatever its work does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from store.clock import utcnow
from store.faults import UnreachableError
from store.models import Job
from store.repositories.jobs import JobRepository
from store.repositories.queue import JobQueue
from store.stores import Stores
from tests.worker.conftest import MakeJob
from worker.errors import AttemptFailedError, JobFailedError, NotYetError
from worker.handlers.base import Outcome, Report
from worker.lanes import slots_of
from worker.run import JobRunner
from worker.sweeper import Sweeper
from worker.worker import Worker

ReadJob = Callable[[str], Awaitable[Job]]


class Scripted:
    """A handler that does what the test says."""

    def __init__(self, work: Callable[[Job, Report], Awaitable[Outcome]]) -> None:
        self.work = work
        self.failures: list[tuple[str, str]] = []

    async def run(self, job: Job, report: Report) -> Outcome:
        return await self.work(job, report)

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:
        self.failures.append((job.id, code))


def runner(stores: Stores, handler: Scripted, *, lease_s: float = 30, told: list[str] | None = None) -> JobRunner:
    notify = (lambda _id: None) if told is None else told.append
    return JobRunner(stores, {"synthesis": handler}, lease_s=lease_s, max_attempts=3, notify=notify)


async def claim(running: JobRunner) -> Job:
    async with running.stores.database.write() as session:
        job = await JobQueue(session).claim(running.new_owner(), running.lease_s, ["synthesis"])
    assert job is not None
    return job


async def raising(error: Exception) -> Outcome:
    raise error


async def test_outcome_and_what_else_it_writes_come_in_one_commit(stores: Stores, make_job: MakeJob, job_row: ReadJob) -> None:
    async def also(session: AsyncSession) -> None:
        raise RuntimeError("the second half cannot be written")

    made = await make_job()
    running = runner(stores, Scripted(lambda job, report: asyncio.sleep(0, Outcome({"duration": 2.5}, also=also))))
    with pytest.raises(RuntimeError):
        await running.run(await claim(running))
    assert (await job_row(made.id)).status == "processing", "neither half is there, and the lease will be recovered"


async def test_a_finished_job_is_complete_and_was_told_of(stores: Stores, make_job: MakeJob, job_row: ReadJob) -> None:
    async def work(job: Job, report: Report) -> Outcome:
        await report(40, "Half-way")
        return Outcome({"duration": 2.5})

    made, told = await make_job(), list[str]()
    running = runner(stores, Scripted(work), told=told)
    assert await running.run(await claim(running)) == "completed"
    row = await job_row(made.id)
    assert (row.status, row.progress, row.duration, row.lease_until) == ("completed", 100.0, 2.5, None)
    assert row.completed_at is not None
    assert len(told) >= 3


@pytest.mark.parametrize(
    ("error", "status", "attempt", "code"),
    [
        (JobFailedError("EMPTY_TEXT", "nothing to say"), "failed", 1, "EMPTY_TEXT"),
        (NotYetError("wait", 60), "pending", 0, None),
        (AttemptFailedError("SYNTHESIS_FAILED", "silence"), "pending", 1, None),
        (ZeroDivisionError("a bug"), "pending", 1, None),
    ],
)
async def test_how_work_ends(
    stores: Stores, make_job: MakeJob, job_row: ReadJob, error: Exception, status: str, attempt: int, code: str | None
) -> None:
    made = await make_job()
    handler = Scripted(lambda job, report: raising(error))
    running = runner(stores, handler)
    assert await running.run(await claim(running)) == status
    row = await job_row(made.id)
    assert (row.status, row.attempt, row.error_code, row.lease_until) == (status, attempt, code, None)
    assert handler.failures == ([(made.id, code)] if status == "failed" else [])
    if status == "pending":
        assert row.available_at > utcnow() + timedelta(seconds=1), "it is not tried again at once"


async def test_a_job_that_breaks_every_time_ends_after_its_last_attempt(stores: Stores, make_job: MakeJob, job_row: ReadJob) -> None:
    made = await make_job()
    handler = Scripted(lambda job, report: raising(ZeroDivisionError("a bug")))
    running = runner(stores, handler)
    for _ in range(3):
        async with stores.database.write() as session:
            await session.execute(update(Job).values(available_at=utcnow()))
        await running.run(await claim(running))
    row = await job_row(made.id)
    assert (row.status, row.error_code) == ("failed", "INTERNAL_ERROR")
    assert "ZeroDivision" not in (row.error_message or "")
    assert handler.failures == [(made.id, "INTERNAL_ERROR")]


async def test_cancel_stops_the_work_under_way(stores: Stores, make_job: MakeJob, job_row: ReadJob) -> None:
    stopped = asyncio.Event()

    async def work(job: Job, report: Report) -> Outcome:
        async with stores.database.write() as session:
            assert await JobRepository(session).cancel(job.id)
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    made = await make_job()
    running = runner(stores, Scripted(work), lease_s=0.3)
    assert await running.run(await claim(running)) == "lost"
    assert stopped.is_set()
    assert (await job_row(made.id)).status == "cancelled"


async def test_whoever_lost_the_lease_writes_nothing(stores: Stores, make_job: MakeJob, job_row: ReadJob) -> None:
    """The work is slower than its lease; another worker takes the job; the first one comes to its end all the same."""

    async def work(job: Job, report: Report) -> Outcome:
        async with stores.database.write() as session:
            await session.execute(update(Job).values(lease_owner="somebody else", attempt=2))
        return Outcome({"output_path": "jobs/stale.wav"})

    made = await make_job()
    running = runner(stores, Scripted(work))
    assert await running.run(await claim(running)) == "lost"
    row = await job_row(made.id)
    assert (row.status, row.lease_owner, row.output_path) == ("processing", "somebody else", None)


async def test_heartbeat_keeps_a_slow_job(stores: Stores, make_job: MakeJob, job_row: ReadJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.run.BEATS_A_LEASE", 300)
    made = await make_job()

    async def work(job: Job, report: Report) -> Outcome:
        first = (await job_row(made.id)).lease_until
        while (await job_row(made.id)).lease_until == first:
            await asyncio.sleep(0.01)
        async with stores.database.write() as session:
            assert not await JobQueue(session).recover(3)
        return Outcome()

    running = runner(stores, Scripted(work), lease_s=30)
    assert await running.run(await claim(running)) == "completed"


async def test_a_stopping_worker_puts_its_job_back(stores: Stores, make_job: MakeJob, job_row: ReadJob) -> None:
    begun = asyncio.Event()

    async def work(job: Job, report: Report) -> Outcome:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    made = await make_job()
    running = runner(stores, Scripted(work))
    worker = Worker(running, Sweeper(running, orphan_grace_s=60), lanes=slots_of(1), poll_s=0.05, sweep_s=60, orphan_sweep_s=60)
    worker.start()
    await begun.wait()
    await worker.stop(grace_s=0.05)
    row = await job_row(made.id)
    assert (row.status, row.attempt, row.lease_owner) == ("pending", 0, None)


async def test_the_sweeper_takes_back_the_jobs_of_the_dead(stores: Stores, make_job: MakeJob, job_row: ReadJob) -> None:
    made = await make_job()
    handler = Scripted(lambda job, report: asyncio.sleep(0, Outcome()))
    running = runner(stores, handler, lease_s=0.0)
    await claim(running)  # by a process that dies at once
    running.lease_s = 30
    worker = Worker(running, Sweeper(running, orphan_grace_s=60), lanes=slots_of(1), poll_s=30, sweep_s=0.05, orphan_sweep_s=60)
    worker.start()
    async with asyncio.timeout(60):
        while (await job_row(made.id)).status != "completed":
            await asyncio.sleep(0.02)
    await worker.stop(grace_s=1)
    assert (await job_row(made.id)).attempt == 2


async def test_the_sweeper_removes_only_what_no_row_names(stores: Stores, make_job: MakeJob, tmp_path: Path) -> None:
    kept = await make_job()
    await stores.objects.put(f"jobs/{kept.id}/1.wav", b"named")
    await stores.objects.put(f"jobs/{kept.id}/0.wav", b"of an attempt that was lost")
    await stores.objects.put("jobs/job_gone/1.wav", b"of a job that is gone")
    half_written = tmp_path / "objects" / "jobs" / kept.id / "2.wav#1"  # as a process leaves it that dies while it stores
    half_written.write_bytes(b"half")
    async with stores.database.write() as session:
        await session.execute(update(Job).where(Job.id == kept.id).values(output_path=f"jobs/{kept.id}/1.wav"))
    running = runner(stores, Scripted(lambda job, report: asyncio.sleep(0, Outcome())))
    assert await Sweeper(running, orphan_grace_s=60).remove_orphans() == 0, "an object may be younger than the commit that names it"
    assert await Sweeper(running, orphan_grace_s=-1).remove_orphans() == 3
    assert [stat.key async for stat in stores.objects.list()] == [f"jobs/{kept.id}/1.wav"]
    assert not half_written.exists()


async def test_a_heartbeat_that_cannot_reach_the_database_does_not_stop_the_work(
    stores: Stores, make_job: MakeJob, job_row: ReadJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = asyncio.Event()

    async def refused(self: JobQueue, lease: object, lease_s: float) -> bool:
        missed.set()
        raise ConnectionRefusedError

    async def work(job: Job, report: Report) -> Outcome:
        await missed.wait()
        return Outcome()

    made = await make_job()
    monkeypatch.setattr(JobQueue, "heartbeat", refused)
    running = runner(stores, Scripted(work), lease_s=0.5)
    assert await running.run(await claim(running)) == "completed"
    assert (await job_row(made.id)).attempt == 1


async def test_a_job_of_which_nobody_can_be_told_for_a_lease_is_given_up(
    stores: Stores, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(self: JobQueue, lease: object, lease_s: float) -> bool:
        raise UnreachableError

    async def work(job: Job, report: Report) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    await make_job()
    monkeypatch.setattr(JobQueue, "heartbeat", refused)
    running = runner(stores, Scripted(work), lease_s=0.3)
    async with asyncio.timeout(30):
        assert await running.run(await claim(running)) == "lost"


async def test_a_process_that_stood_still_goes_on_with_a_job_that_nobody_has_taken(
    stores: Stores, make_job: MakeJob, job_row: ReadJob
) -> None:
    made = await make_job()

    async def work(job: Job, report: Report) -> Outcome:
        await asyncio.sleep(0)
        time.sleep(2.2)  # noqa: ASYNC251 - all of it stands still, for longer than the lease
        before = (await job_row(made.id)).lease_until
        while (await job_row(made.id)).lease_until == before:
            await asyncio.sleep(0.01)
        return Outcome()

    running = runner(stores, Scripted(work), lease_s=2)
    assert await running.run(await claim(running)) == "completed"


async def test_the_sound_of_a_job_that_was_cancelled_at_its_end_does_not_stay(stores: Stores, make_job: MakeJob, job_row: ReadJob) -> None:
    async def work(job: Job, report: Report) -> Outcome:
        await stores.objects.put(f"jobs/{job.id}/1-mine.wav", b"spoken")
        async with stores.database.write() as session:
            assert await JobRepository(session).cancel(job.id)
        return Outcome({"output_path": f"jobs/{job.id}/1-mine.wav"}, stored=(f"jobs/{job.id}/1-mine.wav",))

    made = await make_job()
    running = runner(stores, Scripted(work))
    assert await running.run(await claim(running)) == "lost"
    assert (await job_row(made.id)).status == "cancelled"
    assert [each async for each in stores.objects.list()] == []
