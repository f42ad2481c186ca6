"""What the commands of `voxify` share: how they start, how they reach the database, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer
from pydantic import ValidationError

from api import logging
from api.auth.operators import OperatorError
from settings import Settings
from store import migrations
from store.database import Database

REFUSED = 1
MISCONFIGURED = 2
START_FAILED = 3
NOT_CURRENT = "The database is not at the newest revision: run `voxify db upgrade`"

T = TypeVar("T")


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


def with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Do `work` with the database at its newest revision; what it refuses is said and ends the command."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)

    async def run() -> T:
        database = Database(settings.database)
        try:
            if settings.env == "dev" or database.is_sqlite:
                await migrations.upgrade(database.engine)
            elif not await migrations.is_current(database.engine):
                raise OperatorError(NOT_CURRENT)
            return await work(database)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except OperatorError as refused:
        typer.echo(str(refused), err=True)
        raise typer.Exit(REFUSED) from None
