"""The commands that look after what is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from api.commands import NOT_CURRENT, REFUSED, reach, reached_database, require_folder, run_command, start, with_database
from api.stores import open_objects, open_stores
from settings import Settings
from store import migrations
from store.backup import Contents, backup, restore
from store.database import Database
from store.index import rebuild_vectors
from store.objects import Objects
from store.stores import Stores

T = TypeVar("T")

db = typer.Typer(no_args_is_help=True, help="The database.")
vectors = typer.Typer(no_args_is_help=True, help="The index of voices.")


@db.command()
def upgrade() -> None:
    """Bring the database to the newest revision."""
    _with_any_revision(start(), lambda database: migrations.upgrade(database.unhurried))
    typer.echo("The database is at the newest revision")


@db.command()
def check() -> None:
    """Say whether the database is at the newest revision; exit status 1 when it is not."""
    if not _with_any_revision(start(), lambda database: migrations.is_current(database.engine)):
        typer.echo(NOT_CURRENT)
        raise typer.Exit(REFUSED)
    typer.echo("The database is at the newest revision")


@db.command("recount")
def recount_sizes() -> None:
    """Compare the sizes of files that the database says, which storage limits are counted from, with the files, and put them right."""
    from api.limits.recount import recount

    settings = start()

    async def work(database: Database) -> tuple[int, int]:
        return await recount(database, await _reached_objects(settings))

    looked_at, corrected = with_database(settings, work)
    typer.echo(f"Looked at {looked_at} files or groups of files; put {corrected} sizes right")


@vectors.command()
def rebuild() -> None:
    """Make the index of voices anew from the database. The API must not run if it has the index in its data folder."""
    kept, removed = _with_stores(start(), rebuild_vectors)
    typer.echo(f"{kept} voices are in the index; {removed} that were gone have been taken out")


def back_up(file: Annotated[Path, typer.Argument(help="Must not be there yet.")]) -> None:
    """Write all rows, and all files that they name, into one archive. It holds personal data: keep it safe.

    The API may run meanwhile.
    """
    settings = start()

    async def work(database: Database) -> Contents:
        return await backup(database, await _reached_objects(settings), file)

    contents = _with_any_revision(settings, work)
    typer.echo(f"{contents.rows} rows and {contents.objects} files are in {file}")
    if contents.gone:
        typer.echo(f"{contents.gone} files that are named in rows were not there", err=True)


def bring_back(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    force: Annotated[bool, typer.Option("--force", help="Put it in the place of what is there.")] = False,
) -> None:
    """Bring back what `voxify backup` wrote, into whatever database and store the settings name. The API must not run."""
    contents = _with_stores(start(), lambda stores: restore(stores, file, force=force))
    typer.echo(f"{contents.rows} rows and {contents.objects} files are back")


def _with_any_revision(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    async def run() -> T:
        async with reached_database(settings) as database:
            return await work(database)

    require_folder(settings)
    return run_command(run())


def _with_stores(settings: Settings, work: Callable[[Stores], Awaitable[T]]) -> T:
    """Do `work` with all stores once each has answered."""

    async def run() -> T:
        async with reached_database(settings):
            stores = open_stores(settings)
            try:
                await _reach_objects(stores.objects)
                await reach("index of voices", stores.vectors.ping)
                return await work(stores)
            finally:
                await stores.close()

    require_folder(settings)
    return run_command(run())


async def _reached_objects(settings: Settings) -> Objects:
    objects = open_objects(settings)
    await _reach_objects(objects)
    return objects


async def _reach_objects(objects: Objects) -> None:
    async def look() -> None:
        # Not whether there is room: that there is none is a reason for a backup.
        async for _ in objects.list("none"):
            return

    await reach("object store", look)
