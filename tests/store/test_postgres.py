"""A server that takes no connection now, which is something else than a server that refuses this one."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from store.database import Database
from store.faults import part_away
from tests.conftest import Postgres


async def failure_of(url: str) -> BaseException:
    database = Database(url)
    try:
        with pytest.raises(Exception) as refused:  # noqa: PT011 - whatever it is, it is looked at
            async with database.write() as session:
                await session.execute(text("SELECT 1"))
    finally:
        await database.close()
    return refused.value


async def test_a_server_that_is_full_is_as_one_that_is_not_there(postgres: Postgres) -> None:
    await postgres.run("CREATE ROLE crowd LOGIN CONNECTION LIMIT 0")
    try:
        full = await failure_of(make_url(postgres.url("postgres")).set(username="crowd").render_as_string())
    finally:
        await postgres.run("DROP ROLE crowd")
    gone = await failure_of("postgresql+asyncpg://voxify@/postgres?host=/nowhere/at/all")
    assert isinstance(full, ConnectionRefusedError)
    assert part_away(full) == "database"
    assert isinstance(gone, OSError)


async def test_a_wrong_account_is_a_mistake_and_not_an_absent_server(postgres: Postgres) -> None:
    stranger = await failure_of(make_url(postgres.url("postgres")).set(username="stranger").render_as_string())
    assert isinstance(stranger, asyncpg.InvalidAuthorizationSpecificationError)
    assert part_away(stranger) is None
