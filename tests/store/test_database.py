from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from store import postgres
from store.database import Database
from store.faults import database_away, part_away
from store.models import Job, User
from store.models.base import UtcDateTime
from store.models.job import SAMPLE_PROCESSING
from store.stores import Stores
from tests.store.conftest import POSTGRESQL_ONLY, SQLITE_ONLY


@SQLITE_ONLY
async def test_every_pooled_connection_has_the_pragmas(database: Database) -> None:
    wanted = {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 10000, "synchronous": 1, "temp_store": 2}
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(database.engine.connect()) for _ in range(8)]
        assert len({id((await connection.get_raw_connection()).driver_connection) for connection in connections}) == 8
        for connection in connections:
            assert {name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in wanted} == wanted


async def test_write_commits(database: Database, user: Any) -> None:
    made = await user(first_name="Ada")
    async with database.read() as session:
        assert (await session.get_one(User, made.id)).first_name == "Ada"


async def test_write_rolls_back_when_the_block_raises(database: Database, user: Any) -> None:
    made = await user(first_name="Ada")

    async def halfway() -> None:
        async with database.write() as session:
            (await session.get_one(User, made.id)).first_name = "Eve"
            await session.flush()
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        await halfway()
    async with database.read() as session:
        assert (await session.get_one(User, made.id)).first_name == "Ada"


async def test_write_is_not_cut_in_half_when_its_task_is_cancelled(database: Database, user: Any) -> None:
    made = await user(first_name="Ada")
    flushed = asyncio.Event()

    async def interrupted() -> None:
        async with database.write() as session:
            (await session.get_one(User, made.id)).first_name = "Eve"
            await session.flush()
            flushed.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(interrupted())
    await flushed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.write() as session:  # and the write lock is free again
        assert (await session.get_one(User, made.id)).first_name == "Ada"


async def test_read_keeps_nothing(database: Database, user: Any) -> None:
    made = await user(first_name="Ada")
    async with database.read() as session:
        (await session.get_one(User, made.id)).first_name = "Eve"
        await session.flush()
    async with database.read() as session:
        assert (await session.get_one(User, made.id)).first_name == "Ada"


@SQLITE_ONLY
async def test_a_reader_sees_one_moment_and_is_not_held_up_by_a_writer(database: Database, user: Any) -> None:
    made = await user(first_name="Ada")
    name = select(User.first_name).where(User.id == made.id)
    async with database.read() as reader:
        assert await reader.scalar(name) == "Ada"
        async with database.write() as writer:
            await writer.execute(text("UPDATE users SET first_name = 'Eve'"))
            assert await reader.scalar(name) == "Ada"
        assert await reader.scalar(name) == "Ada"
    async with database.read() as reader:
        assert await reader.scalar(name) == "Eve"


@SQLITE_ONLY
async def test_concurrent_transactions_that_read_and_then_write_wait_their_turn(database: Database, job: Any) -> None:
    made = await job(kind=SAMPLE_PROCESSING)

    async def increment() -> None:
        async with database.write() as session:
            row = await session.get_one(Job, made.id)
            await asyncio.sleep(0)  # lets the others in between the reading and the writing
            row.word_count += 1

    await asyncio.gather(*(increment() for _ in range(50)))
    async with database.read() as session:
        assert (await session.get_one(Job, made.id)).word_count == 50


@SQLITE_ONLY
async def test_the_write_lock_is_taken_at_the_start(database: Database, user: Any) -> None:
    await user()
    async with database.write() as first:
        await first.execute(select(User.id))  # has written nothing yet
        async with database.read() as second:
            await second.execute(text("PRAGMA busy_timeout=1"))
            try:
                with pytest.raises(OperationalError, match="locked"):
                    await second.execute(text("UPDATE users SET first_name = 'x'"))
            finally:
                await second.execute(text("PRAGMA busy_timeout=10000"))


async def test_foreign_keys_are_enforced(job: Any) -> None:
    with pytest.raises(IntegrityError):
        await job(user_id="user_nobody")


async def test_what_json_cannot_say_is_null_and_not_a_row_that_nobody_can_write_or_read(database: Database, job: Any) -> None:
    made = await job(config={"words": "Grüße 你好", "measured": [float("nan"), float("inf"), 0.1], 1: (2, None)})
    async with database.read() as session:
        assert (await session.get_one(Job, made.id)).config == {"words": "Grüße 你好", "measured": [None, None, 0.1], "1": [2, None]}


@SQLITE_ONLY
async def test_a_row_of_before_with_no_number_in_it_is_still_read(database: Database, job: Any) -> None:
    made = await job()
    async with database.write() as session:
        await session.execute(text("UPDATE jobs SET config = '{\"measured\": NaN}'"))
    async with database.read() as session:
        measured = (await session.get_one(Job, made.id)).config["measured"]
    assert math.isnan(measured)


@POSTGRESQL_ONLY
async def test_a_statement_that_is_too_slow_is_no_database_that_is_away(database: Database) -> None:
    hurried = Database(database.url.render_as_string(hide_password=False), limit_s=0.2)
    try:
        with pytest.raises(DBAPIError) as failed:
            await hurried.run_alone(text("SELECT pg_sleep(30)"), {})
    finally:
        await hurried.close()
    assert part_away(failed.value) == "database"  # to those who asked it is
    assert not database_away(failed.value)


@POSTGRESQL_ONLY
async def test_a_connection_that_closes_while_it_is_made_ready_is_a_database_that_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = postgres._connect

    async def cut_off(*arguments: Any, **parameters: Any) -> Any:
        opened = await connect(*arguments, **parameters)
        opened.terminate()
        return opened

    monkeypatch.setattr(postgres, "_connect", cut_off)
    fresh = Database(database.url.render_as_string(hide_password=False))
    try:
        for ask in (fresh.glance(lambda session: session.scalar(select(1))), fresh.run_alone(select(1), {})):
            with pytest.raises(DBAPIError) as failed:
                await ask
            assert part_away(failed.value) == "database"
    finally:
        await fresh.close()


@given(st.datetimes(timezones=st.timezones()))
def test_times_survive_both_databases_in_utc(moment: datetime) -> None:
    column = UtcDateTime()
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:  # beyond the year 9999 or before the year 1 in UTC
        return
    for dialect in (sqlite.dialect(), postgresql.dialect()):
        written = column.dialect_impl(dialect).bind_processor(dialect)
        read = column.dialect_impl(dialect).result_processor(dialect, None) or (lambda value: value)
        back = read(written(moment))
        assert back == utc
        assert back.utcoffset() == timedelta(0)
        assert read(written(None)) is None


async def test_a_time_comes_back_to_the_microsecond(database: Database, user: Any) -> None:
    made = await user(last_login_at=datetime(2026, 3, 1, 1, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2))))
    async with database.read() as session:
        back = (await session.get_one(User, made.id)).last_login_at
    assert back == datetime(2026, 2, 28, 23, 30, 0, 123456, tzinfo=UTC)
    assert back.tzinfo is UTC


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), sqlite.dialect())


async def test_updated_at_moves_with_every_change(database: Database, user: Any) -> None:
    made = await user()
    async with database.write() as session:
        (await session.get_one(User, made.id)).first_name = "Ada"
    async with database.read() as session:
        back = await session.get_one(User, made.id)
    assert back.updated_at > made.updated_at
    assert back.created_at == made.created_at


async def test_the_stores_open_together_in_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    stores = Stores.open(
        database_url=f"sqlite+aiosqlite:///{tmp_path / 'x.db'}",
        objects_dir=tmp_path / "a" / "objects",
        vectors_dir=tmp_path / "b" / "vectors",
    )
    async with stores.database.read() as session:
        assert await session.scalar(text("SELECT 1")) == 1
    assert (await stores.objects.put("x", b"1")).size == 1
    await stores.vectors.ping()
    await stores.close()
