"""What a process changes and others remember for a moment, told to them at once. They look for themselves after that moment anyway."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping

import structlog
from litestar.channels import ChannelsPlugin, Subscriber

from api.admin.live import LiveSettings
from store.database import Database

ACCOUNTS = "accounts"
SETTINGS = "settings"

log = structlog.get_logger(__name__)


class Notices:
    """`account_changes` of the database and the live settings, kept up with those of the other processes."""

    def __init__(self, channels: ChannelsPlugin, database: Database, live: LiveSettings) -> None:
        self._channels = channels
        self._database = database
        self._live = live
        self._me = secrets.token_bytes(8)  # what this process says comes back to it
        self._listening: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to tell and to listen."""
        hear: Mapping[str, Callable[[], Awaitable[None]]] = {ACCOUNTS: self._forget_accounts, SETTINGS: self._live.refresh}
        for channel, act in hear.items():
            self._listening.append(asyncio.create_task(self._listen(await self._channels.subscribe(channel), act)))
        self._database.on_account_change = lambda: self._tell(ACCOUNTS)
        self._live.on_change = lambda: self._tell(SETTINGS)

    async def close(self) -> None:
        """Tell and hear no more."""
        self._database.on_account_change = self._live.on_change = _nobody
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)

    def _tell(self, channel: str) -> None:
        self._channels.publish(self._me, channel)

    async def _listen(self, heard: Subscriber, act: Callable[[], Awaitable[None]]) -> None:
        async for who in heard.iter_events():
            if who == self._me:
                continue
            try:
                await act()
            except Exception:
                # The database may be away; who remembers something looks again by itself.
                log.warning("notice could not be followed", exc_info=True)

    async def _forget_accounts(self) -> None:
        self._database.account_changes += 1


def _nobody() -> None:
    """Nobody is told any more."""
