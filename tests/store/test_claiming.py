"""Who gets which job, and when."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from store.clock import utcnow
from store.database import Database
from store.models import CloneSample
from store.models.job import CANCELLED, CLONE_BUILD, COMPLETED, FAILED, PENDING, PROCESSING, SAMPLE_PROCESSING, SYNTHESIS
from store.repositories.jobs import JobRepository
from store.repositories.queue import JobQueue


async def test_claim_marks_the_job_and_counts_the_attempt(job: Any, claim: Any, row: Any) -> None:
    made = await job(progress=40.0, message="Waiting")
    before = utcnow()
    lease = await claim("me", lease_s=30)
    after = utcnow()
    stored = await row(made.id)
    assert (lease.job_id, lease.owner, lease.attempt) == (made.id, "me", 1)
    assert (stored.status, stored.lease_owner, stored.attempt, stored.progress) == (PROCESSING, "me", 1, 0.0)
    assert before <= stored.lease_until - timedelta(seconds=30) <= after
    assert before <= stored.started_at <= after
    assert await claim() is None


async def test_the_claimed_row_is_the_stored_one(database: Database, job: Any, row: Any) -> None:
    made = await job()
    async with database.write() as session:
        await JobRepository(session).get(made.id)  # an older picture of the row lies in the session
        claimed = await JobQueue(session).claim("me", 30, [SYNTHESIS])
        assert claimed is not None
        assert (claimed.id, claimed.status, claimed.attempt, claimed.lease_owner) == (made.id, PROCESSING, 1, "me")
    assert (await row(made.id)).lease_until == claimed.lease_until


async def test_a_second_attempt_keeps_the_first_start(database: Database, job: Any, claim: Any, row: Any) -> None:
    made = await job()
    lease = await claim()
    started = (await row(made.id)).started_at
    async with database.write() as session:
        assert await JobQueue(session).put_back(lease, 0, "Again", count_attempt=True)
    again = await claim()
    assert again.attempt == 2
    assert (await row(made.id)).started_at == started


async def test_of_many_claimers_each_job_goes_to_one(user: Any, job: Any, claim: Any, row: Any) -> None:
    owners = [await user(), await user()]
    made = [await job(user_id=owners[number % 2].id) for number in range(12)]
    leases = await asyncio.gather(*(claim(f"worker {number}") for number in range(20)))
    won = [lease for lease in leases if lease is not None]
    assert sorted(lease.job_id for lease in won) == sorted(one.id for one in made)
    assert leases.count(None) == 8
    for lease in won:
        stored = await row(lease.job_id)
        assert (stored.lease_owner, stored.attempt) == (lease.owner, 1)


async def test_fewest_running_first_then_priority_then_age_then_id(user: Any, job: Any, claim: Any) -> None:
    busy, calm = (await user()).id, (await user()).id
    await job(user_id=busy, status=PROCESSING, lease_until=utcnow() + timedelta(hours=1))
    await job(user_id=calm, status=PROCESSING, lease_until=utcnow() + timedelta(hours=1))
    await job(user_id=busy, status=PROCESSING, lease_until=utcnow() + timedelta(hours=1))
    for _ in range(3):  # what runs in another lane holds nobody back in this one
        await job(user_id=calm, status=PROCESSING, kind=CLONE_BUILD, lease_until=utcnow() + timedelta(hours=1))
    for status in (COMPLETED, FAILED, CANCELLED):  # what has ended is none
        await job(user_id=calm, status=status)
    wanted = [
        await job(user_id=calm, priority=1, age=0),  # calm runs one, busy two
        await job(user_id=calm, priority=0, age=50),  # now both run two: priority decides ...
        await job(user_id=busy, priority=9, age=0),
        await job(user_id=busy, priority=0, age=90),
    ]
    order = []
    while (lease := await claim()) is not None:
        order.append(lease.job_id)
    # 1: calm (1 < 2 running). 2: two each, priority 9. 3: calm has two, busy three. 4: what is left
    assert order == [wanted[0].id, wanted[2].id, wanted[1].id, wanted[3].id]


async def test_one_user_s_jobs_come_by_priority_then_age_then_id(user: Any, job: Any, claim: Any) -> None:
    owner = (await user()).id
    young = await job(user_id=owner, age=1)
    twin_b = await job(user_id=owner, age=5, id="job_b")
    twin_a = await job(user_id=owner, age=5, id="job_a")
    urgent = await job(user_id=owner, age=0, priority=2)
    late = await job(user_id=owner, age=99, priority=-1)
    order = [(await claim()).job_id for _ in range(5)]
    assert order == [urgent.id, twin_a.id, twin_b.id, young.id, late.id]


async def test_a_heavy_user_does_not_starve_the_others(user: Any, job: Any, claim: Any) -> None:
    heavy, light = (await user()).id, (await user()).id
    for _ in range(6):
        await job(user_id=heavy, age=1000, priority=5)
    small = await job(user_id=light, age=0)
    first, second = await claim(), await claim()
    assert first.job_id != small.id  # nobody runs anything: priority
    assert second.job_id == small.id


async def test_a_job_is_not_claimed_before_its_time(job: Any, claim: Any, row: Any) -> None:
    later = await job(available_at=utcnow() + timedelta(hours=1), age=100)
    assert await claim() is None
    now = await job()
    assert (await claim()).job_id == now.id
    assert (await row(later.id)).status == PENDING


async def test_only_the_kinds_asked_for(job: Any, claim: Any) -> None:
    await job(kind=SYNTHESIS, age=9)
    wanted = await job(kind=SAMPLE_PROCESSING)
    assert await claim(kinds=()) is None
    assert await claim(kinds=(CLONE_BUILD,)) is None
    assert (await claim(kinds=(CLONE_BUILD, SAMPLE_PROCESSING))).job_id == wanted.id


async def test_a_job_may_be_claimed_by_name(job: Any, claim: Any) -> None:
    await job(age=100, priority=9)
    wanted = await job()
    assert (await claim(job_id=wanted.id)).job_id == wanted.id
    assert await claim(job_id=wanted.id) is None
    later = await job(available_at=utcnow() + timedelta(hours=1))
    assert await claim(job_id=later.id) is None
    assert await claim(job_id="job_none") is None


@pytest.mark.parametrize("status", [PROCESSING, COMPLETED, FAILED, CANCELLED])
async def test_only_pending_jobs_are_claimed(job: Any, claim: Any, status: str) -> None:
    await job(status=status)
    assert await claim() is None


async def test_wake_makes_due_what_waits_for_a_sample_or_a_clone(
    database: Database, user: Any, sample: Any, clone: Any, add: Any, job: Any, claim: Any, row: Any
) -> None:
    owner, hour = (await user()).id, utcnow() + timedelta(hours=1)
    recorded, made, unrelated = await sample(owner), await clone(owner), await clone(owner)
    await add(CloneSample(clone_id=made.id, sample_id=recorded.id, position=0))
    build = await job(user_id=owner, kind=CLONE_BUILD, subject_id=made.id, available_at=hour)
    speech = await job(user_id=owner, voice_model_id=made.id, available_at=hour)
    others = [
        await job(user_id=owner, kind=CLONE_BUILD, subject_id=unrelated.id, available_at=hour),
        await job(user_id=owner, voice_model_id=unrelated.id, available_at=hour),
        await job(user_id=owner, voice_model_id=made.id, available_at=hour, status=COMPLETED),
    ]

    async def wake(*ids: str) -> int:
        async with database.write() as session:
            return await JobQueue(session).wake(ids)

    kinds = (SYNTHESIS, CLONE_BUILD)
    assert await wake() == 0
    assert await claim(kinds=kinds) is None
    assert await wake(recorded.id) == 1
    assert (await claim(kinds=kinds)).job_id == build.id
    assert await wake(made.id) == 1
    assert (await claim(kinds=kinds)).job_id == speech.id
    assert [(await row(other.id)).available_at for other in others] == [hour] * 3


async def test_a_job_is_taken_by_name_whether_or_not_it_is_due(database: Database, job: Any, row: Any) -> None:
    later = await job(available_at=utcnow() + timedelta(hours=1), age=100)
    await job()
    async with database.write() as session:
        queue = JobQueue(session)
        lease = await queue.take(later.id, "a service", 60)
        assert lease is not None
        assert (lease.job_id, lease.owner, lease.attempt) == (later.id, "a service", 1)
        assert await queue.take(later.id, "another", 60) is None
        assert await queue.take("job_none", "another", 60) is None
        assert await queue.note(lease, 60, duration=2.0)
    stored = await row(later.id)
    assert (stored.status, stored.lease_owner, stored.duration) == (PROCESSING, "a service", 2.0)
    assert stored.claimed_at is not None
