"""What belongs to whom: nobody reaches another person's rows, and rows go together or stay together."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError

from store.database import Database
from store.models import Clone, CloneSample, Job, Sample, User
from store.models.job import COMPLETED, PENDING, PROCESSING, SAMPLE_PROCESSING
from store.repositories.base import Window
from store.repositories.clones import CloneRepository
from store.repositories.jobs import JobFilter, JobRepository
from store.repositories.queue import JobQueue, Lease
from store.repositories.samples import SampleRepository
from store.repositories.users import UserRepository


async def test_another_persons_rows_are_as_if_they_did_not_exist(database: Database, user: Any, job: Any, sample: Any, clone: Any) -> None:
    mine, other = (await user()).id, (await user()).id
    spoken = await job(user_id=other, idempotency_key="once")
    recorded, made = await sample(other), await clone(other)
    own = await sample(mine)
    async with database.read() as session:
        jobs, samples, clones = JobRepository(session), SampleRepository(session), CloneRepository(session)
        for who, found in ((mine, False), (other, True)):
            assert (await jobs.owned(who, spoken.id) is not None) is found
            assert (await jobs.by_idempotency_key(who, "once") is not None) is found
            assert (await samples.owned(who, recorded.id) is not None) is found
            assert (await clones.owned(who, made.id) is not None) is found
            assert (await jobs.list(who, Window(), JobFilter()))[1] == found
            assert (await clones.list(who, Window()))[1] == found
        assert [row.id for row in await samples.owned_many(mine, [recorded.id, own.id, "vs_none"])] == [own.id]
        assert [row.id for row in (await samples.list(mine, Window()))[0]] == [own.id]


async def test_owned_many_keeps_the_order_asked_for(database: Database, user: Any, sample: Any) -> None:
    owner = await user()
    ids = [(await sample(owner.id)).id for _ in range(4)]
    wanted = [ids[2], ids[0], ids[3]]
    async with database.read() as session:
        assert [row.id for row in await SampleRepository(session).owned_many(owner.id, wanted)] == wanted


async def test_the_same_idempotency_key_is_good_once_for_each_user(user: Any, job: Any) -> None:
    mine, other = await user(), await user()
    await job(user_id=mine.id, idempotency_key="once")
    await job(user_id=other.id, idempotency_key="once")
    await job(user_id=mine.id)
    await job(user_id=mine.id)  # no key is not a key
    with pytest.raises(IntegrityError):
        await job(user_id=mine.id, idempotency_key="once")


async def test_an_address_is_found_in_any_case_and_taken_once(database: Database, user: Any) -> None:
    made = await user(email="ada@example.org")
    async with database.read() as session:
        found = await UserRepository(session).by_email("Ada@Example.ORG")
        assert found is not None
        assert found.id == made.id
        assert await UserRepository(session).by_email("eve@example.org") is None
    with pytest.raises(IntegrityError):
        await user(email="ada@example.org")


@pytest.fixture
async def family(database: Database, user: Any, sample: Any, clone: Any) -> tuple[User, list[Sample], Clone]:
    """A user whose active clone is made of two samples, the second one first."""
    owner = await user()
    samples = [await sample(owner.id), await sample(owner.id)]
    made = await clone(owner.id)
    async with database.write() as session:
        session.add_all(CloneSample(clone_id=made.id, sample_id=row.id, position=1 - number) for number, row in enumerate(samples))
        (await session.get_one(User, owner.id)).active_clone_id = made.id
    return owner, samples, made


async def test_a_clone_and_its_samples_name_each_other(database: Database, family: Any) -> None:
    owner, samples, made = family
    async with database.read() as session:
        assert [row.id for row in await CloneRepository(session).samples(made.id)] == [samples[1].id, samples[0].id]
        assert [row.id for row in await SampleRepository(session).clones_of(samples[0].id)] == [made.id]
        found = await CloneRepository(session).owned(owner.id, made.id)
        assert found is not None
        assert [link.sample_id for link in found.samples] == [samples[1].id, samples[0].id]


async def test_a_sample_in_use_is_not_deleted(database: Database, family: Any) -> None:
    _, samples, _ = family
    with pytest.raises(IntegrityError):
        async with database.write() as session:
            await SampleRepository(session).delete(await session.get_one(Sample, samples[0].id))
    async with database.read() as session:
        assert await session.get(Sample, samples[0].id) is not None


async def test_a_deleted_clone_is_nobodys_active_one_and_frees_its_samples(database: Database, family: Any) -> None:
    owner, samples, made = family
    async with database.write() as session:
        await CloneRepository(session).delete(await session.get_one(Clone, made.id))
        await SampleRepository(session).delete(await session.get_one(Sample, samples[0].id))
    async with database.read() as session:
        assert (await session.get_one(User, owner.id)).active_clone_id is None
        assert await session.scalar(select(func.count()).select_from(CloneSample)) == 0
        assert (await session.scalars(select(Sample.id))).all() == [samples[1].id]


async def test_a_deleted_user_takes_everything_along(database: Database, family: Any, job: Any) -> None:
    owner, _, _ = family
    await job(user_id=owner.id)
    async with database.write() as session:
        await session.execute(delete(User).where(User.id == owner.id))
    async with database.read() as session:
        for model in (User, Sample, Clone, CloneSample, Job):
            assert await session.scalar(select(func.count()).select_from(model)) == 0


async def test_delete_of_takes_the_work_on_one_thing_and_its_lease(database: Database, user: Any, job: Any) -> None:
    owner = await user()
    for status in (PENDING, PROCESSING, COMPLETED):
        await job(
            user_id=owner.id, kind=SAMPLE_PROCESSING, subject_id="vs_1", status=status, lease_owner="me", attempt=1, id=f"job_{status}"
        )
    other = await job(user_id=owner.id, kind=SAMPLE_PROCESSING, subject_id="vs_2")
    spoken = await job(user_id=owner.id)
    async with database.write() as session:
        await JobRepository(session).delete_of("vs_1")
    async with database.write() as session:
        assert set(await session.scalars(select(Job.id))) == {other.id, spoken.id}
        assert await JobQueue(session).heartbeat(Lease(f"job_{PROCESSING}", "me", 1), 30) is False
