"""A job whose stores go away for a while: it waits for them, and has neither failed nor used an attempt up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from obstore.exceptions import GenericError
from sqlalchemy.ext.asyncio import AsyncSession

from store.models import Job
from store.repositories.queue import JobQueue
from store.stores import Stores
from tests.worker.conftest import MakeJob
from worker.handlers.base import Outcome, Report
from worker.run import JobRunner

ReadJob = Callable[[str], Awaitable[Job]]


class Handler:
    def __init__(self, work: Callable[[Report], Awaitable[Outcome]]) -> None:
        self.work = work

    async def run(self, job: Job, report: Report) -> Outcome:
        return await self.work(report)

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:
        raise AssertionError(code)


async def run_one(stores: Stores, work: Callable[[Report], Awaitable[Outcome]]) -> str:
    running = JobRunner(stores, {"synthesis": Handler(work)}, lease_s=30, max_attempts=1, notify=lambda _: None)
    async with stores.database.write() as session:
        job = await JobQueue(session).claim(running.new_owner(), running.lease_s, ["synthesis"])
    assert job is not None
    return await running.run(job)


class Refusing:
    """Stands in for `Database.write` while the database is away."""

    def __init__(self, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there = stores.database.write
        self.away = False
        monkeypatch.setattr(stores.database, "write", self.write)

    def write(self) -> AbstractAsyncContextManager[AsyncSession]:
        if self.away:
            raise ConnectionRefusedError(111, "Connection refused")
        return self.there()


@pytest.mark.parametrize("failure", [GenericError("connection reset by peer"), ConnectionRefusedError(111, "Connection refused")])
async def test_a_job_waits_for_a_store_without_using_an_attempt_up(
    stores: Stores, make_job: MakeJob, job_row: ReadJob, failure: Exception
) -> None:
    async def work(_report: Report) -> Outcome:
        raise failure

    made = await make_job()
    assert await run_one(stores, work) == "pending"
    row = await job_row(made.id)
    assert (row.status, row.attempt, row.error_code, row.message) == ("pending", 0, None, "Waiting for the storage")


async def test_a_full_disk_is_an_attempt(stores: Stores, make_job: MakeJob) -> None:
    async def work(_report: Report) -> Outcome:
        raise OSError(28, "No space left on device")

    await make_job()
    # Its attempts are spent, so that it fails, which the handler is told.
    with pytest.raises(AssertionError, match="INTERNAL_ERROR"):
        await run_one(stores, work)


async def test_a_job_goes_on_when_its_progress_cannot_be_written(
    stores: Stores, make_job: MakeJob, job_row: ReadJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Refusing(stores, monkeypatch)

    async def work(report: Report) -> Outcome:
        database.away = True
        await report(50, "Half-way")
        database.away = False
        await asyncio.sleep(0)
        return Outcome({"duration": 2.5})

    made = await make_job()
    assert await run_one(stores, work) == "completed"
    row = await job_row(made.id)
    assert (row.status, row.attempt, row.duration) == ("completed", 1, 2.5)


async def test_a_mistake_in_a_report_is_not_taken_for_an_absent_database(
    stores: Stores, make_job: MakeJob, job_row: ReadJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(report: Report) -> Outcome:
        def mistaken() -> AbstractAsyncContextManager[AsyncSession]:
            monkeypatch.undo()
            raise FileNotFoundError(2, "No such file")

        monkeypatch.setattr(stores.database, "write", mistaken)
        await report(50, "Half-way")
        return Outcome({"duration": 2.5})

    await make_job()
    with pytest.raises(AssertionError, match="INTERNAL_ERROR"):
        await run_one(stores, work)


async def test_a_job_is_done_although_what_is_obsolete_cannot_be_removed(
    stores: Stores, make_job: MakeJob, job_row: ReadJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(_report: Report) -> Outcome:
        monkeypatch.setattr(stores.objects, "delete", away)
        return Outcome({"duration": 2.5}, obsolete=("jobs/before.wav",))

    async def away(*_keys: str) -> None:
        raise GenericError("connection reset by peer")

    made = await make_job()
    assert await run_one(stores, work) == "completed"
    assert (await job_row(made.id)).status == "completed"
