"""The embedded worker: slots that claim jobs when the bell rings, and a sweeper behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from store.repositories.queue import JobQueue
from worker.run import JobRunner, settle
from worker.sweeper import Sweeper

SYNTHESIS_KINDS = ("synthesis", "preview")
VOICE_KINDS = ("sample_processing", "clone_build", "clone_quality", "training_removal")
TRAINING_KINDS = ("training",)
WEBHOOK_KINDS = ("webhook_delivery",)

log = structlog.get_logger(__name__)


class Worker:
    """`slots` jobs of speech at once, one of the work on voices, a few webhooks and one training: none of them waits for another."""

    def __init__(
        self,
        runner: JobRunner,
        sweeper: Sweeper,
        *,
        slots: int,
        poll_s: float,
        sweep_s: float,
        orphan_sweep_s: float,
        webhook_slots: int = 1,
    ) -> None:
        self.runner = runner
        self.sweeper = sweeper
        self.slots = slots
        self.webhook_slots = webhook_slots
        self.poll_s = poll_s
        self.sweep_s = sweep_s
        self.orphan_sweep_s = orphan_sweep_s
        self._bells: list[tuple[Collection[str], asyncio.Event]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def ring(self, kinds: Collection[str] | None = None) -> None:
        """Say that a job may be due, of any kind or of the lane of these `kinds`. Harmless when there is none."""
        for lane, bell in self._bells:
            if kinds is None or kinds == lane:
                bell.set()

    def start(self) -> None:
        lanes: list[Collection[str]] = [SYNTHESIS_KINDS] * self.slots + [VOICE_KINDS] + [WEBHOOK_KINDS] * self.webhook_slots
        lanes.append(TRAINING_KINDS)
        # A bell each: with one for all, a slot could silence it while another was between its look and its wait.
        self._bells = [(kinds, asyncio.Event()) for kinds in lanes]
        self._tasks = [asyncio.create_task(self._slot(kinds, bell)) for kinds, bell in self._bells]
        self._tasks.append(asyncio.create_task(self._every(self.sweep_s, self._recover)))
        self._tasks.append(asyncio.create_task(self._every(self.orphan_sweep_s, self.sweeper.remove_orphans)))
        self._tasks.append(asyncio.create_task(self._every(self.orphan_sweep_s, self.sweeper.prune_deliveries)))
        log.info("worker started", slots=len(lanes))

    async def stop(self, grace_s: float) -> None:
        """Claim no more; give running jobs `grace_s` seconds to end, then put them back in the queue."""
        self._stopping = True
        self.ring()
        slots, sweeps = self._tasks[: len(self._bells)], self._tasks[len(self._bells) :]
        await settle(*sweeps)
        if slots:
            _, late = await asyncio.wait(slots, timeout=grace_s)
            await settle(*late)
        log.info("worker stopped")

    @property
    def alive(self) -> bool:
        """Whether every slot and all sweeps still run."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def _slot(self, kinds: Collection[str], bell: asyncio.Event) -> None:
        while not self._stopping:
            bell.clear()
            try:
                worked = await self._claim_and_run(kinds)
            except Exception:
                # The database may be away for a while; the slot outlives it.
                log.exception("slot could not work")
                worked = False
            if not worked and not self._stopping:
                await self._wait(bell)

    async def _claim_and_run(self, kinds: Collection[str]) -> bool:
        async with self.runner.stores.database.write() as session:
            job = await JobQueue(session).claim(self.runner.new_owner(), self.runner.lease_s, kinds)
        if job is None:
            return False
        await self.runner.run(job)
        self.ring()  # what waited for this job may be due now
        return True

    async def _wait(self, bell: asyncio.Event) -> None:
        try:
            await asyncio.wait_for(bell.wait(), self.poll_s)
        except TimeoutError:
            return

    async def _recover(self) -> None:
        if await self.sweeper.recover():
            self.ring()

    async def _every(self, seconds: float, sweep: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await sweep()
            except Exception:
                log.exception("sweeper could not work")
            await asyncio.sleep(seconds)
