"""Jobs that ended long ago are found and removed, with their words, and nothing else is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from store.clock import utcnow
from store.database import Database
from store.models import Job, JobTimestamps
from store.models.job import CANCELLED, COMPLETED, FAILED, PENDING, PREVIEW, SYNTHESIS
from store.repositories.jobs import JobRepository


async def test_what_ended_before_is_removed_and_its_object_named(database: Database, job: Any, add: Any, row: Any) -> None:
    now = utcnow()
    old, young = now - timedelta(days=8), now - timedelta(days=6)
    spoken = await job(status=COMPLETED, completed_at=old, output_path="jobs/x/1.wav")
    await add(JobTimestamps(job_id=spoken.id, method="ctc", words=[]))
    gone = {spoken.id} | {(await job(status=status, completed_at=old)).id for status in (FAILED, CANCELLED)}
    kept = [await job(status=COMPLETED, completed_at=young), await job(kind=PREVIEW, status=COMPLETED, completed_at=old), await job()]
    limit = now - timedelta(days=7)
    async with database.read() as session:
        assert set(await JobRepository(session).ended_before((SYNTHESIS,), limit, 10)) == gone
        assert len(await JobRepository(session).ended_before((SYNTHESIS,), limit, 2)) == 2
    async with database.write() as session:
        assert sorted(await JobRepository(session).prune([*gone, kept[0].id], limit), key=str) == [None, None, "jobs/x/1.wav"]
    async with database.read() as session:
        assert await session.get(Job, spoken.id) is None
        assert await session.get(JobTimestamps, spoken.id) is None
    for job_ in kept:
        assert (await row(job_.id)).id == job_.id


async def test_a_job_that_was_begun_again_meanwhile_stays(database: Database, job: Any, row: Any) -> None:
    made = await job(status=FAILED, completed_at=utcnow() - timedelta(days=8))
    async with database.write() as session:
        assert await JobRepository(session).retry(made.id)
        assert await JobRepository(session).prune([made.id], utcnow()) == []
    assert (await row(made.id)).status == PENDING
