"""Whose turn it is among people who run equally many jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from store.clock import utcnow
from store.database import Database
from store.models import Job, Turn
from store.models.job import FAILED, PATIENCE, SAMPLE_PROCESSING, SYNTHESIS
from store.repositories.jobs import JobRepository
from store.repositories.order import QueueOrder
from store.repositories.queue import JobQueue


@pytest.fixture
def regular(database: Database, user: Any, job: Any, claim: Any) -> Callable[[timedelta], Awaitable[str]]:
    """A user whose only turn ended so long ago."""

    async def regular(ago: timedelta) -> str:
        user_id = (await user()).id
        await job(user_id=user_id, age=10**6)
        await end(database, await claim())
        async with database.write() as session:
            then = utcnow() - ago
            await session.execute(update(Turn).where(Turn.user_id == user_id).values(claimed_at=then, ended_at=then))
        return str(user_id)

    return regular


async def end(database: Database, lease: Any, how: str = "complete") -> None:
    """As whoever works on a job ends it."""
    async with database.write() as session:
        queue = JobQueue(session)
        assert await (queue.complete(lease) if how == "complete" else queue.fail(lease, "SPEECH_FAILED", "No sound."))
        await queue.end_turn(lease, (await session.get_one(Job, lease.job_id)).user_id)


@pytest.mark.parametrize(("slots", "heavy"), [(1, 1), (2, 1), (2, 2), (4, 4), (2, 5)])
async def test_who_comes_new_is_next_and_the_others_take_turns(
    database: Database, user: Any, job: Any, claim: Any, row: Any, slots: int, heavy: int
) -> None:
    people = [(await user()).id for _ in range(heavy)]
    for person in people:
        for age in range(8):
            await job(user_id=person, age=1000 + age)
    running = [await claim() for _ in range(slots)]
    new = await job(user_id=(await user()).id, created_at=utcnow())
    claimed: list[Any] = []
    for _ in range(1 + 3 * heavy):
        await end(database, running.pop(0))
        running.append(await claim())
        claimed.append(await row(running[-1].job_id))
    # Only whoever has had no turn either and has waited longer comes first.
    assert [each.id for each in claimed].index(new.id) == max(0, heavy - slots)
    rounds = Counter(each.user_id for each in claimed if each.id != new.id)
    assert rounds.keys() == set(people)
    assert max(rounds.values()) - min(rounds.values()) <= 1


async def test_an_endless_row_of_new_accounts_is_served_first_and_starves_nobody(
    database: Database, user: Any, job: Any, claim: Any, row: Any
) -> None:
    """Two come for every job that ends: more than the only slot can serve."""
    regular = (await user()).id
    for _ in range(2):
        await job(user_id=regular, created_at=utcnow())
    served = []

    async def serve_next() -> None:
        lease = await claim()
        served.append((await row(lease.job_id)).user_id)
        await end(database, lease)
        for _ in range(2):
            await job(user_id=(await user()).id, created_at=utcnow())

    for _ in range(6):
        await serve_next()
    assert [number for number, person in enumerate(served) if person == regular] == [0], "newcomers come first"
    before = utcnow() - PATIENCE
    async with database.write() as session:
        await session.execute(update(Turn).where(Turn.user_id == regular).values(claimed_at=before, ended_at=before))
        await session.execute(update(Job).where(Job.user_id == regular).values(created_at=before))
    await serve_next()
    assert served[-1] == regular, "for two minutes"


async def test_who_has_waited_for_long_comes_before_newcomers_by_how_long(
    database: Database, user: Any, job: Any, claim: Any, regular: Any
) -> None:
    minute = timedelta(minutes=1)
    served = await regular(8 * minute)
    made = [
        await job(user_id=(await user()).id, created_at=utcnow() - 7 * minute),
        await job(user_id=served, created_at=utcnow() - 20 * minute),  # waits since the turn
        await job(user_id=(await user()).id, created_at=utcnow() - 9 * minute),
        await job(user_id=(await user()).id, created_at=utcnow() - minute),
        await job(user_id=await regular(0 * minute), created_at=utcnow() - 20 * minute),
    ]
    async with database.read() as session:
        places = await QueueOrder(session).places((SYNTHESIS,))
    order = [made[number].id for number in (2, 1, 0, 3, 4)]
    assert sorted(places, key=lambda job_id: places[job_id].position) == order
    assert [(await claim()).job_id for _ in made] == order


@pytest.mark.parametrize("how", ["complete", "fail"])
async def test_a_turn_is_paid_for_to_its_end(database: Database, job: Any, claim: Any, regular: Any, how: str) -> None:
    """Whoever comes while a long job runs is not behind the next one of the same person."""
    heavy, light = await regular(timedelta(0)), await regular(timedelta(0))
    for _ in range(2):
        await job(user_id=heavy, created_at=utcnow())
    running = await claim()
    new = await job(user_id=light, created_at=utcnow())
    await end(database, running, how)
    assert (await claim()).job_id == new.id


async def test_a_job_that_is_asked_for_once_more_has_not_waited_since_it_was_made(
    database: Database, job: Any, claim: Any, regular: Any
) -> None:
    day, minute = timedelta(days=1), timedelta(minutes=1)
    failed = await job(user_id=await regular(2 * day), status=FAILED, created_at=utcnow() - 3 * day)
    waits = await job(user_id=await regular(5 * minute), created_at=utcnow() - 4 * minute)
    async with database.write() as session:
        assert await JobRepository(session).retry(failed.id)
    assert [(await claim()).job_id for _ in range(2)] == [waits.id, failed.id]


async def test_a_turn_in_another_lane_is_none(database: Database, user: Any, job: Any, claim: Any, row: Any) -> None:
    one, other = [(await user()).id for _ in range(2)]
    for person, kind in ((one, SYNTHESIS), (other, SYNTHESIS), (other, SAMPLE_PROCESSING)):
        await job(user_id=person, kind=kind, age=99)
    for kinds in ((SYNTHESIS,), (SYNTHESIS,), (SAMPLE_PROCESSING,)):  # the turn of `one` is the older one in this lane
        await end(database, await claim(kinds=kinds))
    young, old = await job(user_id=one, age=1), await job(user_id=other, age=9)
    assert [(await claim()).job_id, (await claim()).job_id] == [young.id, old.id]
