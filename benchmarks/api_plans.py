"""What the databases do for the statements of `benchmarks.api`: as the API makes them, on the tables that were measured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.api_servers import DONE, WAITING, job_id
from store.database import Database
from store.repositories.base import Window
from store.repositories.jobs import JobFilter, JobRepository
from store.repositories.limits import UsageRepository
from store.repositories.order import QueueOrder
from store.repositories.queue import JobQueue
from worker.lanes import LANES, SPEECH

CALLS: dict[str, Callable[[AsyncSession], Awaitable[Any]]] = {
    "list of jobs": lambda session: JobRepository(session).list(DONE, Window(), JobFilter()),
    "one job": lambda session: JobRepository(session).seen(job_id(500), DONE),
    "places in the queue": lambda session: QueueOrder(session).places(LANES[SPEECH], [job_id(1000)]),
    "what runs": lambda session: QueueOrder(session).running(LANES[SPEECH]),
    "what was measured": lambda session: QueueOrder(session).recent(LANES[SPEECH]),
    "stored bytes": lambda session: UsageRepository(session).stored_bytes(WAITING),
    "claim": lambda session: JobQueue(session).claim("benchmark", 30, LANES[SPEECH]),
}


async def statements_of(database: Database, session: AsyncSession, call: Callable[[AsyncSession], Awaitable[Any]]) -> list[tuple[str, Any]]:
    """What a call asks the database through this session, each with its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    await session.connection()  # BEGIN is not a statement to explain
    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        await call(session)
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    return seen


async def query_plans(database_url: str) -> dict[str, list[str]]:
    """The steps of every statement of :data:`CALLS`; on PostgreSQL after they were run, with their times. Nothing is kept."""
    database = Database(database_url)
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN (ANALYZE, COSTS OFF, SUMMARY ON)"
    plans: dict[str, list[str]] = {}
    for name, call in CALLS.items():
        async with database.engine.connect() as connection, AsyncSession(connection) as session:
            seen = await statements_of(database, session, call)
            await session.rollback()
            plans[name] = [row[-1] for sql, values in seen for row in await connection.exec_driver_sql(f"{explain} {sql}", values)]
            await connection.rollback()
    await database.close()
    return plans
