"""All that a Voxify keeps in one file: the rows of all tables and the objects that they name, whatever the database and the store are.

The file is a tar archive (POSIX.1-2001) with, in this order,

- ``manifest.json``: ``{"format": 1, "revision": …, "created_at": …}``, the revision that of the tables,
- ``rows/{table}.jsonl``: a row a line, the tables in the order of their foreign keys,
- ``objects/{key}``: the bytes of an object,
- ``end.json``: how many rows and objects there are, and the SHA-256 of the names and the contents of all before it.

Voices' embeddings are in the rows; the index of them is made anew. Nothing is ever read into memory whole.
"""

from __future__ import annotations

import base64
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import JSON, Column, LargeBinary, Table, column, delete, insert, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from store import migrations
from store.archive import Archive, BackupError, Members, new_file, opened
from store.clock import utcnow
from store.database import Database
from store.index import rebuild_vectors
from store.models import Base
from store.models.base import UtcDateTime
from store.objects import ObjectNotFoundError, Objects
from store.repositories.objects import columns_with_keys
from store.stores import Stores

FORMAT = 1
MANIFEST, END = "manifest.json", "end.json"
ROWS, OBJECTS = "rows/", "objects/"
BATCH = 500


@dataclass(slots=True)
class Contents:
    """What went into a backup or came out of it. `gone`: objects that a row names and that are not there."""

    rows: int = 0
    objects: int = 0
    gone: int = 0


async def backup(database: Database, objects: Objects, file: Path) -> Contents:
    """Write everything to a new file, which only its owner may read. Others may go on using the stores.

    The rows are of one moment. An object that is deleted after that moment and before it is read is left out, and counted.

    Raises:
        BackupError: there is such a file, or the database is not at the newest revision.
    """
    if not await migrations.is_current(database.engine):
        raise BackupError("The database is not at the newest revision: run `voxify db upgrade`")
    with new_file(file) as archive, tempfile.TemporaryDirectory(prefix="voxify-backup-", dir=file.parent) as folder:
        work = Path(folder)
        contents = await _dump(database, work)
        archive.member(MANIFEST, _json({"format": FORMAT, "revision": migrations.head(), "created_at": utcnow().isoformat()}))
        for each in _tables():
            archive.file(f"{ROWS}{each.name}.jsonl", work / each.name)
        for key in _lines(work / "keys"):
            if await _add_object(archive, objects, key):
                contents.objects += 1
            else:
                contents.gone += 1
        archive.member(END, _json({"rows": contents.rows, "objects": contents.objects, "sha256": archive.digest.hexdigest()}))
        archive.finish()
    return contents


async def restore(stores: Stores, file: Path, *, force: bool = False) -> Contents:
    """Bring back what a backup holds. Nobody else may use the stores meanwhile.

    With `force` it takes the place of what is there; otherwise nothing may be there. If it fails, the rows are as they were.

    Raises:
        BackupError: the stores are in use already, or the file is no backup, is damaged, or was made of tables of another revision.
    """
    await migrations.upgrade(stores.database.unhurried)
    kept: set[str] = set()
    contents = Contents()
    try:
        with opened(file, END) as members:
            _check_manifest(members)
            async with stores.database.unhurried.execution_options(voxify_write=True).begin() as connection:
                await _make_room(connection, stores, force)
                await _load(connection, stores, members, contents, kept)
    except BaseException:
        if not force:
            await stores.objects.delete(*kept)
        raise
    if force:
        await stores.objects.delete(*[stat.key async for stat in stores.objects.list() if stat.key not in kept])
    await rebuild_vectors(stores)
    return contents


async def _dump(database: Database, folder: Path) -> Contents:
    """The rows of one moment into a file for each table, and the keys that they name into one more."""
    contents = Contents()
    keys = columns_with_keys()
    async with database.unhurried.connect() as connection:
        if not database.is_sqlite:  # where a transaction sees one moment anyway
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        await connection.begin()
        with _written(folder / "keys") as named:
            for each in _tables():
                with _written(folder / each.name) as lines:
                    async for row in _rows(connection, each):
                        lines.write(_json({name: _plain(value) for name, value in row.items()}) + b"\n")
                        named.writelines(f"{row[name]}\n".encode() for name in keys.get(each.name, ()) if row[name] is not None)
                        contents.rows += 1
    return contents


async def _rows(connection: AsyncConnection, each: Table) -> AsyncIterator[dict[str, Any]]:
    async with connection.stream(select(each).execution_options(yield_per=BATCH)) as result:
        async for row in result.mappings():
            yield dict(row)


async def _add_object(archive: Archive, objects: Objects, key: str) -> bool:
    """Whether there is such an object still."""
    try:
        stat = await objects.stat(key)
        blocks = objects.stream(key, 0, stat.size)
        first = await anext(blocks, b"")
    except ObjectNotFoundError:
        return False
    archive.begin(f"{OBJECTS}{key}", stat.size)
    archive.write(first)
    written = len(first)
    async for block in blocks:
        archive.write(block)
        written += len(block)
    if written != stat.size:
        raise BackupError(f"The object {key} changed while it was read; try again")
    archive.end(stat.size)
    return True


async def _make_room(connection: AsyncConnection, stores: Stores, force: bool) -> None:
    """Remove all rows, or, without `force`, make sure that there are none, and no objects. Raises BackupError."""
    something = BackupError("There is something in the stores already; --force puts the backup in its place")
    for each in reversed(_tables()):
        if force:
            await connection.execute(delete(each))
        elif (await connection.execute(select(each).limit(1))).first() is not None:
            raise something
    if not force:
        async for _ in stores.objects.list():
            raise something


async def _load(connection: AsyncConnection, stores: Stores, members: Members, contents: Contents, kept: set[str]) -> None:
    tables = {f"{ROWS}{each.name}.jsonl": each for each in _tables()}
    for name, content in members:
        if name == END:
            said = json.loads(content.read())
            if said != {"rows": contents.rows, "objects": contents.objects, "sha256": members.sha256}:
                raise BackupError("The backup is damaged: its contents are not what it says that they are")
            return
        if name.startswith(OBJECTS):
            key = name.removeprefix(OBJECTS)
            with tempfile.TemporaryDirectory(prefix="voxify-restore-") as folder:
                path = Path(folder) / "object"
                _spool(members, content, path)
                await stores.objects.put(key, path)
            kept.add(key)
            contents.objects += 1
        elif name in tables:
            contents.rows += await _insert(connection, tables[name], members.lines(content))
        else:
            raise BackupError(f"The backup holds something unknown: {name}")
    raise BackupError("The backup is damaged: its end is missing")


async def _insert(connection: AsyncConnection, into: Table, lines: Iterator[bytes]) -> int:
    # JSON has a null of its own beside SQL's. Where there may be SQL's it is that: nothing asks which of them it is.
    statement = insert(table(into.name, *(column(each.name, _type(each)) for each in into.columns)))
    count, batch = 0, list[dict[str, Any]]()
    for line in lines:
        said = json.loads(line)
        if said.keys() != set(into.columns.keys()):
            raise BackupError(f"The backup is damaged: a row of {into.name} has other columns than the table")
        batch.append({name: _value(into.columns[name], value) for name, value in said.items()})
        count += 1
        if len(batch) == BATCH:
            await connection.execute(statement, batch)
            batch = []
    if batch:
        await connection.execute(statement, batch)
    return count


def _check_manifest(members: Members) -> None:
    name, content = next(members, ("", None))
    if name != MANIFEST or content is None:
        raise BackupError("This is no backup of Voxify")
    said = json.loads(members.all(content))
    if said.get("format") != FORMAT:
        raise BackupError(f"The backup has the format {said.get('format')}; this version of Voxify knows {FORMAT}")
    if said.get("revision") != migrations.head():
        raise BackupError(
            f"The backup was made at revision {said.get('revision')} of the database and this version of Voxify is at {migrations.head()}; "
            "restore it with the version that made it, and upgrade then"
        )


def _tables() -> list[Table]:
    """In the order in which they can be filled."""
    return list(Base.metadata.sorted_tables)


def _type(each: Column[Any]) -> Any:
    return JSON(none_as_null=True) if isinstance(each.type, JSON) and each.nullable else each.type


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _value(each: Column[Any], plain: Any) -> Any:
    if plain is not None and isinstance(each.type, UtcDateTime):
        return datetime.fromisoformat(plain)
    return base64.b64decode(plain) if plain is not None and isinstance(each.type, LargeBinary) else plain


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@contextlib.contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    with path.open("wb") as file:
        yield file


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n")


def _spool(members: Members, content: IO[bytes], path: Path) -> None:
    with path.open("wb") as file:
        for block in members.blocks(content):
            file.write(block)
