"""Counters, and what people have stored."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic import command
from sqlalchemy import event, func, insert, select, update

from store.database import Database
from store.ids import new_id
from store.migrations import config, upgrade
from store.models import Clone, Counter, Job, Sample, User
from store.repositories.limits import Count, CounterRepository, UsageRepository, end_of_day_ms
from tests.store.conftest import SQLITE_ONLY

NOW = 1_800_000_000_000
MINUTE = 60_000


async def add(database: Database, now_ms: int = NOW, **amounts: int) -> dict[str, Count]:
    async with database.write() as session:
        return await CounterRepository(session).add(amounts, now_ms, now_ms + MINUTE)


async def test_a_window_begins_with_the_first_count_and_ends_a_minute_later(database: Database) -> None:
    assert await add(database, a=1, b=5) == {"a": Count(1, NOW + MINUTE), "b": Count(5, NOW + MINUTE)}
    assert await add(database, NOW + 59_999, a=2) == {"a": Count(3, NOW + MINUTE)}
    assert await add(database, NOW + MINUTE, a=2) == {"a": Count(2, NOW + 2 * MINUTE)}, "a new window"
    assert await add(database, NOW + 30_000, b=1) == {"b": Count(6, NOW + MINUTE)}


async def test_every_one_of_many_at_once_is_counted(database: Database) -> None:
    counts = await asyncio.gather(*(add(database, a=1) for _ in range(30)))
    assert sorted(each["a"].count for each in counts) == list(range(1, 31))


async def test_giving_back_and_looking_are_about_the_window_that_runs(database: Database) -> None:
    await add(database, a=2)
    async with database.write() as session:
        counters = CounterRepository(session)
        await counters.give_back("a", NOW)
        assert await counters.look("a", NOW) == 1
        await counters.give_back("a", NOW + MINUTE)
        assert await counters.look("a", NOW + MINUTE) == 0
        assert await counters.look("a", NOW) == 1
        for _ in range(3):
            await counters.give_back("a", NOW)
        assert await counters.look("a", NOW) == 0
        await counters.give_back("nobody", NOW)


async def test_a_sweep_removes_what_is_over(database: Database) -> None:
    await add(database, NOW - MINUTE, over=1)
    await add(database, runs=1)
    async with database.write() as session:
        await CounterRepository(session).sweep(NOW)
    async with database.read() as session:
        assert list(await session.scalars(select(Counter.key))) == ["runs"]


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (datetime(2026, 11, 20, 23, 59, 59, 999_000, UTC), datetime(2026, 11, 21, tzinfo=UTC)),
        (datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC)),
        (datetime(2028, 2, 28, 12, tzinfo=UTC), datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_a_day_ends_at_midnight_in_utc(now: datetime, end: datetime) -> None:
    assert end_of_day_ms(int(now.timestamp() * 1000)) == end.timestamp() * 1000


async def stored(database: Database, user_id: str) -> int:
    async with database.read() as session:
        return await UsageRepository(session).stored_bytes(user_id)


async def test_what_is_stored_is_what_the_rows_say_whatever_becomes_of_them(
    database: Database, user: Any, sample: Any, clone: Any, job: Any
) -> None:
    me, other = await user(), await user()
    assert await stored(database, me.id) == 0
    recording = await sample(me.id, size=1000)
    await clone(me.id, reference_size=200)
    await job(user_id=me.id, output_size=30, output_path="x")
    await job(user_id=me.id)
    await sample(other.id, size=5)
    assert await stored(database, me.id) == 1230
    async with database.write() as session:
        await session.execute(update(Sample).where(Sample.id == recording.id).values(prepared_size=4))
        await session.execute(update(Job).where(Job.user_id == me.id).values(output_size=None))
    assert await stored(database, me.id) == 1204
    async with database.write() as session:
        for row in await session.scalars(select(Sample).where(Sample.user_id == me.id)):
            await session.delete(row)
    assert await stored(database, me.id) == 200
    assert await stored(database, other.id) == 5


async def test_whoever_looks_after_writing_keeps_the_limit(database: Database, user: Any) -> None:
    me = await user()

    async def upload() -> bool:
        async with database.write() as session:
            sound = {"format": "wav", "duration": 5.0, "sample_rate": 24000, "channels": 1, "original_path": "x", "name": "a voice"}
            session.add(Sample(id=new_id("vs"), user_id=me.id, size=300, **sound))
            await session.flush()
            if await UsageRepository(session).overfull(me.id, 1000):
                await session.rollback()
                return False
            return True

    assert sum(await asyncio.gather(*(upload() for _ in range(10)))) == 3
    assert await stored(database, me.id) == 900


async def test_a_limit_of_ones_own_counts_instead(database: Database, user: Any, sample: Any) -> None:
    me = await user(limit_storage_bytes=10, limit_jobs_per_day=0)
    await sample(me.id, size=10)
    async with database.write() as session:
        usage = UsageRepository(session)
        assert not await usage.overfull(me.id, 5)
        own = await usage.lock(me.id)
        assert (own.samples_per_day, own.jobs_per_day, own.storage_bytes) == (None, 0, 10)
        await session.execute(update(User).where(User.id == me.id).values(limit_storage_bytes=None))
        assert await usage.overfull(me.id, 5)
        assert not await usage.overfull("user_nobody", 0)


@SQLITE_ONLY
async def test_the_sum_of_jobs_is_read_from_an_index(database: Database, user: Any) -> None:
    """However many jobs somebody has: it is asked for with every new one."""
    me = await user()
    rows = [{"id": f"job_{n}", "user_id": me.id, "available_at": datetime.now(UTC), "output_size": n % 7 or None} for n in range(2000)]
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    async with database.write() as session:
        await session.execute(insert(Job), rows)
    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    assert await stored(database, me.id) == sum(n % 7 for n in range(2000))
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    (statement, values), *_ = [each for each in seen if "sum(" in each[0]]
    async with database.engine.connect() as connection:
        steps = [row.detail for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any("jobs USING COVERING INDEX ix_jobs_stored (user_id=? AND output_size>?)" in step for step in steps), steps


async def test_the_columns_of_limits_come_and_go_without_the_rows_they_are_on(
    database: Database, user: Any, sample: Any, clone: Any
) -> None:
    me = await user(limit_storage_bytes=10)
    await sample(me.id)
    await clone(me.id)
    async with database.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.downgrade(config(sync), "0005"))
        await connection.commit()
    await upgrade(database.engine)
    async with database.read() as session:
        for model in (User, Sample, Clone):
            assert await session.scalar(select(func.count()).select_from(model)) == 1
        assert (await session.get_one(User, me.id)).limit_storage_bytes is None
