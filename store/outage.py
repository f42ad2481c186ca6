"""Says in the log that the database is away: once when that begins, now and then while it lasts, and once when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from store.faults import database_away

AGAIN_S = 60.0
"""How often it is said while it lasts, whoever and how many ask."""

log = structlog.get_logger(__name__)


class Outage:
    """Of one database, for a whole process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._said = 0.0
        self._unwritable = False

    @contextmanager
    def watch(self, *, writing: bool = False) -> Iterator[None]:
        """Around what asks the database, to take note when it is not there."""
        try:
            yield
        except Exception as failure:
            if database_away(failure):
                self._unwritable |= writing
                self._away(repr(getattr(failure, "orig", failure)))
            raise

    @property
    def lasts(self) -> bool:
        """Whether the database was away when it was last asked."""
        return self._since is not None

    def answered(self, *, writing: bool = False) -> None:
        """The database has done what somebody asked. One that could not be written to is only back when it can, whoever reads."""
        if self._since is not None and (writing or not self._unwritable):
            log.info("database back", after_s=round(self._clock() - self._since, 1))
            self._since, self._unwritable = None, False

    def _away(self, reason: str) -> None:
        now = self._clock()
        if self._since is None:
            self._since = self._said = now
            log.warning("database away", reason=reason)
        elif now - self._said >= AGAIN_S:
            self._said = now
            log.warning("database still away", for_s=round(now - self._since), reason=reason)
