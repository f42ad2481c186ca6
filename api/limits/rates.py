"""How many requests somebody may make in a minute.

A window of a minute begins with the first request in it, and so many pass as the limit says, whatever the number of processes: every
request is counted in one place before it is let through. Handing each process a few requests to give away by itself would be cheaper,
and wrong: what one process holds and does not use is missing at the others, so that people are refused too early. Instead the requests
that arrive while a count is being written are counted together in the next one (group commit). On SQLite one count takes 0.7 ms of one
core, of which an empty transaction is 0.3 ms, and twenty at once take 0.9 ms. Whoever was refused is refused again from memory, without a
write, until their window ends.

When the counters cannot be reached, requests pass uncounted, and for a second nobody waits for them: a limit must not be what brings the
platform down.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

import structlog

from api.limits.counters import Counters, CountersUnavailableError, now_ms
from settings import Settings
from store.repositories.limits import Count

WINDOW_MS = 60_000
MAX_BATCH = 500  # what one statement counts at once
MAX_REFUSED = 10_000
WARN_EVERY_MS = 60_000
PAUSE_MS = 1000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a limit after one request: `limit` may pass until `resets_at_ms`, milliseconds of Unix time."""

    limit: int
    count: int
    resets_at_ms: int

    @property
    def allowed(self) -> bool:
        return self.count <= self.limit

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.count)

    @property
    def headers(self) -> dict[str, str]:
        """`X-RateLimit-Reset` is in seconds of Unix time, rounded up."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(-(-self.resets_at_ms // 1000)),
        }

    def retry_after_s(self) -> float:
        return max(0, self.resets_at_ms - now_ms()) / 1000


class RateLimiter:
    def __init__(self, counters: Counters, settings: Settings) -> None:
        self.counters = counters
        self.apply(settings)
        self._waiting: list[tuple[str, asyncio.Future[Count]]] = []
        self._counting: asyncio.Task[None] | None = None
        self._refused: dict[str, Count] = {}
        self._next_warning_ms = 0
        self._next_try_ms = 0

    def apply(self, settings: Settings) -> None:
        """Take over settings that have changed."""
        self.user_limit = settings.requests_per_minute
        self.address_limit = settings.anonymous_requests_per_minute

    async def of_user(self, user_id: str, own_limit: int | None) -> Allowance | None:
        """Count a request of somebody who is known; `own_limit`: what an admin set for them. None: it could not be counted."""
        return await self._take(f"user:{user_id}", self.user_limit if own_limit is None else own_limit)

    async def of_address(self, place: str) -> Allowance | None:
        """Count a request of somebody who is not; `place` stands for where it comes from. None: it could not be counted."""
        return await self._take(f"address:{place}", self.address_limit)

    async def close(self) -> None:
        if self._counting is not None:
            await self._counting
        await self.counters.close()

    async def _take(self, key: str, limit: int) -> Allowance | None:
        refused = self._refused.get(key)
        if refused is not None:
            if refused.ends_at_ms > now_ms() and refused.count > limit:
                return Allowance(limit, refused.count, refused.ends_at_ms)
            del self._refused[key]
        if now_ms() < self._next_try_ms:
            return None
        try:
            count = await self._count(key)
        except CountersUnavailableError:
            self._pause()
            return None
        if count.count > limit:
            self._remember(key, count)
        return Allowance(limit, count.count, count.ends_at_ms)

    async def _count(self, key: str) -> Count:
        counted: asyncio.Future[Count] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, counted))
        if self._counting is None or self._counting.done():
            self._counting = asyncio.create_task(self._count_all())
        return await counted

    async def _count_all(self) -> None:
        """Count what waits, and what comes while that is written, until nothing waits."""
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            try:
                counts = await self.counters.add(Counter(key for key, _ in batch), WINDOW_MS)
            except BaseException as failed:
                _fail(batch, failed)
                if not isinstance(failed, Exception):
                    raise
                continue
            # The counts are those after the whole batch: the last one in it has that number, each before it one less.
            left = Counter(key for key, _ in batch)
            for key, counted in batch:
                left[key] -= 1
                if not counted.done():  # its request may have been given up
                    counted.set_result(Count(counts[key].count - left[key], counts[key].ends_at_ms))

    def _remember(self, key: str, count: Count) -> None:
        if len(self._refused) >= MAX_REFUSED:
            now = now_ms()
            self._refused = {key: kept for key, kept in self._refused.items() if kept.ends_at_ms > now}
        if len(self._refused) < MAX_REFUSED:
            self._refused[key] = count

    def _pause(self) -> None:
        now = now_ms()
        self._next_try_ms = now + PAUSE_MS
        if now >= self._next_warning_ms:
            self._next_warning_ms = now + WARN_EVERY_MS
            log.warning("requests are not counted", exc_info=True)


def _fail(batch: list[tuple[str, asyncio.Future[Count]]], failed: BaseException) -> None:
    for _, counted in batch:
        if not counted.done():
            counted.set_exception(failed if isinstance(failed, Exception) else CountersUnavailableError())
