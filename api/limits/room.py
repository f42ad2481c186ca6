"""What keeps the limits, made once when the process starts."""

from __future__ import annotations

from dataclasses import dataclass

from api.limits.counters import RedisCounters, SqlCounters
from api.limits.quotas import Quotas
from api.limits.rates import RateLimiter
from settings import Settings
from store.database import Database


@dataclass(frozen=True, slots=True)
class LimitsRoom:
    rates: RateLimiter
    quotas: Quotas
    in_redis: bool

    @classmethod
    def build(cls, settings: Settings, database: Database) -> LimitsRoom:
        url = settings.redis_url.get_secret_value()
        counters = RedisCounters.at(url) if url else SqlCounters(database)
        return cls(rates=RateLimiter(counters, settings), quotas=Quotas(database, settings), in_redis=bool(url))

    def apply(self, settings: Settings) -> None:
        """Take over settings that have changed."""
        self.rates.apply(settings)
        self.quotas.apply(settings)

    async def close(self) -> None:
        await self.rates.close()
