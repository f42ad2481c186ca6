"""Where requests are counted, so that all processes together keep one limit: in the database, or in Redis."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import SQLAlchemyError

from api.redis import redis_at
from store.database import Database
from store.repositories.limits import Count, CounterRepository, counting

if TYPE_CHECKING:
    from redis.asyncio import Redis

SWEEP_EVERY_MS = 3600 * 1000
REDIS_PREFIX = "voxify:"

# The window begins with its first count. INCRBY keeps the end that is set; a key without one must never stay.
_ADD = """
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  left = tonumber(ARGV[2])
end
return {count, left}
"""


class CountersUnavailableError(Exception):
    """Nothing can be counted now."""

    code = "COUNTERS_UNAVAILABLE"


def now_ms() -> int:
    """Milliseconds of Unix time."""
    return time.time_ns() // 1_000_000


class Counters(Protocol):
    async def add(self, amounts: Mapping[str, int], window_ms: int) -> Mapping[str, Count]:
        """Add to each counter, atomically, and what each is then. A counter begins anew `window_ms` after its first count.

        Raises:
            CountersUnavailableError: it could not be done.
        """

    async def check(self) -> None:
        """Raises when there is nothing to count with."""

    async def close(self) -> None: ...


class SqlCounters:
    """One upsert for all that is counted at once. The clocks of the hosts should agree to within a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next_sweep_ms = 0

    async def add(self, amounts: Mapping[str, int], window_ms: int) -> Mapping[str, Count]:
        try:
            now = now_ms()
            if now >= self._next_sweep_ms:
                self._next_sweep_ms = now + SWEEP_EVERY_MS
                async with self._database.write() as session:
                    await CounterRepository(session).sweep(now)
            added = await self._database.run_alone(*counting(amounts, now, now + window_ms))
            return {key: Count(count, ends) for key, count, ends in added}
        except (SQLAlchemyError, OSError) as failed:  # a refused connection comes as the latter
            raise CountersUnavailableError from failed

    async def check(self) -> None:
        """The database has a check of its own."""

    async def close(self) -> None:
        """The database is closed by who opened it."""


class RedisCounters:
    """One round trip for all that is counted at once, and one atomic script a counter, so that a cluster can spread the keys."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = redis.register_script(_ADD)

    @classmethod
    def at(cls, url: str) -> RedisCounters:
        """See :func:`api.redis.redis_at`."""
        return cls(redis_at(url))

    async def add(self, amounts: Mapping[str, int], window_ms: int) -> Mapping[str, Count]:
        from redis.exceptions import RedisError

        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key, amount in amounts.items():
                    await self._script(keys=[f"{REDIS_PREFIX}{key}"], args=[amount, window_ms], client=pipe)
                answers = await pipe.execute()
        except (RedisError, OSError) as failed:
            raise CountersUnavailableError from failed
        now = now_ms()
        return {key: Count(count, now + left) for key, (count, left) in zip(amounts, answers, strict=True)}

    async def check(self) -> None:
        await self._redis.ping()

    async def close(self) -> None:
        await self._redis.aclose()
