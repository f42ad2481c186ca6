"""What has to be done again and again, whoever does it: two processes that do it at once are no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from store.database import Database
from store.faults import database_away
from store.repositories.queue import JobQueue
from worker.lanes import LANES
from worker.run import settle
from worker.sweeper import Sweeper

Ring = Callable[..., None]
"""Say that a job may be due, of any kind or of the lane of the kinds that are given. It neither waits nor fails."""

log = structlog.get_logger(__name__)


class Beat:
    """Takes back expired leases, removes what nobody needs any more, and rings for what is due.

    `look_s`: how often the lanes in which a job is due are rung for, so that a bell that was lost is a short delay; None where the slots
    look for themselves.
    """

    def __init__(self, sweeper: Sweeper, ring: Ring, *, sweep_s: float, orphan_sweep_s: float, look_s: float | None = None) -> None:
        self.sweeper = sweeper
        self.ring = ring
        self.sweep_s = sweep_s
        self.orphan_sweep_s = orphan_sweep_s
        self.look_s = look_s
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        sweeper = self.sweeper
        work: list[tuple[float, Callable[[], Awaitable[object]]]] = [(self.sweep_s, self._recover)]
        work += [(self.orphan_sweep_s, each) for each in (sweeper.remove_orphans, sweeper.prune_deliveries, sweeper.prune_jobs)]
        if self.look_s is not None:
            work.append((self.look_s, self._ring_due))
        self._tasks = [asyncio.create_task(self._every(seconds, each)) for seconds, each in work]

    async def stop(self) -> None:
        await settle(*self._tasks)

    @property
    def alive(self) -> bool:
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def _recover(self) -> None:
        if await self.sweeper.recover():
            self.ring()

    async def _ring_due(self) -> None:
        await ring_due(self.sweeper.stores.database, self.ring)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await work()
            except Exception as failure:
                if not database_away(failure):
                    log.exception("sweeper could not work")
            await asyncio.sleep(seconds)


async def ring_due(database: Database, ring: Ring) -> None:
    """Ring for the lanes in which a job could begin now."""
    async with database.read() as session:
        due = await JobQueue(session).due()
    for kinds in LANES.values():
        if due.intersection(kinds):
            ring(kinds)
