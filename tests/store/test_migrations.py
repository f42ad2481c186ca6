from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect
from sqlalchemy.engine import Connection

import store
from store.database import Database
from store.migrations import config, is_current, upgrade
from store.models import Base


@pytest.fixture
async def empty(database: Database, empty_url: str) -> AsyncIterator[Database]:
    """A new database without a table, of the same kind as `database`."""
    made = Database(empty_url)
    yield made
    await made.close()


INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
}


def indexes(connection: Connection) -> dict[str, str]:
    """Name and SQL of every index: the comparison of Alembic does not look at the condition of a partial one."""
    found = connection.exec_driver_sql(INDEXES[connection.dialect.name])
    # Alembic's own table is in no model.
    return {name: " ".join(sql.replace('"', "").split()) for name, sql in found if name != "alembic_version_pkc"}


async def test_the_migrations_give_exactly_the_models(database: Database, empty: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, Base.metadata)

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        migrated = await connection.run_sync(indexes)
        foreign = await connection.run_sync(lambda sync: inspect(sync).get_foreign_keys("clone_samples"))
    async with empty.engine.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        assert await connection.run_sync(indexes) == migrated
        assert await connection.run_sync(lambda sync: inspect(sync).get_foreign_keys("clone_samples")) == foreign


async def test_is_current_tells_a_new_database_from_a_migrated_one(empty: Database, caplog: pytest.LogCaptureFixture) -> None:
    assert not await is_current(empty.engine)
    await upgrade(empty.engine)
    assert await is_current(empty.engine)
    await upgrade(empty.engine)
    caplog.set_level("INFO")
    caplog.clear()
    assert await is_current(empty.engine)
    # Asked every few seconds.
    assert not caplog.records


async def test_downgrade_leaves_nothing_and_upgrade_brings_it_back(empty: Database) -> None:
    await upgrade(empty.engine)
    async with empty.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.downgrade(config(sync), "base"))
        await connection.commit()
        assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == ["alembic_version"]
    assert not await is_current(empty.engine)
    await upgrade(empty.engine)
    assert await is_current(empty.engine)


UPGRADE = """
import asyncio, sys
from store.database import Database
from store.migrations import upgrade
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
asyncio.run(upgrade(database.unhurried))
"""


async def test_processes_that_start_at_once_migrate_once(empty: Database) -> None:
    """Each of them waits for the word to go, so that they meet in the migration."""
    root = Path(store.__file__).parent.parent
    address = empty.url.render_as_string(hide_password=False)
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", UPGRADE, address, cwd=root, stdin=pipe, stdout=pipe, stderr=pipe)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    results = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0] * 4, results
    assert await is_current(empty.engine)
