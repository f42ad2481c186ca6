"""Looks and brief writes: without a thread as long as nothing takes long or waits, and the same as with one."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from store import database as databases
from store import inline
from store.database import Database
from store.inline import InlineSession
from store.models import Job, User
from store.models.job import SAMPLE_PROCESSING
from tests.store.conftest import POSTGRESQL_ONLY, SQLITE_ONLY

USERS = select(func.count()).select_from(User)
LONG = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) SELECT max(i) FROM n")


@contextlib.contextmanager
def written_elsewhere(database: Database) -> Iterator[None]:
    """As if another process were in the middle of writing."""
    assert database.url.database
    with contextlib.closing(sqlite3.connect(database.url.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("COMMIT")


async def test_a_glance_sees_what_is_committed_and_keeps_nothing(database: Database, user: Any) -> None:
    made = await user(first_name="Ada")

    async def name(session: AsyncSession) -> str | None:
        return (await session.get_one(User, made.id)).first_name

    assert await database.glance(name) == "Ada"
    async with database.write() as session:
        (await session.get_one(User, made.id)).first_name = "Eve"
        await session.flush()
        assert await database.glance(name) == "Ada"
    assert await database.glance(name) == "Eve"


@SQLITE_ONLY
async def test_what_is_short_needs_no_thread(database: Database, user: Any) -> None:
    made = await user()
    on_threads: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda _c, _u, statement, *_: on_threads.append(statement))
    assert await database.glance(lambda session: session.scalar(USERS)) == 1
    async with database.write(brief=True) as session:
        (await session.get_one(User, made.id)).first_name = "Eve"
    await database.run_alone(text("UPDATE users SET last_name = 'x'"), {})
    assert on_threads == []
    found = await database.glance(lambda session: session.get_one(User, made.id))
    assert (found.first_name, found.last_name) == ("Eve", "x")


@SQLITE_ONLY
async def test_what_takes_long_is_begun_again_on_a_thread(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[AsyncSession] = []

    async def look(session: AsyncSession) -> Any:
        sessions.append(session)
        return await session.scalar(LONG)

    monkeypatch.setattr(inline, "LONGEST_S", 60.0)
    assert await database.glance(look) == 50000
    monkeypatch.setattr(inline, "LONGEST_S", 0.0)
    assert await database.glance(look) == 50000
    assert [isinstance(session, InlineSession) for session in sessions] == [True, True, False]
    # The time that was over for the look is not over for who has the connection next.
    async with database.write(brief=True) as session:
        assert await session.scalar(LONG) == 50000
        assert isinstance(session, InlineSession)


@SQLITE_ONLY
async def test_who_would_wait_for_another_process_waits_on_a_thread(database: Database, user: Any) -> None:
    made = await user()

    async def rename() -> None:
        async with database.write(brief=True) as session:
            (await session.get_one(User, made.id)).first_name = "Eve"

    renamed = text("UPDATE users SET last_name = 'x' RETURNING id")
    with written_elsewhere(database):
        writing = [asyncio.create_task(rename()), asyncio.create_task(database.run_alone(renamed, {}))]
        assert await database.glance(lambda session: session.scalar(USERS)) == 1, "who reads does not wait"
        done, _ = await asyncio.wait(writing, timeout=0.05)
        assert not done
    await asyncio.gather(*writing)
    found = await database.glance(lambda session: session.get_one(User, made.id))
    assert (found.first_name, found.last_name) == ("Eve", "x")


async def test_a_brief_write_is_a_whole_one_or_none(database: Database, user: Any, job: Any) -> None:
    made = await user(first_name="Ada")
    accounts, jobs = database.account_changes, database.job_changes

    async def halfway() -> None:
        async with database.write(brief=True) as session:
            (await session.get_one(User, made.id)).first_name = "Eve"
            await session.flush()
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        await halfway()
    with pytest.raises(IntegrityError):
        async with database.write(brief=True) as session:
            session.add(Job(id="job_1", user_id="user_nobody", kind=SAMPLE_PROCESSING, available_at=made.created_at))
    assert (await database.glance(lambda session: session.get_one(User, made.id))).first_name == "Ada"
    assert (database.account_changes, database.job_changes) == (accounts, jobs)
    async with database.write(brief=True) as session:
        await session.execute(update(User).values(first_name="Eve"))
    assert database.account_changes == accounts + 1


async def test_brief_and_other_writes_take_turns(database: Database, job: Any) -> None:
    made = await job(kind=SAMPLE_PROCESSING)

    async def increment(brief: bool) -> None:
        async with database.write(brief=brief) as session:
            row = await session.get_one(Job, made.id, with_for_update=True)
            await asyncio.sleep(0)  # lets the others in between the reading and the writing
            row.word_count += 1

    await asyncio.gather(*(increment(number % 2 == 0) for number in range(20)))
    assert (await database.glance(lambda session: session.get_one(Job, made.id))).word_count == 20


@SQLITE_ONLY
async def test_the_log_is_brought_into_the_file_now_and_then(
    database: Database, user: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database.url.database
    file, copy = Path(database.url.database), tmp_path / "copy.db"

    def in_the_file() -> Any:
        copy.write_bytes(file.read_bytes())  # without the log beside it
        with contextlib.closing(sqlite3.connect(copy)) as alone:
            return alone.execute("SELECT max(first_name) FROM users").fetchone()[0]

    monkeypatch.setattr(databases, "CHECKPOINT_EVERY", 4)
    await user(first_name="0")
    seen = []
    for number in range(1, 5):
        await database.run_alone(text("UPDATE users SET first_name = :name"), {"name": str(number)})
        seen.append(in_the_file())
    assert seen[-1] == "4"
    assert "3" not in seen, "not with every write"


@POSTGRESQL_ONLY
async def test_a_glance_outlives_the_loss_of_its_connection(database: Database, user: Any) -> None:
    await user()
    mine = await database.glance(lambda session: session.scalar(text("SELECT pg_backend_pid()")))
    async with database.read() as session:
        await session.execute(text("SELECT pg_terminate_backend(:mine)"), {"mine": mine})
    assert await database.glance(lambda session: session.scalar(USERS)) == 1
