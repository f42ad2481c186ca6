"""Servers that several folders of tests need: started when the first test asks for one, stopped with the last."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from store.database import Database
from store.migrations import upgrade
from store.models import Base
from tests.engines import S3, postgres_server, s3_server

MIGRATED = "migrated"

# A machine that stands still for a moment is no failure. The same examples every time, so that one failure in thousands of tests is one of
# the change; `--hypothesis-profile=explore` looks for others.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", settings.get_profile("steady"), derandomize=False)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=["sqlite", "postgresql"],
        default="sqlite",
        help="where the API of most tests in tests/api has its database; some need one of a kind whatever this says",
    )


class Postgres:
    """A PostgreSQL of the tests' own, and the databases in it."""

    def __init__(self, server: str) -> None:
        self.server = server
        self._numbers = count(1)

    def url(self, database: str) -> str:
        return make_url(self.server).set(database=database).render_as_string(hide_password=False)

    async def create(self, template: str = "template0") -> str:
        """The address of a new database: an empty one, or a copy of another."""
        name = f"test_{next(self._numbers)}"
        await self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    async def run(self, statement: str, database: str = "postgres") -> None:
        engine = create_async_engine(self.url(database), isolation_level="AUTOCOMMIT")
        try:
            async with engine.connect() as connection:
                await connection.execute(text(statement))
        finally:
            await engine.dispose()


def migrated_postgres(server: str) -> Postgres:
    """With a database at the newest revision, to be copied."""
    made = Postgres(server)

    async def migrate() -> None:
        await made.run(f"CREATE DATABASE {MIGRATED}")
        database = Database(made.url(MIGRATED))
        await upgrade(database.unhurried)
        await database.close()

    asyncio.run(migrate())
    return made


async def emptied(url: str) -> Database:
    """A database of PostgreSQL at the newest revision, without its rows: to remove them is far quicker than to make another."""
    database = Database(url)
    async with database.engine.begin() as connection:
        raw = await connection.get_raw_connection()
        assert raw.driver_connection is not None
        await raw.driver_connection.execute(";".join(f"DELETE FROM {table}" for table in reversed(Base.metadata.sorted_tables)))
    return database


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield migrated_postgres(server)


@pytest.fixture(scope="session")
def shared_postgres(postgres: Postgres) -> str:
    """The address of a database that every test which uses it empties first."""
    return asyncio.run(postgres.create(MIGRATED))


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server
