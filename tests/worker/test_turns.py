"""The end of a turn and the next claim, at the same moment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from store.clock import utcnow
from store.models import Clone, CloneSample, Job, Sample, Turn, User
from store.models.job import CLONE_BUILD, SAMPLE_PROCESSING
from store.objects import Objects
from store.repositories.queue import JobQueue
from store.stores import Stores
from tests.conftest import emptied
from tests.worker.test_run import Scripted, raising
from worker.claims import Claims
from worker.errors import JobFailedError
from worker.handlers.base import Outcome, Report
from worker.lanes import LANES, VOICE
from worker.run import JobRunner

KINDS = LANES[VOICE]
BLOCKED = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")


def rows() -> list[Any]:
    sound = {"format": "wav", "duration": 5.0, "sample_rate": 24000, "channels": 1, "size": 1, "original_path": "x"}
    job = {"user_id": "user_1", "available_at": utcnow()}
    return [
        User(id="user_1", email="one@example.com", password_hash="-"),
        Sample(id="vs_1", user_id="user_1", name="a voice", **sound),
        Clone(id="vc_1", user_id="user_1", name="a clone", language="en-US"),
        CloneSample(clone_id="vc_1", sample_id="vs_1", position=0),
        Job(id="job_1", kind=SAMPLE_PROCESSING, subject_id="vs_1", **job),
    ]


@pytest.mark.parametrize("error", [None, JobFailedError("NO_SPEECH", "Silence")], ids=["completed", "failed"])
async def test_what_a_job_wakes_may_be_claimed_as_it_ends(shared_postgres: str, tmp_path: Path, error: Exception | None) -> None:
    """A sample is ready and wakes the clone that is made of it, which somebody claims just then: neither of them is lost."""
    database = await emptied(shared_postgres)
    no_vectors: Any = None

    async def work(job: Job, report: Report) -> Outcome:
        begun.set()
        await locked.wait()
        return await (raising(error) if error is not None else asyncio.sleep(0, Outcome({}, wakes=("vs_1",))))

    runner = JobRunner(
        Stores(database, Objects.in_folder(tmp_path), no_vectors),
        {SAMPLE_PROCESSING: Scripted(work)},
        lease_s=30,
        max_attempts=1,
        notify=lambda _: None,
    )
    begun, locked, ending = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def claim_slowly() -> str:
        """Holds the job, and comes to the turn when told."""
        async with database.write() as session:
            execute = session.execute

            async def watched(statement: Any, *arguments: Any, **options: Any) -> Any:
                if str(statement).startswith("INSERT INTO turns"):
                    locked.set()
                    await ending.wait()
                return await execute(statement, *arguments, **options)

            session.execute = watched  # type: ignore[method-assign]
            claimed = await JobQueue(session).claim("somebody else", 30, KINDS)
            assert claimed is not None
            return claimed.id

    async with asyncio.timeout(30):
        async with database.write() as session:
            for row in rows():
                session.add(row)
                await session.flush()
        this = asyncio.create_task(Claims(runner).claim_and_run(KINDS))
        await begun.wait()
        async with database.write() as session:
            session.add(Job(id="job_2", user_id="user_1", kind=CLONE_BUILD, subject_id="vc_1", available_at=utcnow()))
        other = asyncio.create_task(claim_slowly())
        await locked.wait()
        async with database.read() as session:
            while not this.done() and await session.scalar(BLOCKED) == 0:
                await session.rollback()
        ending.set()
        assert await other == "job_2"
        assert await this
    async with database.read() as session:
        assert (await session.get_one(Job, "job_1")).status == ("completed" if error is None else "failed")
        turn = await session.get_one(Turn, ("user_1", Turn.key(KINDS)))
    assert turn.ended_at is not None
    await database.close()
