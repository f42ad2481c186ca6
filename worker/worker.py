"""Slots that claim jobs when the bell rings, or after a while without one: in the API process, or in one of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import structlog

from store.faults import database_away
from worker.beat import Beat
from worker.claims import Claims
from worker.lanes import LANES
from worker.run import JobRunner, settle
from worker.sweeper import Sweeper

log = structlog.get_logger(__name__)


class Worker:
    """`lanes`: how many jobs of each are done at once; none of them waits for another. A lane that is not named is left to others."""

    def __init__(
        self,
        runner: JobRunner,
        sweeper: Sweeper,
        *,
        lanes: Mapping[str, int],
        poll_s: float,
        sweep_s: float,
        orphan_sweep_s: float,
        claims: Claims | None = None,
    ) -> None:
        self.runner = runner
        self.sweeper = sweeper
        self.claims = claims or Claims(runner)
        self.lanes = lanes
        self.poll_s = poll_s
        self._beat = Beat(sweeper, self.ring, sweep_s=sweep_s, orphan_sweep_s=orphan_sweep_s)
        self._bells: list[tuple[Collection[str], asyncio.Event]] = []
        self._slots: list[asyncio.Task[None]] = []
        self._stopping = False

    def ring(self, kinds: Collection[str] | None = None) -> None:
        """Say that a job may be due, of any kind or of the lane of these `kinds`. Harmless when there is none."""
        for lane, bell in self._bells:
            if kinds is None or kinds == lane:
                bell.set()

    def start(self) -> None:
        # A bell each: with one for all, a slot could silence it while another was between its look and its wait.
        self._bells = [(LANES[lane], asyncio.Event()) for lane, count in self.lanes.items() for _ in range(count)]
        self._slots = [asyncio.create_task(self._slot(kinds, bell)) for kinds, bell in self._bells]
        self._beat.start()
        log.info("worker started", slots=dict(self.lanes))

    async def stop(self, grace_s: float) -> None:
        """Claim no more; give running jobs `grace_s` seconds to end, then put them back in the queue."""
        self._stopping = True
        self.ring()
        await self._beat.stop()
        if self._slots:
            _, late = await asyncio.wait(self._slots, timeout=grace_s)
            await settle(*late)
        log.info("worker stopped")

    @property
    def alive(self) -> bool:
        """Whether every slot and all sweeps still run."""
        return self._beat.alive and not any(slot.done() for slot in self._slots)

    async def _slot(self, kinds: Collection[str], bell: asyncio.Event) -> None:
        while not self._stopping:
            bell.clear()
            try:
                worked = await self.claims.claim_and_run(kinds)
            except Exception as failure:
                # The database may be away for a while, which it says itself; the slot outlives it.
                if not database_away(failure):
                    log.exception("slot could not work")
                worked = False
            if worked:
                self.ring()  # what waited for this job may be due now
            elif not self._stopping:
                await self._wait(bell)

    async def _wait(self, bell: asyncio.Event) -> None:
        try:
            await asyncio.wait_for(bell.wait(), self.poll_s)
        except TimeoutError:
            return
