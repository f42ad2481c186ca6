"""Is each part that the tier needs there?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog

from store import migrations
from store.faults import require_room
from store.stores import Stores

log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[object]]
"""Returns when the part is well and raises when it is not; what it returns is ignored."""

TIMEOUT_S = 3.0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is ``ok``, ``failed``, ``timeout`` or ``unchecked`` (nobody gave a check); `ms` is how long the answer took."""

    status: str
    ms: float


class SchemaOutdatedError(Exception):
    """The database is there, and not at the newest revision."""

    code = "SCHEMA_OUTDATED"


def store_checks(stores: Stores) -> dict[str, Check]:
    """The checks of database, objects and vectors."""

    async def database() -> None:
        if not await migrations.is_current(stores.database.engine):
            raise SchemaOutdatedError
        if (folder := stores.database.folder) is not None:
            await asyncio.to_thread(require_room, folder)
        # Somebody else may hold the lock, or have made it read-only, and reading goes on all the same.
        async with stores.database.write():
            return

    return {"database": database, "objects": stores.objects.ping, "vectors": stores.vectors.ping}


async def examine(checks: Mapping[str, Check | None], timeout_s: float = TIMEOUT_S) -> dict[str, Part]:
    """Run all checks at once, each for at most `timeout_s` seconds. The reasons of failures go to the log, not to the answer."""
    parts = await asyncio.gather(*(_examine(name, check, timeout_s) for name, check in checks.items()))
    return dict(zip(checks, parts, strict=True))


async def _examine(name: str, check: Check | None, timeout_s: float) -> Part:
    if check is None:
        return Part(status="unchecked", ms=0.0)
    began = time.perf_counter()
    status = "ok"
    try:
        async with asyncio.timeout(timeout_s):
            await check()
    except TimeoutError:
        status = "timeout"
    except Exception:
        status = "failed"
        log.warning("not ready", part=name, exc_info=True)
    return Part(status=status, ms=round((time.perf_counter() - began) * 1000, 1))
