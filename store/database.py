"""Connections and transactions."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine, Executable, Row, event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from store.inline import Inline, not_here
from store.json import CODEC
from store.outage import Outage
from store.postgres import NoAnswerError, connecting

SQLITE_TIMEOUT_S = 10.0
SQLITE_PRAGMAS = (f"busy_timeout={SQLITE_TIMEOUT_S * 1000:.0f}", "foreign_keys=ON", "synchronous=NORMAL", "temp_store=MEMORY")

CONNECTIONS = 15
LOOKING = 5
"""Further connections to PostgreSQL, for `glance`."""
CHECKPOINT_EVERY = 300
"""Transactions without a thread, which leave it to others to bring the write-ahead log into the file."""
LIMIT_S = 10.0
CLOSE_S = 5.0
"""For taking leave of PostgreSQL, which may no longer answer."""

T = TypeVar("T")

ACCOUNT_CHANGES = ("UPDATE users ", "DELETE FROM users ", "UPDATE refresh_tokens ", "DELETE FROM refresh_tokens ")
JOB_CHANGES = ("INSERT INTO jobs ", "UPDATE jobs ", "DELETE FROM jobs ")


class Database:
    """A pool of connections to one database and the ways to use it: :meth:`read`, :meth:`write` and, where speed counts, :meth:`glance`.

    To hand a statement to SQLite's thread and to be woken by it costs several times what a small statement does. So what is short runs on
    the thread of the event loop (see :class:`~store.inline.Inline`), and only what turns out to be long, or would wait, on another one.
    """

    def __init__(self, url: str, *, limit_s: float = LIMIT_S) -> None:
        """`limit_s`: how long PostgreSQL may take for a statement, or anybody wait for a connection to it, but for those of `unhurried`."""
        self.url = make_url(url)
        self.outage = Outage()
        # No overflow: such connections are opened and closed again for every request as soon as there are more requests than the pool
        # has places, and to open one costs many times what is then asked of it.
        pool: dict[str, Any] = {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_use_lifo": True, "pool_timeout": limit_s}
        shared = pool if self.url.database else {}  # a database in memory has one connection
        self.engine = create_async_engine(self.url, hide_parameters=True, pool_pre_ping=not self.is_sqlite, **CODEC, **shared)
        # How often this process has changed who may do what, and what waits: for those who remember for a moment what they have read.
        self.account_changes = 0
        self.job_changes = 0
        self.on_account_change: Callable[[], None] = _nobody  # called after the commit
        event.listen(self.engine.sync_engine, "before_cursor_execute", _note_change)
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)
        else:
            event.listen(self.engine.sync_engine, "do_connect", connecting(limit_s))
        self._turn: AbstractAsyncContextManager[None] = _Turn() if self.is_sqlite else nullcontext()
        self._read = async_sessionmaker(self.engine, expire_on_commit=False)
        self._write = async_sessionmaker(self.engine.execution_options(voxify_write=True), expire_on_commit=False)
        alone: dict[str, Any] = {"voxify_alone": True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._alone = self.engine.execution_options(**alone)
        self._inline: Inline | None = None
        self._looking: AsyncEngine | None = None
        self.unhurried = self.engine
        """The engine for what may take long and must not be cut: migrations and backups."""
        if self.is_sqlite:
            if self.url.database not in {None, "", ":memory:"}:
                self._inline = Inline(self.url)
                event.listen(self._inline.engine, "before_cursor_execute", _note_change)
        else:
            # Without transactions, each of which is two trips more, and without asking first whether the server is still there.
            self._looking = create_async_engine(
                self.url, hide_parameters=True, isolation_level="AUTOCOMMIT", **CODEC, **(pool | {"pool_size": LOOKING})
            )
            event.listen(self._looking.sync_engine, "do_connect", connecting(limit_s))
            self.unhurried = create_async_engine(self.url, hide_parameters=True, poolclass=NullPool, **CODEC)
            event.listen(self.unhurried.sync_engine, "do_connect", connecting(None))
        self._look = async_sessionmaker(self._looking, expire_on_commit=False)
        self._unsaved = 0  # transactions without a thread since the last checkpoint

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @property
    def folder(self) -> Path | None:
        """Where the file of SQLite lies; None: it has none, or this is a server's database."""
        return Path(self.url.database).parent if self.is_sqlite and self.url.database else None

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All that statements go through, for those who listen to them."""
        looking = self._looking.sync_engine if self._looking is not None else None
        inline = self._inline.engine if self._inline is not None else None
        return tuple(engine for engine in (self.engine.sync_engine, looking, inline) if engine is not None)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session to read with; whatever it changes is rolled back."""
        with self.outage.watch():
            async with self._read() as session:
                yield session
                asked = session.in_transaction()
        if asked:
            self.outage.answered()

    async def glance(self, look: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """What `look` finds, for what takes a millisecond: one moment on SQLite, each statement its own on PostgreSQL.

        `look` reads only and awaits nothing but the session. It is run a second time, as in :meth:`read`, when it takes longer than
        :data:`~store.inline.LONGEST_S` on SQLite, or the connection to PostgreSQL turns out to be gone.
        """
        with self.outage.watch():
            try:
                found = await self._glance(look)
            except DBAPIError as failed:
                gone = failed.connection_invalidated and not isinstance(failed.orig, NoAnswerError)
                if not (not_here(failed) or gone):
                    raise
                async with self._read() as session:
                    found = await look(session)
        self.outage.answered()
        return found

    async def _glance(self, look: Callable[[AsyncSession], Awaitable[T]]) -> T:
        if self._inline is not None:
            with self._inline.reading() as session:
                return await look(session)
        async with (self._read if self._looking is None else self._look)() as session:
            return await look(session)

    @asynccontextmanager
    async def write(self, *, brief: bool = False) -> AsyncIterator[AsyncSession]:
        """One transaction: committed when the block ends, rolled back when it raises.

        `brief`: it changes a few rows, found by an index, and awaits nothing but the session; on SQLite it then needs no thread.
        """
        with self.outage.watch(writing=True):
            async with self._turn, self._transaction(brief) as session:
                # Wait for SQLite's write lock here, so that a clock read in the block is not older than the wait.
                noted = (await session.run_sync(_connection)).info
                yield session
        self.outage.answered(writing=True)
        # Only now can others read it.
        if changes := noted.pop(ACCOUNT_CHANGES, 0):
            self.account_changes += changes
            self.on_account_change()
        self.job_changes += noted.pop(JOB_CHANGES, 0)
        await self._checkpoint()

    @asynccontextmanager
    async def _transaction(self, brief: bool) -> AsyncIterator[AsyncSession]:
        if brief and self._inline is not None:
            with self._inline.writing() as inline:
                if inline is not None:
                    self._unsaved += 1
                    yield inline
                    return
        async with self._write() as session, session.begin():
            yield session

    async def run_alone(self, statement: Executable, values: dict[str, Any]) -> Sequence[Row[Any]]:
        """Run one statement as a transaction of its own, which spares the trips to begin and to end one, and what it returns."""
        with self.outage.watch(writing=True):
            async with self._turn:
                found = self._inline.run_alone(statement, values) if self._inline is not None else None
                inline = found is not None
                if found is None:
                    async with self._alone.connect() as connection:
                        result = await connection.execute(statement, values)
                        found = result.all() if result.returns_rows else []
        self.outage.answered(writing=True)
        if inline:
            self._unsaved += 1
            await self._checkpoint()
        return found

    async def _checkpoint(self) -> None:
        """Bring SQLite's write-ahead log into the file when it is time to, which waits for the disk and so is done on a thread."""
        if self._unsaved >= CHECKPOINT_EVERY:
            self._unsaved = 0
            async with self._alone.connect() as connection:
                await connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    async def close(self) -> None:
        for engine in (self.engine, self._looking):
            if engine is not None:
                try:
                    async with asyncio.timeout(CLOSE_S):
                        await engine.dispose()
                except TimeoutError:
                    await engine.dispose(close=False)
        if self._inline is not None:
            self._inline.close()


class _Turn:
    """SQLite has one writer at a time and lets those who wait try their luck again and again; here they queue.

    Nobody queues for longer than SQLite itself would wait, or while another process holds the lock all would wait for all before them.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        try:
            async with asyncio.timeout(SQLITE_TIMEOUT_S):
                await self._lock.acquire()
        except TimeoutError:
            raise NoConnectionError("the database was not free to be written to in time") from None

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


def _nobody() -> None:
    """Nobody needs to be told."""


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
