"""What the commands of `voxify` share: how they start, how they reach the database, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import typer
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from api import logging
from api.auth.operators import OperatorError
from settings import Settings
from store import migrations
from store.archive import BackupError
from store.database import Database
from store.vectors import FolderInUseError, VectorsUnavailableError

REFUSED = 1
MISCONFIGURED = 2
START_FAILED = 3
UNREACHABLE = 4
REACH_S = 15.0
NOT_CURRENT = "The database is not at the newest revision: run `voxify db upgrade`"

T = TypeVar("T")


class UnreachableError(Exception):
    """A store does not answer; one line says which, and why."""

    def __init__(self, what: str, failed: Exception) -> None:
        reason = next((line.strip() for line in str(failed).splitlines() if line.strip()), type(failed).__name__)
        super().__init__(f"{what}: {reason}")


def start() -> Settings:
    """The settings; what is wrong with them is said and ends the command."""
    try:
        settings = Settings()
    except ValidationError as invalid:
        for problem in invalid.errors(include_url=False, include_input=False):
            field = "_".join(map(str, problem["loc"])).upper()
            typer.echo(f"{f'VOXIFY_{field}: ' if field else ''}{problem['msg']}", err=True)
        raise typer.Exit(MISCONFIGURED) from None
    logging.configure(settings.log_level, settings.log_format)
    return settings


def require_folder(settings: Settings) -> None:
    """Make the data folder if it is not there; one that cannot be written to is said and ends the command."""
    probe = settings.data_dir / "room#1"
    try:
        # Hashes of passwords and voices lie below it: for nobody else on this machine.
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as refused:
        typer.echo(f"The data folder {settings.data_dir} cannot be written to: {refused.strerror}", err=True)
        raise typer.Exit(MISCONFIGURED) from None


def with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Do `work` with the database at its newest revision; what it refuses is said and ends the command."""

    async def run() -> T:
        async with reached_database(settings) as database:
            if settings.env == "dev" or database.is_sqlite:
                await migrations.upgrade(database.unhurried)
            elif not await migrations.is_current(database.engine):
                raise OperatorError(NOT_CURRENT)
            return await work(database)

    require_folder(settings)
    return run_command(run())


def run_command(work: Coroutine[Any, Any, T]) -> T:
    """What comes of `work`; what it refuses, or cannot reach, is said and ends the command."""
    try:
        return asyncio.run(work)
    except (UnreachableError, VectorsUnavailableError) as away:
        typer.echo(str(away), err=True)
        raise typer.Exit(UNREACHABLE) from None
    except (OperatorError, BackupError, FolderInUseError) as refused:
        typer.echo(str(refused), err=True)
        raise typer.Exit(REFUSED) from None


@asynccontextmanager
async def reached_database(settings: Settings) -> AsyncIterator[Database]:
    """The database, once it has answered; closed at the end. Raises UnreachableError."""
    try:
        database = Database(settings.database, limit_s=settings.database_timeout_s)
    except (SQLAlchemyError, ImportError) as unusable:
        raise UnreachableError("VOXIFY_DATABASE_URL cannot be used", unusable) from unusable

    async def ping() -> None:
        async with database.engine.connect() as connection:
            await connection.exec_driver_sql("SELECT 1")

    try:
        await reach("database", ping)
        yield database
    finally:
        await database.close()


async def reach(what: str, ping: Callable[[], Awaitable[None]]) -> None:
    """Return when the store has answered. Raises UnreachableError when it does not, for whatever reason, within `REACH_S` seconds."""
    try:
        async with asyncio.timeout(REACH_S):
            await ping()
    except Exception as failed:
        # Each driver has errors of its own for the many ways in which a server can be away.
        raise UnreachableError(f"The {what} cannot be reached", failed) from failed
