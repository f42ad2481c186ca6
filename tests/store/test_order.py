"""The order that is told is the order in which jobs are claimed."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from store.clock import utcnow
from store.database import Database
from store.models.job import COMPLETED, PENDING, PREVIEW, PROCESSING, SAMPLE_PROCESSING, SYNTHESIS
from store.repositories.order import JOB_UNITS, RECENT, QueueOrder, size_of

KINDS = (SYNTHESIS, PREVIEW)


@pytest.mark.parametrize("seed", range(5))
async def test_places_are_the_order_of_claims(database: Database, user: Any, job: Any, claim: Any, seed: int) -> None:
    rng = random.Random(seed)
    people = [(await user()).id for _ in range(4)]
    for person in people:
        for _ in range(rng.randrange(3)):
            await job(user_id=person, status=PROCESSING, kind=rng.choice([SYNTHESIS, SAMPLE_PROCESSING]))
    for _ in range(14):
        await job(user_id=rng.choice(people), kind=rng.choice(KINDS), priority=rng.choice([0, 0, 0, 1, -1]), age=rng.randrange(5))
    await job(user_id=people[0], kind=SAMPLE_PROCESSING, priority=9)  # waits for another slot
    async with database.read() as session:
        places = await QueueOrder(session).places(KINDS)
    claimed = []
    while (lease := await claim(kinds=KINDS)) is not None:
        claimed.append(lease.job_id)
    assert sorted(places, key=lambda job_id: places[job_id].position) == claimed
    assert sorted(place.position for place in places.values()) == list(range(1, 15))


async def test_what_is_ahead_is_the_size_of_all_before(database: Database, user: Any, job: Any) -> None:
    owner = (await user()).id
    made = [await job(user_id=owner, age=9 - n, text_length=100 * n, speed=1.0 + n) for n in range(4)]
    async with database.read() as session:
        places = await QueueOrder(session).places(KINDS, [made[0].id, made[3].id, "job_none"])
    assert places.keys() == {made[0].id, made[3].id}
    assert (places[made[0].id].ahead, places[made[0].id].size) == (0, JOB_UNITS)
    assert places[made[3].id].ahead == pytest.approx(sum(size_of(one) for one in made[:3]))
    assert places[made[3].id].size == pytest.approx((300 + JOB_UNITS) / 4)


async def test_what_is_not_due_comes_last(database: Database, user: Any, job: Any) -> None:
    owner = (await user()).id
    later = await job(user_id=owner, age=99, priority=5, available_at=utcnow() + timedelta(hours=2))
    sooner = await job(user_id=owner, age=50, available_at=utcnow() + timedelta(hours=1))
    due = await job(user_id=(await user()).id, priority=-1)
    async with database.read() as session:
        places = await QueueOrder(session).places(KINDS)
    assert [places[one.id].position for one in (due, sooner, later)] == [1, 2, 3]


async def test_what_runs_and_what_was_measured(database: Database, user: Any, job: Any, claim: Any) -> None:
    owner, now = (await user()).id, utcnow()
    took = {"status": COMPLETED, "text_length": 80}
    for age in range(25):
        ended = now - timedelta(minutes=age)
        await job(user_id=owner, claimed_at=ended - timedelta(seconds=age + 1), completed_at=ended, **took)
    await job(user_id=owner, claimed_at=now, completed_at=now, cache_hit=True, **took)  # costs nothing, says nothing
    await job(user_id=owner, kind=SAMPLE_PROCESSING, claimed_at=now, completed_at=now, **took)
    await job(user_id=owner, status=PENDING)
    await claim()
    async with database.read() as session:
        order = QueueOrder(session)
        recent, running = await order.recent(KINDS), await order.running(KINDS)
    assert [round((one.ended - one.began).total_seconds()) for one in recent if one.ended] == list(range(1, RECENT + 1))
    assert {one.size for one in recent} == {100}
    assert [(one.size, one.progress, one.ended) for one in running] == [(JOB_UNITS, 0.0, None)]
    assert running[0].began >= now


async def test_an_attempt_is_measured_without_the_waits_before_it(database: Database, job: Any, claim: Any, row: Any) -> None:
    made = await job()
    await claim()
    async with database.write() as session:
        stored = await session.get_one(type(made), made.id)
        stored.status, stored.started_at = PENDING, utcnow() - timedelta(hours=1)
    await claim()
    again = await row(made.id)
    assert utcnow() - again.started_at > timedelta(minutes=59)
    assert utcnow() - again.claimed_at < timedelta(minutes=1)
