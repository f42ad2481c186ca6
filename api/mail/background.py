"""Work that an answer does not wait for, and a shutdown does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)

# Things done at once; the rest wait.
SLOTS = 4


class Background:
    """Runs things after the answer. What fails is logged, without what was in it; nobody else would learn of it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(SLOTS)

    def start(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Call `work` soon. `what` is its name in the log."""
        task = asyncio.create_task(self._run(what, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait until all that was started has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self, grace_s: float) -> None:
        """As :meth:`settle`, for `grace_s` seconds at most; then give the rest up and say so."""
        try:
            await asyncio.wait_for(self.settle(), grace_s)
        except TimeoutError:
            left = set(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            log.error("background work given up at shutdown", count=len(left))  # noqa: TRY400 - a timeout has no story

    async def _run(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            async with self._slots:
                await work()
        except Exception:
            # The last place that can say it.
            log.exception("background work failed", what=what)
