"""How PostgreSQL is connected to, and how long it is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection, AsyncAdapt_asyncpg_dbapi
from sqlalchemy.util import await_only

from store.faults import UnreachableError

AWAY = ("08", "53", "57P")
"""SQLSTATEs of a server that is there and takes no connection: broken, full, starting or stopping."""
PATIENCE = 1.25
"""Of the limit that the server itself keeps: this side waits a little longer, so that a server that is there says why it gave up."""
PROMPT = 0.5
"""Of the same limit: what every server answers at once, whether it is still there and whether it takes a connection."""
BUSY_S = 2.0
"""So long a machine that is busy may need to take one, however short the limit."""
IDLE_S = 60
"""A transaction whose client asks for nothing so long is ended by the server: the machine of the client stands still, or is gone."""
CONNECT_S = 10.0
"""For opening a connection on which nothing else is limited."""

_FOR_SQLALCHEMY = ("prepared_statement_cache_size", "prepared_statement_name_func")

T = TypeVar("T")


class NoAnswerError(AsyncAdapt_asyncpg_dbapi.OperationalError):
    """The server, or the way to it, was silent for so long that the connection was given up."""


def connecting(limit_s: float | None) -> Callable[..., Any]:
    """A listener for SQLAlchemy's event `do_connect`. Nothing takes longer than `limit_s` seconds on its connections; None: as long as it
    takes.

    A server that takes nobody now is the same to all who ask as one that is not there. What is raised here SQLAlchemy lets out as it is.
    """

    def connect(dialect: Any, _record: Any, arguments: Any, parameters: dict[str, Any]) -> _Connection:
        about = {name: parameters.pop(name) for name in _FOR_SQLALCHEMY if name in parameters}
        opened = await_only(_connect(limit_s, *arguments, **parameters))
        return _Connection(dialect.loaded_dbapi, opened, limit_s, **about)

    return connect


class _Connection(AsyncAdapt_asyncpg_connection):
    """As SQLAlchemy's own, and given up when nothing is heard on it for too long.

    A server that stands still and a network that swallows everything close no connection: the driver would wait for good.
    """

    __slots__ = ("_limit_s", "_patience_s")

    def __init__(self, dbapi: Any, connection: Any, limit_s: float | None, **about: Any) -> None:
        super().__init__(dbapi, connection, **about)
        self._limit_s = limit_s
        self._patience_s = None if limit_s is None else limit_s * PATIENCE

    def await_(self, work: Awaitable[T]) -> T:
        # All that the driver does comes through here.
        return await_only(self._answered(work))

    def ping(self) -> None:
        usual = self._patience_s
        self._patience_s = None if self._limit_s is None else self._limit_s * PROMPT
        try:
            super().ping()
        finally:
            self._patience_s = usual

    async def _answered(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._patience_s) as limit:
                return await work
        except TimeoutError as silent:
            if not limit.expired():
                raise
            # At once: to end it in the polite way is to wait for the same server again.
            self._connection.terminate()
            raise NoAnswerError(f"PostgreSQL has not answered for {self._patience_s:g} s") from silent
        except Exception as failed:
            # Where SQLAlchemy prepares a new connection it would let the driver's own errors out.
            self._handle_exception(failed)
            raise

    def _terminate_handled_exceptions(self) -> tuple[type[BaseException], ...]:
        return (*super()._terminate_handled_exceptions(), AsyncAdapt_asyncpg_dbapi.Error)


async def _connect(limit_s: float | None, *arguments: Any, **parameters: Any) -> Any:
    """As `asyncpg.connect`. Raises UnreachableError where there is no connection to be had now."""
    import asyncpg  # type: ignore[import-untyped]

    within = CONNECT_S if limit_s is None else max(limit_s * PROMPT, BUSY_S)
    try:
        connection = await asyncpg.connect(*arguments, **{"timeout": within} | parameters)
        try:
            # Not with what opens the connection: poolers refuse to hand that on.
            await connection.execute(_conditions(limit_s), timeout=within)
        except BaseException:
            connection.terminate()
            raise
    except asyncpg.PostgresError as refused:
        if (refused.sqlstate or "").startswith(AWAY):
            raise UnreachableError(str(refused)) from refused
        raise
    except TimeoutError as silent:
        raise UnreachableError(f"PostgreSQL has not answered for {within:g} s") from silent
    except OSError as failed:  # refused, no such host, no way there
        raise UnreachableError(str(failed)) from failed
    return connection


def _conditions(limit_s: float | None) -> str:
    """What the server is to keep to on this connection. It, too, may be left alone with a statement, and with the locks that it holds."""
    found = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3, "tcp_user_timeout": 60_000}
    if limit_s is not None:
        found |= {"statement_timeout": max(1, round(limit_s * 1000)), "idle_in_transaction_session_timeout": IDLE_S * 1000}
    return "; ".join(f"SET {name} = {value}" for name, value in found.items())
