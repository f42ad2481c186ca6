"""The statements that run all the time must not read the whole table, however many jobs there are."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.api_plans import statements_of
from store.clock import utcnow
from store.database import Database
from store.models import Job, User
from store.models.job import CLONE_BUILD, COMPLETED, PENDING, PROCESSING, SYNTHESIS
from store.repositories.base import Window
from store.repositories.clones import CloneRepository
from store.repositories.depth import DepthRepository
from store.repositories.jobs import JobFilter, JobRepository
from store.repositories.library import VoiceUsageRepository
from store.repositories.order import QueueOrder
from store.repositories.queue import JobQueue
from store.repositories.samples import SampleRepository

ROWS = 5000  # enough for the planner, which has the same plans for 50 000
NOW = utcnow()


@pytest.fixture(scope="module", params=[False, True], ids=["as made", "analyzed"])
def crowded(request: pytest.FixtureRequest, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a long queue, a few jobs running and half of the jobs done, with and without SQLite's statistics."""
    file = tmp_path_factory.mktemp("crowded") / "voxify.db"
    shutil.copy(migrated, file)
    users = [{"id": f"user_{number}", "email": f"{number}@example.org", "password_hash": "x"} for number in range(50)]
    rows = [
        {
            "id": f"job_{number:06}",
            "user_id": f"user_{number % 50}",
            "kind": CLONE_BUILD if number % 5 == 0 else SYNTHESIS,
            "subject_id": f"vc_{number}" if number % 5 == 0 else None,
            "status": PROCESSING if number < 20 else (PENDING, COMPLETED)[number % 2],
            "available_at": NOW - timedelta(seconds=1),
            "lease_until": NOW - timedelta(seconds=1) if number < 20 else None,
            "created_at": NOW + timedelta(seconds=number),
        }
        for number in range(ROWS)
    ]

    async def fill() -> None:
        database = Database(f"sqlite+aiosqlite:///{file}")
        async with database.write() as session:
            await session.execute(insert(User), users)
            await session.execute(insert(Job), rows)
            if request.param:
                await session.execute(text("ANALYZE"))
        await database.close()

    asyncio.run(fill())
    return file


@pytest.fixture
async def database(crowded: Path) -> AsyncIterator[Database]:
    """Nothing is written here that is not rolled back, so that all tests share the file."""
    database = Database(f"sqlite+aiosqlite:///{crowded}")
    yield database
    await database.close()


@pytest.fixture
def plan(database: Database) -> Callable[..., Awaitable[list[str]]]:
    """What SQLite does, step by step, to run the statements of a call."""

    async def plan(call: Callable[[AsyncSession], Awaitable[Any]]) -> list[str]:
        async with database.write() as session:
            seen = await statements_of(database, session, call)
            await session.rollback()
        async with database.engine.connect() as connection:
            return [row.detail for sql, values in seen for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]

    return plan


CALLS: dict[str, tuple[Callable[[AsyncSession], Awaitable[Any]], str]] = {
    "claim": (
        lambda session: JobQueue(session).claim("me", 30, [SYNTHESIS, CLONE_BUILD]),
        "SEARCH jobs_1 USING COVERING INDEX ix_jobs_pending (available_at<?)",
    ),
    "recover": (lambda session: JobQueue(session).recover(3), " jobs USING INDEX ix_jobs_processing"),
    "places": (
        lambda session: QueueOrder(session).places([SYNTHESIS], ["job_999999"]),
        " jobs USING COVERING INDEX ix_jobs_pending",
    ),
    "depth of what waits": (lambda session: DepthRepository(session).by_kind(NOW), " jobs USING COVERING INDEX ix_jobs_pending"),
    "depth of what runs": (lambda session: DepthRepository(session).by_kind(NOW), " jobs USING INDEX ix_jobs_processing"),
    "what runs": (lambda session: QueueOrder(session).running([SYNTHESIS]), " jobs USING INDEX ix_jobs_processing"),
    "what was measured": (
        lambda session: QueueOrder(session).recent([SYNTHESIS]),
        "SEARCH jobs USING INDEX ix_jobs_completed (kind=?)",
    ),
    # Else all that were ever completed would be sorted.
    "what was measured of two kinds": (lambda session: QueueOrder(session).recent([SYNTHESIS, CLONE_BUILD]), "UNION ALL"),
    "same sound": (
        lambda session: JobRepository(session).same_sound("user_1", "x"),
        "SEARCH jobs USING INDEX ix_jobs_user_id_cache_key (user_id=? AND cache_key=?)",
    ),
    "delete_of": (
        lambda session: JobRepository(session).delete_of("vc_100"),
        "SEARCH jobs USING COVERING INDEX ix_jobs_subject_id (subject_id=?)",
    ),
    "list of jobs": (
        lambda session: JobRepository(session).list("user_1", Window(), JobFilter()),
        "SEARCH jobs USING INDEX ix_jobs_user_id_kind_created_at (user_id=? AND kind=?)",
    ),
    "list of jobs in one state": (
        lambda session: JobRepository(session).list("user_1", Window(), JobFilter(status=PENDING)),
        "SEARCH jobs USING INDEX ix_jobs_user_id_kind_created_at (user_id=? AND kind=?)",
    ),
    "usage of voices": (
        lambda session: VoiceUsageRepository(session).of(["vc_1", "vc_2"]),
        "SEARCH voice_usage USING INDEX sqlite_autoindex_voice_usage_1 (voice_id=?)",
    ),
    "list of samples": (
        lambda session: SampleRepository(session).list("user_1", Window()),
        "SEARCH samples USING INDEX ix_samples_user_id_created_at (user_id=?)",
    ),
    "list of clones": (
        lambda session: CloneRepository(session).list("user_1", Window()),
        "SEARCH clones USING INDEX ix_clones_user_id_created_at (user_id=?)",
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_the_plan_uses_the_index(plan: Any, name: str) -> None:
    call, step = CALLS[name]
    steps = await plan(call)
    assert any(step in one for one in steps), "\n".join(steps)
    assert not [one for one in steps if one.startswith("SCAN jobs") and "INDEX" not in one]
    if name.startswith("list"):
        assert not [one for one in steps if "TEMP B-TREE" in one], "the pages come sorted from the index"
