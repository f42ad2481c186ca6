"""Connections and transactions."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from sqlalchemy import Executable, Row, event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

SQLITE_TIMEOUT_S = 10.0
SQLITE_PRAGMAS = (f"busy_timeout={SQLITE_TIMEOUT_S * 1000:.0f}", "foreign_keys=ON", "synchronous=NORMAL", "temp_store=MEMORY")

CONNECTIONS = 15

ACCOUNT_CHANGES = ("UPDATE users ", "DELETE FROM users ", "UPDATE refresh_tokens ", "DELETE FROM refresh_tokens ")
JOB_CHANGES = ("INSERT INTO jobs ", "UPDATE jobs ", "DELETE FROM jobs ")


class Database:
    """A pool of connections to one database and the two ways to use it: :meth:`read` and :meth:`write`."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        # No overflow: such connections are opened and closed again for every request as soon as there are more requests than the pool
        # has places, and to open one costs many times what is then asked of it.
        pool = {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_use_lifo": True}
        shared = pool if self.url.database else {}  # a database in memory has one connection
        self.engine = create_async_engine(self.url, hide_parameters=True, pool_pre_ping=not self.is_sqlite, **shared)
        # How often this process has changed who may do what, and what waits: for those who remember for a moment what they have read.
        self.account_changes = 0
        self.job_changes = 0
        event.listen(self.engine.sync_engine, "before_cursor_execute", _note_change)
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)
        # SQLite has one writer at a time and lets those who wait try their luck again and again; here they queue.
        self._turn: AbstractAsyncContextManager[None] = asyncio.Lock() if self.is_sqlite else nullcontext()
        self._read = async_sessionmaker(self.engine, expire_on_commit=False)
        self._write = async_sessionmaker(self.engine.execution_options(voxify_write=True), expire_on_commit=False)
        alone: dict[str, Any] = {"voxify_alone": True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._alone = self.engine.execution_options(**alone)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session to read with; whatever it changes is rolled back."""
        async with self._read() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        async with self._turn, self._write() as session, session.begin():
            # Wait for SQLite's write lock here, so that a clock read in the block is not older than the wait.
            noted = (await session.run_sync(_connection)).info
            yield session
        # Only now can others read it.
        self.account_changes += noted.pop(ACCOUNT_CHANGES, 0)
        self.job_changes += noted.pop(JOB_CHANGES, 0)

    async def run_alone(self, statement: Executable, values: dict[str, Any]) -> Sequence[Row[Any]]:
        """Run one statement as a transaction of its own, which spares the trips to begin and to end one, and what it returns."""
        async with self._turn, self._alone.connect() as connection:
            result = await connection.execute(statement, values)
            return result.all() if result.returns_rows else []

    async def close(self) -> None:
        await self.engine.dispose()


def _connection(session: Session) -> Connection:
    return session.connection()


def _note_change(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    for changes in (ACCOUNT_CHANGES, JOB_CHANGES):
        if statement.startswith(changes):
            connection.info[changes] = 1


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver would begin transactions by its own rules; `_begin_sqlite` does it instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in SQLITE_PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    _write_ahead(cursor)
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Switch the file to WAL. Of several processes that do so to a new file at once, SQLite refuses all but one without
    asking the busy timeout (each holds a read lock that the others wait for), so the refused try again."""
    give_up = time.monotonic() + SQLITE_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            await_only(asyncio.sleep(0.01))
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once with "database is locked" when another one wrote in
    # between, whatever the busy timeout; taking the write lock at the start makes it wait its turn.
    options = connection.get_execution_options()
    if options.get("voxify_alone", False):
        return  # the statement is its own transaction
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("voxify_write", False) else "BEGIN")
