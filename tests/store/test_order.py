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
from store.repositories.queue import JobQueue

KINDS = (SYNTHESIS, PREVIEW)


@pytest.mark.parametrize("priorities", [[0], [0, 0, 0, 1, -1]], ids=["equal", "different"])
@pytest.mark.parametrize("seed", range(5))
async def test_places_are_the_order_of_claims(
    database: Database, user: Any, job: Any, claim: Any, seed: int, priorities: list[int]
) -> None:
    rng = random.Random(seed)
    people = [(await user()).id for _ in range(4)]
    for person in rng.sample(people, seed % 4):  # have had a turn
        await job(user_id=person)
        lease = await claim(kinds=KINDS)
        async with database.write() as session:
            assert await JobQueue(session).complete(lease)
    for person in people:
        for _ in range(rng.randrange(3)):
            await job(user_id=person, status=PROCESSING, kind=rng.choice([SYNTHESIS, SAMPLE_PROCESSING]))
    for _ in range(14):
        made = utcnow() - timedelta(seconds=rng.choice([0, 1, 2, 100, 101]))
        await job(user_id=rng.choice(people), kind=rng.choice(KINDS), priority=rng.choice(priorities), created_at=made)
    await job(user_id=people[0], kind=SAMPLE_PROCESSING, priority=9)  # waits for another slot
    async with database.read() as session:
        places = await QueueOrder(session).places(KINDS)
    claimed = []
    while (lease := await claim(kinds=KINDS)) is not None:
        claimed.append(lease.job_id)
    apart = [abs(places[job_id].position - number) for number, job_id in enumerate(claimed, start=1)]
    # Whose turn it is among jobs of the same high level also depends on the priorities of the jobs before them.
    assert max(apart) <= (0 if priorities == [0] else len(people) - 1)
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


async def test_what_is_ones_own_and_who_waits_without_running(database: Database, user: Any, job: Any) -> None:
    me, you, busy, done = [(await user()).id for _ in range(4)]
    mine = [await job(user_id=me, age=9 - n, text_length=100 * n) for n in range(3)]
    other = await job(user_id=you, age=20, text_length=1000)
    await job(user_id=busy, status=PROCESSING)
    await job(user_id=busy, age=30)
    await job(user_id=done, status=COMPLETED)
    async with database.read() as session:
        order = QueueOrder(session)
        all_, named = await order.places(KINDS, own=True), await order.places(KINDS, [mine[2].id], own=True)
        without = await order.places(KINDS)
    assert [all_[each.id].own for each in mine] == [0, JOB_UNITS, 2 * JOB_UNITS + 100]
    assert all_[other.id].own == 0
    assert {place.idle for place in all_.values()} == {2}
    assert named == {mine[2].id: all_[mine[2].id]}
    assert {(place.position, place.ahead) for place in without.values()} == {(place.position, place.ahead) for place in all_.values()}


@pytest.mark.parametrize("per_user", [1, 2])
async def test_places_are_the_order_of_claims_below_the_bound_of_one_user(
    database: Database, user: Any, job: Any, claim: Any, row: Any, per_user: int
) -> None:
    """Three slots, jobs that all take as long, and more of one user than the bound lets through at once."""
    people = [(await user()).id for _ in range(2)]
    for number in range(9):
        await job(user_id=people[number % 3 == 2], age=20 - number)
    async with database.read() as session:
        places = await QueueOrder(session).places(KINDS, own=True)
    claimed, running = [], []
    while True:
        while len(running) < 3 and (lease := await claim(kinds=KINDS, per_user=per_user)) is not None:
            claimed.append(lease.job_id)
            running.append(lease)
        if not running:
            break
        async with database.write() as session:
            assert await JobQueue(session).complete(running.pop(0))
    apart = [abs(places[job_id].position - number) for number, job_id in enumerate(claimed, start=1)]
    assert len(claimed) == 9
    assert max(apart) <= per_user, "who ends first comes next: nobody knows that before"


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
