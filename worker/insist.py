"""What must not be lost only because the database is away just then is written when it is back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store.faults import part_away

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


async def insist(write: Callable[[], Awaitable[T]], *, until: float) -> T:
    """What `write` returns, which is tried again while the database is not there, with growing pauses.

    Args:
        write: one transaction. It is called anew for each try and must know what an earlier one has written: a commit that nobody answered
            may have happened.
        until: when the last try begins at the latest, but for the first one; a time of the event loop's clock. One that is under way then
            may end, which the limits of the database bound.

    Raises:
        SQLAlchemyError, OSError: of the last try, after which the database was still away; or that of any try which says something else.
    """
    clock = asyncio.get_running_loop().time
    longest = FIRST_PAUSE_S
    while True:
        try:
            return await write()
        except (SQLAlchemyError, OSError) as failure:  # a refused connection comes as the latter
            left = until - clock()
            if part_away(failure) != "database" or left <= 0:
                raise
            if longest == FIRST_PAUSE_S:
                log.warning("end not written yet", reason="the database is away, or the row is held", tries_s=round(left, 1))
        # Not all at once, who wait for the same database.
        await asyncio.sleep(min(left, longest * random.uniform(0.5, 1)))  # noqa: S311 - jitter, not a secret
        longest = min(2 * longest, LONGEST_PAUSE_S)
