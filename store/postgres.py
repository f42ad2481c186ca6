"""How PostgreSQL is connected to."""

from __future__ import annotations

from typing import Any

AWAY = ("08", "53", "57P")
"""SQLSTATEs of a server that is there and takes no connection: broken, full, starting or stopping."""


def connect_plainly(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
    """For SQLAlchemy's event `do_connect`: a server that takes nobody now is the same to all who ask as one that is not there.

    SQLAlchemy lets what is raised here out as it is, an error of the driver's own that nobody looks for.
    """
    parameters["async_creator_fn"] = _connect


async def _connect(*arguments: Any, **parameters: Any) -> Any:
    """As `asyncpg.connect`. Raises ConnectionRefusedError where the server says that it takes no connection now."""
    import asyncpg  # type: ignore[import-untyped]

    try:
        return await asyncpg.connect(*arguments, **parameters)
    except asyncpg.PostgresError as refused:
        if (refused.sqlstate or "").startswith(AWAY):
            raise ConnectionRefusedError(str(refused)) from refused
        raise
