"""What a worker may do with a job while it holds the lease, and that it may do nothing without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from store.clock import utcnow
from store.database import Database
from store.models import Job
from store.models.job import CANCELLED, COMPLETED, FAILED, PENDING, PROCESSING
from store.repositories.jobs import JobRepository
from store.repositories.queue import JobQueue, Lease

Call = Callable[[JobQueue, Lease], Awaitable[bool]]

WRITES: dict[str, Call] = {
    "report": lambda queue, lease: queue.report(lease, 50.0, "Speaking"),
    "complete": lambda queue, lease: queue.complete(lease, output_path="jobs/x/1.wav", output_size=4, duration=1.0),
    "fail": lambda queue, lease: queue.fail(lease, "SYNTHESIS_FAILED", "It did not work"),
    "put_back": lambda queue, lease: queue.put_back(lease, 0, "Again", count_attempt=True),
    "put_back uncounted": lambda queue, lease: queue.put_back(lease, 0, "Again", count_attempt=False),
}


def columns(job: Job) -> dict[str, Any]:
    return {column.key: getattr(job, column.key) for column in Job.__table__.columns}


@pytest.fixture
def do(database: Database) -> Callable[[Call, Lease], Awaitable[Any]]:
    """Call the queue in a transaction of its own."""

    async def do(call: Callable[[JobQueue, Lease], Awaitable[Any]], lease: Lease) -> Any:
        async with database.write() as session:
            return await call(JobQueue(session), lease)

    return do


@pytest.fixture
def expire(database: Database) -> Callable[[str], Awaitable[None]]:
    async def expire(job_id: str) -> None:
        async with database.write() as session:
            (await session.get_one(Job, job_id)).lease_until = utcnow() - timedelta(seconds=1)

    return expire


@pytest.fixture
def recover(database: Database) -> Callable[..., Awaitable[list[Job]]]:
    async def recover(max_attempts: int = 3) -> list[Job]:
        async with database.write() as session:
            return await JobQueue(session).recover(max_attempts)

    return recover


@pytest.fixture
def cancel(database: Database) -> Callable[[str], Awaitable[bool]]:
    async def cancel(job_id: str) -> bool:
        async with database.write() as session:
            return await JobRepository(session).cancel(job_id)

    return cancel


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("stale", ["another owner", "an older attempt", "a newer attempt", "another job", "a pending job", "an ended job"])
async def test_without_the_lease_nothing_is_written(user: Any, job: Any, claim: Any, do: Any, row: Any, name: str, stale: str) -> None:
    owner = (await user()).id
    made = await job(user_id=owner)
    lease = await claim("me")
    if stale == "an ended job":
        assert await do(WRITES["complete"], lease)
    if stale == "a pending job":
        assert await do(WRITES["put_back"], lease)
    if stale == "an older attempt":
        assert await do(WRITES["put_back"], lease)
        assert (await claim("me")).attempt == 2
    other = await job(user_id=owner)
    held = {
        "another owner": replace(lease, owner="you"),
        "a newer attempt": replace(lease, attempt=2),
        "another job": replace(lease, job_id=other.id),
    }
    before = columns(await row(made.id)), columns(await row(other.id))
    assert await do(WRITES[name], held.get(stale, lease)) is False
    assert await do(lambda queue, lease: queue.heartbeat(lease, 30), held.get(stale, lease)) is False
    assert (columns(await row(made.id)), columns(await row(other.id))) == before


@pytest.mark.parametrize("status", [PENDING, COMPLETED, FAILED, CANCELLED])
async def test_a_job_that_does_not_run_is_not_written_even_if_it_names_its_last_worker(job: Any, do: Any, row: Any, status: str) -> None:
    made = await job(status=status, lease_owner="me", attempt=1)
    before = columns(await row(made.id))
    for write in WRITES.values():
        assert await do(write, Lease(made.id, "me", 1)) is False
    assert columns(await row(made.id)) == before


@pytest.mark.parametrize(("name", "status"), [("complete", COMPLETED), ("fail", FAILED)])
async def test_a_holder_knows_its_own_end(database: Database, job: Any, claim: Any, do: Any, name: str, status: str) -> None:
    """Who has heard nothing of the commit can ask, and takes nobody else's end for its own."""
    made = await job()
    lease = await claim()

    async def known(lease: Lease, status: str = status) -> bool:
        return bool(await do(lambda queue, lease: queue.ended_by(lease, status), lease))

    assert not await known(lease), "it runs"
    assert await do(WRITES[name], lease)
    assert await known(lease)
    assert not await known(lease, FAILED if status == COMPLETED else COMPLETED)
    for other in (replace(lease, owner="you"), replace(lease, attempt=2), replace(lease, job_id="job_other")):
        assert not await known(other)
    if status == FAILED:
        async with database.write() as session:
            assert await JobRepository(session).retry(made.id)
            assert await JobRepository(session).cancel(made.id)
        assert not await known(lease), "its owner has put it back in the queue meanwhile"


async def test_an_end_that_others_wrote_is_not_that_of_the_holder(job: Any, claim: Any, do: Any, expire: Any, recover: Any) -> None:
    await job()
    lease = await claim()
    await expire(lease.job_id)
    (given_up,) = await recover(max_attempts=1)
    assert given_up.status == FAILED
    assert not await do(lambda queue, lease: queue.ended_by(lease, FAILED), lease)


@pytest.mark.parametrize("name", WRITES)
async def test_with_the_lease_everything_is(job: Any, claim: Any, do: Any, row: Any, name: str) -> None:
    made = await job()
    assert await do(WRITES[name], await claim()) is True
    stored = await row(made.id)
    ended = stored.status in {COMPLETED, FAILED, CANCELLED}
    assert (stored.completed_at is not None) is ended
    assert (stored.lease_until is None) is (stored.status != PROCESSING)
    assert (stored.lease_owner is None) is (stored.status == PENDING)
    expected = {
        "report": (PROCESSING, 50.0, "Speaking", None),
        "complete": (COMPLETED, 100.0, "Completed", None),
        "fail": (FAILED, 0.0, "Failed", "SYNTHESIS_FAILED"),
    }
    assert (stored.status, stored.progress, stored.message, stored.error_code) == expected.get(name, (PENDING, 0.0, "Again", None))
    if name == "complete":
        assert (stored.output_path, stored.output_size, stored.duration) == ("jobs/x/1.wav", 4, 1.0)
    if name == "fail":
        assert stored.error_message == "It did not work"


async def test_an_expired_lease_holds_until_somebody_takes_the_job_back(job: Any, claim: Any, do: Any, expire: Any, recover: Any) -> None:
    made = await job()
    lease = await claim()
    await expire(made.id)
    assert await do(lambda queue, lease: queue.heartbeat(lease, 30), lease) is True
    assert await recover() == []  # the heartbeat came in time after all
    await expire(made.id)
    assert len(await recover()) == 1
    assert await do(WRITES["complete"], lease) is False


async def test_the_heartbeat_extends_the_lease_and_learns_of_its_loss(job: Any, claim: Any, do: Any, row: Any, cancel: Any) -> None:
    made = await job()
    lease = await claim(lease_s=1)
    first = (await row(made.id)).lease_until
    assert await do(lambda queue, lease: queue.heartbeat(lease, 60), lease) is True
    assert (await row(made.id)).lease_until - first > timedelta(seconds=58)
    assert await cancel(made.id)
    assert await do(lambda queue, lease: queue.heartbeat(lease, 60), lease) is False
    assert (await row(made.id)).lease_until is None


@pytest.mark.parametrize("name", WRITES)
async def test_a_cancelled_job_stays_cancelled(job: Any, claim: Any, do: Any, row: Any, cancel: Any, name: str) -> None:
    made = await job()
    lease = await claim()
    assert await cancel(made.id)
    before = columns(await row(made.id))
    assert await do(WRITES[name], lease) is False
    assert columns(await row(made.id)) == before
    assert before["status"] == CANCELLED


@pytest.mark.parametrize(("count", "next_attempt"), [(True, 2), (False, 1)])
async def test_put_back_waits_and_counts_as_told(job: Any, claim: Any, do: Any, row: Any, count: bool, next_attempt: int) -> None:
    made = await job()
    lease = await claim()
    before = utcnow()
    assert await do(lambda queue, lease: queue.put_back(lease, 600, "Waiting for the voice", count_attempt=count), lease)
    stored = await row(made.id)
    assert timedelta(0) <= stored.available_at - before - timedelta(seconds=600) < timedelta(seconds=60)
    assert stored.message == "Waiting for the voice"
    assert stored.completed_at is None
    assert await claim() is None
    assert stored.attempt + 1 == next_attempt


async def test_recover_returns_an_interrupted_job_to_the_queue(job: Any, claim: Any, do: Any, row: Any, expire: Any, recover: Any) -> None:
    made = await job()
    lease = await claim("first")
    assert await do(WRITES["report"], lease)
    assert await recover() == []
    await expire(made.id)
    [recovered] = await recover()
    stored = await row(made.id)
    assert columns(recovered) == columns(stored)
    assert (stored.status, stored.attempt, stored.progress, stored.message) == (PENDING, 1, 0.0, "Waiting to be tried again")
    assert (stored.lease_owner, stored.lease_until, stored.completed_at, stored.error_code) == (None, None, None, None)
    assert await recover() == []
    again = await claim("second")
    assert again.attempt == 2
    assert await do(WRITES["report"], lease) is False


async def test_recover_gives_up_after_the_last_attempt(job: Any, claim: Any, row: Any, expire: Any, recover: Any) -> None:
    made = await job()
    for attempt in (1, 2):
        assert (await claim()).attempt == attempt
        await expire(made.id)
        assert len(await recover(2)) == 1
    stored = await row(made.id)
    assert (stored.status, stored.message, stored.error_code) == (FAILED, "Failed", "JOB_INTERRUPTED")
    assert stored.error_message == "The job was interrupted 2 times and has been given up"
    assert stored.completed_at is not None
    assert stored.lease_owner is None
    assert await claim() is None


async def test_recover_tells_each_job_its_own_end(database: Database, job: Any, recover: Any) -> None:
    gone = {"status": PROCESSING, "lease_owner": "dead", "lease_until": utcnow() - timedelta(seconds=1)}
    young, spent = await job(**gone, attempt=1), await job(**gone, attempt=3)
    alive = await job(**gone | {"lease_until": utcnow() + timedelta(hours=1)}, attempt=3)
    recovered = {one.id: one.status for one in await recover(3)}
    assert recovered == {young.id: PENDING, spent.id: FAILED}
    assert alive.id not in recovered
