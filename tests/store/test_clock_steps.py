"""A clock that is set, on the only machine or on one of several: no job is done twice, none waits for the old time to come again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from store.clock import utcnow
from store.database import Database
from store.models import Job
from store.models.job import FAILED, PENDING, PROCESSING
from store.repositories import base, jobs
from store.repositories.jobs import JobRepository
from store.repositories.queue import CLOCK_SKEW, JobQueue, Lease
from tests.servers import ROOT
from tests.store.conftest import POSTGRESQL_ONLY, SQLITE_ONLY

LEASE_S = 30.0
LONGEST_S = 300.0
KINDS = ("synthesis",)

Make = Callable[..., Awaitable[Any]]


@contextmanager
def clock_off_by(monkeypatch: pytest.MonkeyPatch, **by: float) -> Iterator[None]:
    """What this machine takes for now, for a while."""
    with monkeypatch.context() as set_clock:
        for module in (base, jobs):
            set_clock.setattr(module, "utcnow", lambda: utcnow() + timedelta(**by))
        yield


async def do(database: Database, call: Callable[[JobQueue], Awaitable[Any]]) -> Any:
    async with database.write() as session:
        return await call(JobQueue(session))


async def claimed(database: Database, owner: str) -> Lease | None:
    taken = await do(database, lambda queue: queue.claim(owner, LEASE_S, KINDS))
    return None if taken is None else Lease(taken.id, owner, taken.attempt)


@SQLITE_ONLY
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


@SQLITE_ONLY
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


@POSTGRESQL_ONLY
@pytest.mark.parametrize("hours", [-1, 1])
async def test_with_a_server_no_clock_but_its_own_says_when_a_lease_ends(
    database: Database, job: Make, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Machines whose clocks are further apart than a lease: they leave one another's jobs alone, and take those of the dead."""
    made = await job()
    here = await claimed(database, "here")
    assert here is not None
    with clock_off_by(monkeypatch, hours=hours):
        assert await do(database, lambda queue: queue.follow_clock(LONGEST_S)) == 0
        assert await do(database, lambda queue: queue.recover(3)) == []
        assert await do(database, lambda queue: queue.heartbeat(here, LEASE_S))
    assert await do(database, lambda queue: queue.recover(3)) == [], "as long as it is, whoever has extended it"
    with clock_off_by(monkeypatch, hours=hours):
        assert await do(database, lambda queue: queue.put_back(here, 0, "Again", count_attempt=False))
        there = await claimed(database, "there")
        assert there is not None, "what was put back is due at once"
    assert await do(database, lambda queue: queue.recover(3)) == []
    assert await do(database, lambda queue: queue.heartbeat(there, -1))
    with clock_off_by(monkeypatch, hours=hours):
        assert [each.id for each in await do(database, lambda queue: queue.recover(3))] == [made.id]


OTHER_MACHINE = """
import asyncio, datetime, sys
import store.clock

class Stepped(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(hours=float(sys.argv[2]))

store.clock.datetime = Stepped
from store.database import Database
from store.repositories.queue import JobQueue, Lease

async def main():
    database = Database(sys.argv[1])
    async with database.write() as session:
        queue = JobQueue(session)
        taken = await queue.claim("other", 1800, ["synthesis"])
        stolen = await queue.follow_clock(1800), [each.id for each in await queue.recover(3)]
    print(abs(store.clock.utcnow().timestamp() - datetime.datetime.now().timestamp()) > 3000, taken and taken.id, *stolen)
    await database.close()

asyncio.run(main())
"""


@POSTGRESQL_ONLY
@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_process_with_a_stepped_clock_steals_nothing_and_loses_nothing(
    database: Database, database_url: str, job: Make, hours: int
) -> None:
    await job(age=9)
    # Shorter than the step, and longer than a process needs to start anywhere.
    assert await do(database, lambda queue: queue.claim("here", 1800, KINDS)) is not None
    waiting = await job()
    command = [sys.executable, "-c", OTHER_MACHINE, database_url, str(hours)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.decode().split() == ["True", waiting.id, "0", "[]"]
    assert await do(database, lambda queue: queue.recover(3)) == [], "the lease of the other one is good here too"


@POSTGRESQL_ONLY
@pytest.mark.parametrize("hours", [-1, 1])
async def test_what_a_request_begins_at_once_is_not_taken_from_it(
    database: Database, user: Make, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    owner = (await user()).id
    with clock_off_by(monkeypatch, hours=hours):
        made = Job(id="job_now", user_id=owner, available_at=utcnow())
        async with database.write() as session:
            await JobQueue(session).begin(made, "request", LEASE_S)
    assert await do(database, lambda queue: queue.recover(3)) == []
    assert await do(database, lambda queue: queue.follow_clock(LEASE_S)) == 0
    assert made.started_at is not None
    assert abs(made.started_at - utcnow()) < CLOCK_SKEW, "it can be read without asking again"
    assert await do(database, lambda queue: queue.complete(Lease("job_now", "request", 1)))


async def test_what_waits_for_a_reason_goes_on_waiting(database: Database, job: Make) -> None:
    paused = await job(available_at=utcnow() + timedelta(hours=6))
    held = await job(status=PROCESSING, lease_owner="service", attempt=1, lease_until=utcnow() + timedelta(seconds=LONGEST_S))
    assert await do(database, lambda queue: queue.follow_clock(LONGEST_S)) == 0
    async with database.read() as session:
        rows = [await session.get_one(Job, each.id) for each in (paused, held)]
    assert rows[0].available_at > utcnow() + timedelta(hours=5)
    assert rows[1].lease_owner == "service"


@POSTGRESQL_ONLY
async def test_what_is_tried_again_on_a_machine_that_is_ahead_is_due_at_once(
    database: Database, job: Any, claim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await job(status=FAILED)
    with clock_off_by(monkeypatch, hours=1):
        async with database.write() as session:
            assert await JobRepository(session).retry(made.id)
    assert (await claim()).job_id == made.id
