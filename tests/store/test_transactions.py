"""Transactions on SQLite: one moment for who reads, statements that stand alone, and what is noted of changes."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from store.database import Database
from store.models import User
from tests.store.conftest import SQLITE_ONLY

pytestmark = SQLITE_ONLY
COUNT = select(func.count()).select_from(User)


async def test_a_reader_sees_one_moment_and_the_next_one_what_came_since(database: Database, user: Any) -> None:
    await user()
    for already in (1, 2, 3):
        async with database.read() as session:
            assert await session.scalar(COUNT) == already
            await user()
            assert await session.scalar(COUNT) == already
    async with database.read() as session:
        assert await session.scalar(COUNT) == 4


async def test_what_runs_alone_is_kept_and_tells_what_it_did(database: Database, user: Any) -> None:
    made = await user()
    renamed = text("UPDATE users SET first_name = :name WHERE id = :id RETURNING id, first_name")
    assert [tuple(row) for row in await database.run_alone(renamed, {"name": "Ada", "id": made.id})] == [(made.id, "Ada")]
    with pytest.raises(IntegrityError):
        await database.run_alone(text("UPDATE users SET email = NULL WHERE id = :id"), {"id": made.id})
    async with database.read() as session:
        assert (await session.get_one(User, made.id)).first_name == "Ada"


async def test_a_failed_statement_leaves_no_transaction_behind(database: Database, user: Any) -> None:
    await user()
    with pytest.raises(Exception, match="no such table"):
        async with database.read() as session:
            await session.execute(text("SELECT * FROM missing"))
    await user()
    async with database.read() as session:
        assert await session.scalar(COUNT) == 2


async def test_changes_are_counted_when_they_are_committed(database: Database, user: Any, job: Any) -> None:
    made = await user()
    accounts, jobs = database.account_changes, database.job_changes
    async with database.write() as session:
        (await session.get_one(User, made.id)).is_active = False
        await session.flush()
        assert database.account_changes == accounts
    assert (database.account_changes, database.job_changes) == (accounts + 1, jobs)
    await job(user_id=made.id)
    assert (database.account_changes, database.job_changes) == (accounts + 1, jobs + 1)
