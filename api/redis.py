"""One way to reach Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

TIMEOUT_S = 2.0


def redis_at(url: str) -> Redis:
    """A client that connects when it is first used. `url`: ``redis://``, ``rediss://`` or ``unix://``."""
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    # Once more on a connection that turns out to be closed; requests wait meanwhile.
    retry = Retry(NoBackoff(), retries=1)
    return Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=retry)
