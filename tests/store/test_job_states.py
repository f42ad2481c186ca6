"""What owners may do with their jobs, in every state."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import pytest
from sqlalchemy import select

from store.database import Database
from store.models import Job
from store.models.job import CANCELLED, FAILED, FINAL, PENDING, PROCESSING
from store.repositories.jobs import JobRepository
from store.repositories.queue import JobQueue, Lease

STATES = (PENDING, PROCESSING, *FINAL)


@pytest.mark.parametrize("status", STATES)
async def test_cancel_ends_what_has_not_ended(database: Database, job: Any, row: Any, status: str) -> None:
    made = await job(status=status, lease_owner="somebody" if status == PROCESSING else None)
    cancellable = status in {PENDING, PROCESSING}
    async with database.write() as session:
        loaded = await session.get_one(Job, made.id)
        assert await JobRepository(session).cancel(made.id) is cancellable
        assert loaded.status == (CANCELLED if cancellable else status)
        assert await JobRepository(session).cancel("job_none") is False
    stored = await row(made.id)
    assert stored.status == (CANCELLED if cancellable else status)
    assert stored.lease_owner is None
    assert (stored.completed_at is not None) is cancellable


async def test_a_cancelled_job_is_never_claimed(database: Database, job: Any, claim: Any) -> None:
    made = await job()
    async with database.write() as session:
        await JobRepository(session).cancel(made.id)
    assert await claim() is None


@pytest.mark.parametrize("status", STATES)
async def test_retry_is_for_failed_and_cancelled_jobs(database: Database, job: Any, row: Any, status: str) -> None:
    made = await job(status=status, attempt=3, progress=70.0)
    async with database.write() as session:
        assert await JobRepository(session).retry(made.id) is (status in {FAILED, CANCELLED})
        assert await JobRepository(session).retry("job_none") is False
    stored = await row(made.id)
    if status in {FAILED, CANCELLED}:
        assert (stored.status, stored.attempt, stored.progress) == (PENDING, 0, 0.0)
    else:
        assert (stored.status, stored.attempt, stored.progress) == (status, 3, 70.0)


async def test_a_retried_job_starts_afresh(database: Database, job: Any, claim: Any, row: Any) -> None:
    made = await job()
    first = await claim("first claim")
    async with database.write() as session:
        assert await JobQueue(session).fail(first, "SYNTHESIS_FAILED", "It did not work")
        assert await JobRepository(session).retry(made.id)
    stored = await row(made.id)
    assert (stored.error_code, stored.error_message, stored.message) == (None, None, None)
    assert (stored.started_at, stored.completed_at) == (None, None)
    second = await claim("second claim")
    assert second.attempt == first.attempt == 1
    async with database.write() as session:  # the attempts count anew, so it is the owner that tells the two leases apart
        assert not await JobQueue(session).complete(first)
        assert await JobQueue(session).complete(second)
    assert astuple(first) != astuple(second)


@pytest.mark.parametrize("status", STATES)
async def test_a_job_is_deleted_unless_it_runs(database: Database, job: Any, status: str) -> None:
    made = await job(status=status)
    async with database.write() as session:
        assert await JobRepository(session).delete(made.id) is (status != PROCESSING)
        assert await JobRepository(session).delete("job_none") is False
    async with database.read() as session:
        assert (await JobRepository(session).get(made.id) is None) is (status != PROCESSING)


async def test_rows_in_hand_follow_every_write(database: Database, job: Any) -> None:
    """A row that the session holds is neither left behind nor left to be loaded where nothing can await."""
    made = await job()
    columns = Job.__table__.columns
    async with database.write() as session:
        queue, jobs = JobQueue(session), JobRepository(session)
        loaded = await session.get_one(Job, made.id)
        assert await queue.claim("me", 30, ["synthesis"]) is loaded
        lease = Lease(loaded.id, "me", loaded.attempt)
        for write in (
            lambda: queue.report(lease, 50.0, "Speaking"),
            lambda: queue.put_back(lease, 0, "Again", count_attempt=False),
            lambda: jobs.cancel(made.id),
            lambda: jobs.retry(made.id),
        ):
            assert await write()
            in_hand = {column.key: getattr(loaded, column.key) for column in columns}
            assert in_hand == (await session.execute(select(Job.__table__))).mappings().one()
