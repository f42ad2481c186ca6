"""What the parts of the platform tell one another: within one process, or through Redis with all the others.

All of it is hints. Whoever hears one looks into the database, and looks there from time to time without one: what is lost delays and never
lies. So nobody waits for Redis, and nothing fails when it is away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING

import structlog
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.base import ChannelsBackend
from litestar.channels.backends.memory import MemoryChannelsBackend

from api.redis import redis_at
from settings import Settings

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

RETRY_S = 1.0
"""How long nothing is said, and nothing asked for, after Redis was found to be away."""
QUIET_S = 5.0
"""After so long without a message Redis is asked whether it is there; without an answer for as long again, it is not."""

log = structlog.get_logger(__name__)


def channels_of(settings: Settings) -> ChannelsPlugin:
    """The channels of this process, opened and closed with ``async with``."""
    url = settings.redis_url.get_secret_value()
    return ChannelsPlugin(RedisBackend(redis_at(url)) if url else MemoryChannelsBackend(), arbitrary_channels_allowed=True)


class RedisBackend(ChannelsBackend):
    """Redis Pub/Sub. Litestar's own backend stops for good at the first error; this one drops what it cannot say and comes back.

    Pub/Sub knows no databases, so the number of the database is in the name of each channel: two platforms that share one Redis do not
    hear each other.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._prefix = f"voxify:{redis.get_connection_kwargs().get('db', 0)}:"
        self._heard: set[str] = set()
        self._messages: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self._listening: asyncio.Task[None] | None = None
        self._silent_until = 0.0
        self._away = False

    async def on_startup(self) -> None:
        """Begin to listen; Redis need not be there."""
        self._listening = asyncio.create_task(self._listen())

    async def on_shutdown(self) -> None:
        while self._listening is not None and not self._listening.done():
            # Again and again: a cancellation in the midst of connecting is lost in the client.
            self._listening.cancel()
            await asyncio.wait([self._listening], timeout=0.05)
        await self._redis.aclose()

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        from redis.exceptions import RedisError

        if time.monotonic() < self._silent_until:
            return
        try:
            for channel in channels:
                await self._redis.publish(f"{self._prefix}{channel}", data)
        except (RedisError, OSError) as failed:
            self._silent_until = time.monotonic() + RETRY_S
            self._note_away(failed)

    async def subscribe(self, channels: Iterable[str]) -> None:
        # One subscription has them all, so there is none that could be lost with a connection.
        self._heard.update(channels)

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        self._heard.difference_update(channels)

    async def stream_events(self) -> AsyncGenerator[tuple[str, bytes], None]:
        while True:
            yield await self._messages.get()

    async def get_history(self, channel: str, limit: int | None = None) -> list[bytes]:  # noqa: ARG002 - Litestar's signature
        """There is none: whoever comes later reads the database."""
        return []

    async def _listen(self) -> None:
        from redis.exceptions import RedisError

        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.psubscribe(f"{self._prefix}*")
                    await self._hear(pubsub)
            except (RedisError, OSError) as failed:
                self._note_away(failed)
            await asyncio.sleep(RETRY_S)

    async def _hear(self, pubsub: PubSub) -> None:
        """Raises when Redis is away."""
        asked = False
        while True:
            message = await pubsub.get_message(timeout=QUIET_S)
            if message is not None:
                asked = False
                self._note_there()
                if message["type"] == "pmessage":
                    channel = message["channel"].decode().removeprefix(self._prefix)
                    if channel in self._heard:
                        self._messages.put_nowait((channel, message["data"]))
            elif asked:
                raise TimeoutError("Redis does not answer")
            else:
                await pubsub.ping()
                asked = True

    def _note_away(self, failed: Exception) -> None:
        if not self._away:
            self._away = True
            log.warning("redis away", reason=str(failed), effect="progress and changes of settings are seen a few seconds later")

    def _note_there(self) -> None:
        if self._away:
            self._away = False
            log.info("redis back")
