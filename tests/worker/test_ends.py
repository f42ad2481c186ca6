"""The end of a job that cannot be written at once: it is written when the database is back, once, and only by whoever has the job."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from store import database as databases
from store.clock import utcnow
from store.database import Database
from store.faults import UnreachableError
from store.models import Job, JobTimestamps, User, Webhook, WebhookDelivery
from store.objects import Objects
from store.repositories.jobs import JobRepository
from store.stores import Stores
from tests.conftest import emptied
from tests.worker.conftest import MakeJob
from tests.worker.test_run import Scripted, claim, raising
from tests.worker.wire import Fate, Wire, wire
from worker import insist
from worker.errors import AttemptFailedError, JobFailedError, NotYetError
from worker.handlers.base import Outcome, Report
from worker.handlers.synthesis import keeping
from worker.lanes import slots_of
from worker.run import JobRunner
from worker.sweeper import Sweeper
from worker.worker import Worker

WAIT_S = 30
ReadJob = Callable[[str], Awaitable[Job]]


def runner(stores: Stores, handler: Scripted, *, lease_s: float = 30) -> JobRunner:
    """Of whose jobs no attempt may be lost: each has but one."""
    return JobRunner(stores, {"synthesis": handler}, lease_s=lease_s, max_attempts=1, notify=lambda _: None)


class Away:
    """Stands in for `Database.write`, which refuses so many times once `begins` was called."""

    def __init__(self, stores: Stores, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self.there = stores.database.write
        self.times = times
        self.away = False
        self.tried = asyncio.Semaphore(0)
        monkeypatch.setattr(stores.database, "write", self.write)

    def begins(self) -> None:
        self.away = True

    def write(self) -> AbstractAsyncContextManager[AsyncSession]:
        if self.away and self.times > 0:
            self.times -= 1
            self.tried.release()
            raise UnreachableError("refused")
        return self.there()


@pytest.mark.parametrize(
    ("error", "status", "attempt", "code"),
    [
        (None, "completed", 1, None),
        (JobFailedError("EMPTY_TEXT", "nothing to say"), "failed", 1, "EMPTY_TEXT"),
        (AttemptFailedError("SYNTHESIS_FAILED", "silence"), "failed", 1, "SYNTHESIS_FAILED"),
        (NotYetError("wait", 60), "pending", 0, None),
    ],
)
async def test_every_end_is_written_when_the_database_is_back(
    stores: Stores,
    make_job: MakeJob,
    job_row: ReadJob,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
    status: str,
    attempt: int,
    code: str | None,
) -> None:
    database = Away(stores, monkeypatch, times=3)

    async def work(job: Job, report: Report) -> Outcome:
        database.begins()
        return await (raising(error) if error is not None else asyncio.sleep(0, Outcome({"duration": 2.5})))

    made = await make_job()
    handler = Scripted(work)
    running = runner(stores, handler)
    with capture_logs() as lines:
        assert await running.run(await claim(running)) == status
    row = await job_row(made.id)
    assert (row.status, row.attempt, row.error_code, row.lease_until) == (status, attempt, code, None)
    assert row.duration == (2.5 if error is None else None)
    assert handler.failures == ([(made.id, code)] if status == "failed" else [])
    assert [line["event"] for line in lines].count("end not written yet") == 1, "once, however often it is tried"


async def test_an_end_waits_for_whoever_holds_the_file(
    stores: Stores, make_job: MakeJob, job_row: ReadJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(databases, "SQLITE_PRAGMAS", ("busy_timeout=20", *databases.SQLITE_PRAGMAS[1:]))
    impatient = replace(stores, database=Database(stores.database.url.render_as_string(hide_password=False)))
    holder = sqlite3.connect(tmp_path / "voxify.db", isolation_level=None)

    async def work(job: Job, report: Report) -> Outcome:
        holder.execute("BEGIN IMMEDIATE")
        return Outcome({"duration": 2.5})

    made = await make_job()
    running = runner(impatient, Scripted(work))
    ending = asyncio.create_task(running.run(await claim(running)))
    async with asyncio.timeout(WAIT_S):
        while not impatient.database.outage.lasts:
            await asyncio.sleep(0.005)
        holder.execute("ROLLBACK")
        assert await ending == "completed"
    holder.close()
    row = await job_row(made.id)
    assert (row.status, row.attempt, row.duration) == ("completed", 1, 2.5)
    await impatient.database.close()


async def test_an_end_is_let_go_with_the_lease(
    stores: Stores, make_job: MakeJob, job_row: ReadJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Away(stores, monkeypatch, times=10**6)

    async def work(job: Job, report: Report) -> Outcome:
        await stores.objects.put(f"jobs/{job.id}/1-mine.wav", b"spoken")
        database.begins()
        return Outcome({"output_path": f"jobs/{job.id}/1-mine.wav"}, stored=(f"jobs/{job.id}/1-mine.wav",))

    made = await make_job()
    running = runner(stores, Scripted(work), lease_s=2)
    began = asyncio.get_running_loop().time()
    with capture_logs() as lines, pytest.raises(UnreachableError):
        async with asyncio.timeout(WAIT_S):
            await running.run(await claim(running))
    # The last one when the lease ran out, and none long after that, which was a matter of seconds.
    assert asyncio.get_running_loop().time() - began >= 2
    assert 10**6 - database.times >= 2
    assert "job not ended" in [line["event"] for line in lines]
    assert (await job_row(made.id)).status == "processing", "it is for the sweeper to take back"
    kept = [stat.key async for stat in stores.objects.list()]
    assert kept == [f"jobs/{made.id}/1-mine.wav"], "a commit that nobody answered may have named it"


async def test_what_a_stopping_worker_cannot_write_goes_back_to_the_queue(
    stores: Stores, make_job: MakeJob, job_row: ReadJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(insist, "FIRST_PAUSE_S", 60.0)
    database = Away(stores, monkeypatch, times=1)

    async def work(job: Job, report: Report) -> Outcome:
        database.begins()
        return Outcome({"duration": 2.5})

    made = await make_job()
    running = runner(stores, Scripted(work))
    worker = Worker(running, Sweeper(running, orphan_grace_s=60), lanes=slots_of(1), poll_s=60, sweep_s=60, orphan_sweep_s=60)
    worker.start()
    async with asyncio.timeout(WAIT_S):
        await database.tried.acquire()
        await worker.stop(grace_s=0.05)
    row = await job_row(made.id)
    assert (row.status, row.attempt, row.lease_owner) == ("pending", 0, None)


@pytest.fixture
async def server(shared_postgres: str) -> AsyncIterator[Database]:
    """The database as those see it whose way to it is whole."""
    database = await emptied(shared_postgres)
    async with database.write() as session:
        session.add(User(id="user_1", email="one@example.com", password_hash="-"))
        await session.flush()
        session.add(Job(id="job_1", user_id="user_1", available_at=utcnow()))
        events = ["job.completed", "job.failed"]
        session.add(Webhook(id="wh_1", user_id="user_1", url="https://example.com", events=events, salt="salt", secret_hash="-"))
    yield database
    await database.close()


@pytest.fixture
async def way(shared_postgres: str) -> AsyncIterator[Wire]:
    async with wire(shared_postgres) as made:
        yield made


@pytest.fixture
async def far(way: Wire, server: Database, tmp_path: Path) -> AsyncIterator[Stores]:
    """The stores of a worker at the end of that way."""
    no_vectors: Any = None
    made = Stores(Database(way.url), Objects.in_folder(tmp_path / "objects"), no_vectors)
    yield made
    await made.database.close()


async def the_job(server: Database) -> Job:
    async with server.read() as session:
        return await session.get_one(Job, "job_1")


async def deliveries(server: Database) -> list[str]:
    async with server.read() as session:
        return list(await session.scalars(select(WebhookDelivery.event)))


OWN, THEIRS = "jobs/job_1/1-mine.wav", "jobs/job_1/2-theirs.wav"


async def keys(stores: Stores) -> list[str]:
    return sorted([stat.key async for stat in stores.objects.list()])


async def spoken(stores: Stores, words: JobTimestamps | None = None, key: str = OWN) -> Outcome:
    await stores.objects.put(key, b"spoken")
    return Outcome({"output_path": key, "output_size": 6}, also=keeping(words), stored=(key,), obsolete=("jobs/job_1/0-old.wav",))


@pytest.mark.parametrize("fates", [["on the way there"], ["on the way back"], ["on the way there", "on the way back"]])
async def test_a_completion_is_written_once_wherever_its_commit_gets_lost(
    server: Database, way: Wire, far: Stores, fates: list[Fate]
) -> None:
    async def work(job: Job, report: Report) -> Outcome:
        words = JobTimestamps(job_id=job.id, method="ctc", words=[[0, 5, 0.0, 0.4, 1.0]])
        await far.objects.put("jobs/job_1/0-old.wav", b"old")
        way.fates += fates
        return await spoken(far, words)

    running = runner(far, Scripted(work))
    async with asyncio.timeout(WAIT_S):
        assert await running.run(await claim(running)) == "completed"
    assert way.fates == []
    row = await the_job(server)
    assert (row.status, row.attempt, row.output_path) == ("completed", 1, OWN)
    assert await keys(far) == [OWN]
    assert await deliveries(server) == ["job.completed"]
    async with server.read() as session:
        words = await JobRepository(session).timestamps("job_1")
    assert words is not None
    assert words.words == [[0, 5, 0.0, 0.4, 1.0]]


@pytest.mark.parametrize("fate", ["on the way there", "on the way back"])
async def test_so_is_a_failure(server: Database, way: Wire, far: Stores, fate: Fate) -> None:
    async def work(job: Job, report: Report) -> Outcome:
        way.fates.append(fate)
        raise JobFailedError("EMPTY_TEXT", "nothing to say")

    running = runner(far, Scripted(work))
    async with asyncio.timeout(WAIT_S):
        assert await running.run(await claim(running)) == "failed"
    assert way.fates == []
    row = await the_job(server)
    assert (row.status, row.attempt, row.error_code) == ("failed", 1, "EMPTY_TEXT")
    assert await deliveries(server) == ["job.failed"]


@pytest.mark.parametrize("error", [None, JobFailedError("EMPTY_TEXT", "nothing to say")])
async def test_the_late_end_of_a_worker_that_was_overtaken_changes_nothing(
    server: Database, way: Wire, far: Stores, error: Exception | None
) -> None:
    """It alone cannot reach the database. Its lease runs out by the server's clock, and another worker does the job meanwhile."""

    async def work(job: Job, report: Report) -> Outcome:
        way.cut()
        outcome = await spoken(far)
        return outcome if error is None else await raising(error)

    async def work_of_other(job: Job, report: Report) -> Outcome:
        return await spoken(far, key=THEIRS)

    slow = runner(far, Scripted(work))
    other = JobRunner(replace(far, database=server), {"synthesis": Scripted(work_of_other)}, lease_s=30, max_attempts=3, notify=str)
    async with asyncio.timeout(WAIT_S):
        ending = asyncio.create_task(slow.run(await claim(slow)))
        while not far.database.outage.lasts:
            await asyncio.sleep(0.005)
        async with server.write() as session:
            await session.execute(update(Job).values(lease_until=utcnow() - timedelta(seconds=1)))
        assert await Sweeper(other, orphan_grace_s=60).recover() == 1
        assert await other.run(await claim(other)) == "completed"
        before = await the_job(server)
        way.mend()
        assert await ending == "lost"
    after = await the_job(server)
    assert (after.attempt, after.output_path, after.lease_owner) == (2, THEIRS, before.lease_owner)
    assert (after.status, after.completed_at, after.error_code) == ("completed", before.completed_at, None)
    assert await keys(far) == ([THEIRS] if error is None else [OWN, THEIRS]), "what a failed attempt has left is for the sweep"
    assert await deliveries(server) == ["job.completed"]


async def test_an_end_waits_for_a_row_that_another_holds(server: Database, way: Wire, far: Stores) -> None:
    """For longer than the server lets a statement wait, who is there all the while."""
    impatient = replace(far, database=Database(way.url, limit_s=0.6))
    begun, free = asyncio.Event(), asyncio.Event()

    async def work(job: Job, report: Report) -> Outcome:
        begun.set()
        await free.wait()
        return await spoken(far)

    running = runner(impatient, Scripted(work))
    with capture_logs() as lines:
        async with asyncio.timeout(WAIT_S):
            ending = asyncio.create_task(running.run(await claim(runner(far, Scripted(work)))))
            await begun.wait()
            async with server.write() as session:
                await session.execute(select(Job.id).with_for_update())
                free.set()
                while "end not written yet" not in [line["event"] for line in lines]:
                    await asyncio.sleep(0.005)
            assert await ending == "completed"
    assert (await the_job(server)).attempt == 1
    await impatient.database.close()
