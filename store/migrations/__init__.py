"""Alembic, run from code: `upgrade` brings a database to the newest revision, `pending` says whether it is there."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

LOCK = 0x766F78696679  # of PostgreSQL's advisory locks: "voxify"


def config(connection: Connection | None = None) -> Config:
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent))
    made.attributes["connection"] = connection
    return made


async def upgrade(engine: AsyncEngine) -> None:
    """Bring the database to the newest revision; nothing happens when it is there already."""
    # As a writer from the start: of two processes that start at once on SQLite, the second waits and finds the work done. In a transaction
    # that is there already, or Alembic ends one after each migration, and the second comes in between with what it has read before.
    async with engine.execution_options(voxify_write=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            # The same there. It ends with the connection's transaction, in which all migrations are made.
            await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        await connection.run_sync(lambda sync: command.upgrade(config(sync), "head"))


def head() -> str:
    """The newest revision."""
    newest = ScriptDirectory.from_config(config()).get_current_head()
    assert newest is not None
    return newest


async def is_current(engine: AsyncEngine) -> bool:
    """Whether the database is at the newest revision."""
    async with engine.connect() as connection:
        return await connection.run_sync(_revision) == head()


def _revision(connection: Connection) -> str | None:
    # Alembic can tell too, but logs two lines each time it is asked, and whoever asks whether Voxify is ready asks every few seconds.
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
