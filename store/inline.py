"""SQLite without a thread between: for what takes less time than to hand it to another thread and to be woken with the answer."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any

from sqlalchemy import URL, Executable, Row, create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from store.json import CODEC

LONGEST_S = 0.05
"""How long one look may hold up everything else of the event loop."""
STEPS = 10_000
"""Of SQLite's virtual machine between two looks at the clock: about a millisecond."""
POOL = 4
_CLOCK = "voxify_clock"
# busy_timeout: to wait for somebody else's lock is for a thread. wal_autocheckpoint: so is to wait for the disk.
PRAGMAS = ("busy_timeout=0", "wal_autocheckpoint=0", "foreign_keys=ON", "synchronous=NORMAL", "temp_store=MEMORY")


class InlineSession(AsyncSession):
    """An `AsyncSession` on an engine that never waits, so that what repositories mostly ask needs no greenlet; the rest works as it is."""

    async def execute(self, statement: Any, params: Any = None, **options: Any) -> Any:
        return self.sync_session.execute(statement, params, **options)

    async def scalar(self, statement: Any, params: Any = None, **options: Any) -> Any:
        return self.sync_session.scalar(statement, params, **options)

    async def scalars(self, statement: Any, params: Any = None, **options: Any) -> Any:
        return self.sync_session.scalars(statement, params, **options)

    async def get(self, entity: Any, ident: Any, **options: Any) -> Any:
        return self.sync_session.get(entity, ident, **options)


class Inline:
    """Sessions whose statements run on the calling thread. `url`: of a file of SQLite, which is in WAL mode already, so that nobody
    who reads waits for one who writes."""

    def __init__(self, url: URL) -> None:
        # Whoever finds the pool empty must not wait, which would stop the thread that is to give a connection back.
        pool: dict[str, Any] = {"pool_size": POOL, "max_overflow": -1, "pool_use_lifo": True}
        self.engine = create_engine(url.set(drivername="sqlite"), hide_parameters=True, **CODEC, **pool)
        event.listen(self.engine, "connect", _prepare)
        event.listen(self.engine, "begin", _begin)
        self._writing = self.engine.execution_options(voxify_begin="BEGIN IMMEDIATE")
        self._alone = self.engine.execution_options(voxify_begin=None)

    @contextmanager
    def reading(self) -> Iterator[AsyncSession]:
        """One moment to look at, for `LONGEST_S` seconds. Raises DBAPIError, see `not_here`, when they are over."""
        session = _session(self.engine)
        with session.sync_session as own:
            clock = own.connection().info[_CLOCK]
            clock.until = time.monotonic() + LONGEST_S
            try:
                yield session
            finally:
                clock.until = inf

    @contextmanager
    def writing(self) -> Iterator[AsyncSession | None]:
        """One transaction, committed when the block ends, rolled back when it raises. None: another process is writing just now."""
        session = _session(self._writing)
        with session.sync_session as own:
            try:
                own.connection()
            except DBAPIError as refused:
                if not not_here(refused):
                    raise
                own.close()
                yield None
                return
            yield session
            own.commit()

    def run_alone(self, statement: Executable, values: dict[str, Any]) -> Sequence[Row[Any]] | None:
        """What one statement returns that is a transaction of its own. None: another process is writing just now."""
        try:
            with self._alone.connect() as connection:
                result = connection.execute(statement, values)
                return result.all() if result.returns_rows else []
        except DBAPIError as refused:
            if not not_here(refused):
                raise
            return None

    def close(self) -> None:
        self.engine.dispose()


def not_here(failure: DBAPIError) -> bool:
    """Whether it took too long, or would have to wait for a lock: it has done nothing and is to be done again on a thread."""
    code = getattr(failure.orig, "sqlite_errorcode", 0) & 0xFF  # the primary code of an extended one
    return code in {sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class _Clock:
    """SQLite asks it every now and then whether to give up."""

    def __init__(self) -> None:
        self.until = inf

    def __call__(self) -> bool:
        return time.monotonic() > self.until


def _session(engine: Any) -> InlineSession:
    # The one way in that SQLAlchemy offers: whatever makes the inner session may give it an engine that is not async.
    return InlineSession(sync_session_class=lambda **_: Session(engine, expire_on_commit=False))  # type: ignore[arg-type]


def _prepare(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # transactions begin as `_begin` says
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    record.info[_CLOCK] = clock = _Clock()
    connection.set_progress_handler(clock, STEPS)


def _begin(connection: Connection) -> None:
    begin = connection.get_execution_options().get("voxify_begin", "BEGIN")
    if begin is not None:
        connection.exec_driver_sql(begin)
