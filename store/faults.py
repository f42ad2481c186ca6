"""Which failures mean that the place where data live is not there now, and no fault of the one who asked or of ours."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path
from typing import Literal

import obstore.exceptions
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as NoConnectionError

Part = Literal["database", "objects", "disk"]

# Locked by somebody else for longer than the busy timeout, read-only, full, or not to be read or opened at all.
_SQLITE = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
}  # fmt: skip
# Of PostgreSQL: no connection, no room, being shut down or started, read-only (a replica), a lock or an answer not had in time, a
# transaction that was left alone.
_TOO_SLOW = "57014"
_SQLSTATES = ("08", "53", "57P", "25006", "55P03", _TOO_SLOW, "25P03")
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE}
LEAST_FREE_BYTES = 32 * 1024**2


class NoRoomError(Exception):
    """A folder has too little room left, or cannot be written to."""


class UnreachableError(ConnectionRefusedError):
    """No connection to the database can be had now."""


def part_away(failure: BaseException) -> Part | None:
    """The part that was not there when this was raised; None: something else went wrong. Worth another try later."""
    match failure:
        case DBAPIError() | sqlite3.Error():
            return "database" if _away(failure) else None
        case obstore.exceptions.GenericError() | obstore.exceptions.PermissionDeniedError():
            return "objects"
        case NoConnectionError() | ConnectionError():
            return "database"  # asyncpg lets a refused connection out as it is
        case OSError() if failure.errno in _DISK:
            return "disk"
        case _:
            return None


def database_away(failure: BaseException) -> bool:
    """Whether the database was not there, which `Database` has said in the log (`store.outage`). Unlike `part_away` it takes no other
    connection's failure for that, nor a statement that a server which is there gave up as too slow: somebody has to see which one."""
    if isinstance(failure, DBAPIError) and getattr(failure.orig, "sqlstate", None) == _TOO_SLOW:
        return False
    return isinstance(failure, DBAPIError | NoConnectionError | UnreachableError) and part_away(failure) == "database"


def require_room(folder: Path) -> None:
    """Raises NoRoomError when the folder cannot be written to, or less than 32 MiB are left where it lies."""
    probe = folder / "room#1"  # a name that no listing of objects shows
    try:
        # What says whether a folder can be written to says it of the permissions alone, and root has them all.
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as refused:
        raise NoRoomError(f"{folder} cannot be written to") from refused
    if shutil.disk_usage(folder).free < LEAST_FREE_BYTES:
        raise NoRoomError(f"there is little room left in {folder}")


def _away(failure: DBAPIError | sqlite3.Error) -> bool:
    if isinstance(failure, InterfaceError) or getattr(failure, "connection_invalidated", False):
        return True
    said = failure.orig if isinstance(failure, DBAPIError) else failure
    code = getattr(said, "sqlite_errorcode", None)  # extended: the lowest byte is the kind
    if code is not None:
        return code & 0xFF in _SQLITE
    return str(getattr(said, "sqlstate", None) or "").startswith(_SQLSTATES)
