"""How many jobs run at once is a bound that holds however many claim at the same moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

from store.clock import utcnow
from store.database import Database
from store.models.job import CLONE_BUILD, PROCESSING, SYNTHESIS, TRAINING
from store.repositories.queue import JobQueue, Lease

CLAIMERS = 8


async def rush(claim: Any, **bounds: Any) -> list[Lease]:
    """What so many get who claim at the same moment."""
    leases = await asyncio.gather(*(claim(f"worker {number}", **bounds) for number in range(CLAIMERS)))
    return [lease for lease in leases if lease is not None]


async def end(database: Database, lease: Lease) -> None:
    async with database.write() as session:
        assert await JobQueue(session).complete(lease)


async def test_one_user_has_no_more_running_than_allowed(database: Database, user: Any, job: Any, claim: Any, row: Any) -> None:
    heavy, light = (await user()).id, (await user()).id
    for _ in range(CLAIMERS):
        await job(user_id=heavy, priority=9)
    for _ in range(3):
        await job(user_id=light)
    for _ in range(3):
        won = await rush(claim, per_user=2)
        running = Counter([(await row(lease.job_id)).user_id for lease in won])
        assert running == {heavy: 2, light: 2} or running == {heavy: 2, light: 1} or running == {heavy: 2}
        assert await claim(per_user=2) is None or running[light] < 2, "there are jobs, but no room"
        for lease in won:
            await end(database, lease)


async def test_a_place_that_comes_free_is_taken_once(database: Database, user: Any, job: Any, claim: Any) -> None:
    owner = (await user()).id
    for _ in range(CLAIMERS):
        await job(user_id=owner)
    (first, _) = await rush(claim, per_user=2)
    await end(database, first)
    assert len(await rush(claim, per_user=2)) == 1


async def test_no_more_run_at_once_than_allowed_whoever_they_are_of(database: Database, job: Any, claim: Any) -> None:
    for _ in range(CLAIMERS):
        await job()
    won = await rush(claim, at_once=3)
    assert len(won) == 3
    await end(database, won[0])
    await end(database, won[1])
    assert len(await rush(claim, at_once=3)) == 2


async def test_both_bounds_hold_together(user: Any, job: Any, claim: Any, row: Any) -> None:
    people = [(await user()).id for _ in range(3)]
    for person in people:
        for _ in range(4):
            await job(user_id=person)
    won = await rush(claim, per_user=2, at_once=5)
    assert len(won) == 5
    assert max(Counter([(await row(lease.job_id)).user_id for lease in won]).values()) == 2


async def test_each_lane_is_counted_for_itself(user: Any, job: Any, claim: Any) -> None:
    owner, lease = (await user()).id, {"status": PROCESSING, "lease_until": utcnow() + timedelta(hours=1)}
    for kind in (CLONE_BUILD, TRAINING):
        await job(user_id=owner, kind=kind, **lease)
    await job(user_id=owner)
    await job(user_id=owner, kind=CLONE_BUILD)
    assert await claim(kinds=(CLONE_BUILD,), per_user=1) is None
    assert await claim(kinds=(CLONE_BUILD,), at_once=1) is None
    assert await claim(kinds=(SYNTHESIS,), per_user=1, at_once=1) is not None


async def test_without_a_bound_there_is_none(user: Any, job: Any, claim: Any) -> None:
    owner = (await user()).id
    for _ in range(CLAIMERS):
        await job(user_id=owner)
    assert len(await rush(claim)) == CLAIMERS


async def test_the_kinds_that_are_due(database: Database, job: Any) -> None:
    await job(kind=SYNTHESIS)
    await job(kind=SYNTHESIS)
    await job(kind=CLONE_BUILD, available_at=utcnow() + timedelta(hours=1))
    await job(kind=TRAINING, status=PROCESSING)
    async with database.read() as session:
        assert await JobQueue(session).due() == {SYNTHESIS}
