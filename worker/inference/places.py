"""The connections to one replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx


class Places:
    """So many requests at a time, each on a connection that is its own meanwhile; the others wait in their order.

    A pool that all requests share would make them wait for one another: httpx hands a connection that falls idle to everybody in the
    queue, and all but one ask again. With 64 at a time the unlucky waited for seconds before a byte of theirs was sent.

    Args:
        count: most requests at a time.
        make: a client for one connection.
    """

    def __init__(self, count: int, make: Callable[[], httpx.AsyncClient]) -> None:
        self._left, self._make = asyncio.Semaphore(count), make
        self._idle: list[httpx.AsyncClient] = []
        self._closed = False

    @asynccontextmanager
    async def take(self, wait_s: float) -> AsyncIterator[httpx.AsyncClient]:
        """A place, waited for at most so long. Raises TimeoutError."""
        async with asyncio.timeout(wait_s):
            await self._left.acquire()
        # The one that was used last is most likely still connected.
        client = self._idle.pop() if self._idle else self._make()
        try:
            yield client
        finally:
            self._left.release()
            self._idle.append(client)
            if self._closed:
                await self.close()

    async def close(self) -> None:
        """Close what is idle now, and what is in use when it is given back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().aclose()
