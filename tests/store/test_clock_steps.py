"""A clock that is set, on the only machine or on one of several: no job is done twice, none waits for the old time to come again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from store.clock import utcnow
from store.database import Database
from store.models import Job
from store.models.job import PENDING, PROCESSING
from store.repositories import queue as queues
from store.repositories.queue import JobQueue, Lease

LEASE_S = 30.0
LONGEST_S = 300.0
KINDS = ("synthesis",)

Make = Callable[..., Awaitable[Any]]


@contextmanager
def clock_off_by(monkeypatch: pytest.MonkeyPatch, **by: float) -> Iterator[None]:
    """What this machine takes for now, for a while."""
    with monkeypatch.context() as set_clock:
        set_clock.setattr(queues, "utcnow", lambda: utcnow() + timedelta(**by))
        yield


async def do(database: Database, call: Callable[[JobQueue], Awaitable[Any]]) -> Any:
    async with database.write() as session:
        return await call(JobQueue(session))


async def claimed(database: Database, owner: str) -> Lease | None:
    taken = await do(database, lambda queue: queue.claim(owner, LEASE_S, KINDS))
    return None if taken is None else Lease(taken.id, owner, taken.attempt)


async def test_set_forward_a_running_job_may_be_begun_again_and_is_finished_once(
    database: Database, job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await job()
    first = await claimed(database, "before")
    assert first is not None
    with clock_off_by(monkeypatch, hours=1):
        assert len(await do(database, lambda queue: queue.recover(3))) == 1
        second = await claimed(database, "after")
        assert second is not None
        assert second.attempt == 2
        outcome = {"output_path": "jobs/x/2.wav", "output_size": 4, "duration": 1.0}
        assert not await do(database, lambda queue: queue.complete(first, **outcome)), "it has lost the job, and writes nothing"
        assert await do(database, lambda queue: queue.complete(second, **outcome))


async def test_set_back_a_dead_workers_job_is_taken_back_after_a_lease(
    database: Database, job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clock_off_by(monkeypatch, hours=1):
        await job()
        assert await claimed(database, "died") is not None
    assert await do(database, lambda queue: queue.recover(3)) == []
    assert await do(database, lambda queue: queue.follow_clock(LONGEST_S)) == 1
    with clock_off_by(monkeypatch, seconds=LONGEST_S + 1):
        (recovered,) = await do(database, lambda queue: queue.recover(3))
    assert recovered.status == PENDING


async def test_set_back_a_living_worker_keeps_its_job(database: Database, job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with clock_off_by(monkeypatch, hours=1):
        await job()
        lease = await claimed(database, "lives")
    assert lease is not None
    assert await do(database, lambda queue: queue.heartbeat(lease, LEASE_S))
    assert await do(database, lambda queue: queue.follow_clock(LONGEST_S)) == 0, "its word has brought the lease to the new time"
    assert await do(database, lambda queue: queue.recover(3)) == []
    assert await do(database, lambda queue: queue.complete(lease, output_path="jobs/x/1.wav", output_size=4, duration=1.0))


async def test_set_back_a_job_that_waits_is_begun_at_once(database: Database, job: Make) -> None:
    ahead = utcnow() + timedelta(hours=1)
    waiting = await job(created_at=ahead, available_at=ahead)
    assert await claimed(database, "worker") is None
    assert await do(database, lambda queue: queue.follow_clock(LONGEST_S)) == 1
    lease = await claimed(database, "worker")
    assert lease is not None
    assert lease.job_id == waiting.id


async def test_what_waits_for_a_reason_goes_on_waiting(database: Database, job: Make) -> None:
    paused = await job(available_at=utcnow() + timedelta(hours=6))
    held = await job(status=PROCESSING, lease_owner="service", attempt=1, lease_until=utcnow() + timedelta(seconds=LONGEST_S))
    assert await do(database, lambda queue: queue.follow_clock(LONGEST_S)) == 0
    async with database.read() as session:
        rows = [await session.get_one(Job, each.id) for each in (paused, held)]
    assert rows[0].available_at > utcnow() + timedelta(hours=5)
    assert rows[1].lease_owner == "service"
