"""The sliding window over attempts."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from store.database import Database
from store.models import Throttle
from store.repositories.users import ThrottleRepository

NOW = 1_800_000_000_000
WINDOW = 900_000
LIMIT = 10


async def take(database: Database, now_ms: int, key: str = "k", limit: int = LIMIT, window_ms: int = WINDOW) -> int:
    async with database.write() as session:
        return await ThrottleRepository(session).take(key, now_ms, limit, window_ms)


async def test_so_many_pass_at_once_and_then_one_at_a_time(database: Database) -> None:
    assert [await take(database, NOW) for _ in range(LIMIT)] == [0] * LIMIT
    wait = await take(database, NOW)
    assert wait == WINDOW // LIMIT
    assert await take(database, NOW + wait - 1) == 1
    assert await take(database, NOW + wait) == 0
    assert await take(database, NOW + wait) > 0
    assert await take(database, NOW, key="another") == 0


async def test_being_refused_costs_nothing(database: Database) -> None:
    for _ in range(LIMIT):
        await take(database, NOW)
    for _ in range(100):
        assert await take(database, NOW) == WINDOW // LIMIT
    assert [await take(database, NOW + WINDOW) for _ in range(LIMIT)] == [0] * LIMIT, "a whole window later all is free"


async def test_of_many_at_once_no_more_pass_than_may(database: Database) -> None:
    waits = await asyncio.gather(*(take(database, NOW) for _ in range(30)))
    assert sum(wait == 0 for wait in waits) == LIMIT


async def test_what_is_given_back_may_be_taken_again(database: Database) -> None:
    for _ in range(LIMIT):
        await take(database, NOW)
    async with database.write() as session:
        await ThrottleRepository(session).give_back("k", LIMIT, WINDOW)
        await ThrottleRepository(session).give_back("nobody", LIMIT, WINDOW)
    assert await take(database, NOW) == 0
    assert await take(database, NOW) > 0
    async with database.write() as session:
        await ThrottleRepository(session).forget("k")
    assert await take(database, NOW) == 0


async def test_a_sweep_removes_what_is_free_alone(database: Database) -> None:
    await take(database, NOW - WINDOW, key="free")
    await take(database, NOW, key="busy")
    async with database.write() as session:
        await ThrottleRepository(session).sweep(NOW)
    async with database.read() as session:
        assert list(await session.scalars(select(Throttle.key))) == ["busy"]
        assert await session.scalar(select(func.count()).select_from(Throttle)) == 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 8), steps=st.lists(st.integers(0, 4000), min_size=1, max_size=25), data=st.data())
async def test_no_window_ever_holds_more_than_twice_the_limit(
    database: Database, limit: int, steps: list[int], data: st.DataObject
) -> None:
    """A burst of `limit`, and what comes free while the window lasts; and whoever waits as long as is said passes."""
    window, now, passed = 5000, NOW, []
    key = f"{data.draw(st.uuids())}"
    for step in steps:
        now += step
        wait = await take(database, now, key, limit, window)
        if wait == 0:
            passed.append(now)
        elif data.draw(st.booleans()):
            now += wait
            assert await take(database, now, key, limit, window) == 0
            passed.append(now)
    for start in passed:
        within = sum(start <= moment < start + window for moment in passed)
        assert within <= 2 * limit
    if passed:
        spread = (passed[-1] - passed[0]) / (window // limit)
        assert len(passed) <= limit + spread + 1
