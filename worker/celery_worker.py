"""A Celery worker, whose tasks do jobs as the embedded slots do."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Mapping
from concurrent.futures import Future, wait

import structlog
from celery import signals

from store.faults import database_away
from worker.beat import Ring, ring_due
from worker.celery_app import TASK, celery_app, queue_of
from worker.claims import Claims
from worker.lanes import LANES

HOLD_S = 600.0
"""So long a task holds its message at most, while the job goes on: RabbitMQ closes the channel of whoever holds one for half an hour."""

log = structlog.get_logger(__name__)


class LaneSlots:
    """The slots of each lane in one process. Whoever is woken takes a free one and does what there is to do. Lives in one event loop."""

    def __init__(self, claims: Claims, ring: Ring, lanes: Mapping[str, int]) -> None:
        self.claims = claims
        self.ring = ring
        self._free = {lane: asyncio.Semaphore(count) for lane, count in lanes.items()}
        self._working: set[asyncio.Task[None]] = set()
        self._patrolling: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    async def look(self, lane: str) -> None:
        """Do jobs of this lane until none is due. While all its slots are busy: wait for one."""
        working = asyncio.current_task()
        assert working is not None
        self._working.add(working)
        try:
            async with self._free[lane]:
                while not self._stopping and await self._one(lane):
                    # What waited for this job may be due now.
                    await ring_due(self.claims.runner.stores.database, self.ring)
        finally:
            self._working.discard(working)

    async def patrol(self, every_s: float) -> None:
        """Look into every lane with a free slot now and then, however the broker is. Runs until it is cancelled."""
        while not self._stopping:
            # Not all processes at the same moment.
            await asyncio.sleep(every_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            for lane in [lane for lane, free in self._free.items() if not free.locked()]:
                if lane not in self._patrolling:
                    self._patrolling[lane] = asyncio.create_task(self._patrol(lane))

    async def _patrol(self, lane: str) -> None:
        try:
            await self.look(lane)
        except Exception as failure:
            # The database may be away for a while, which it says itself.
            if not database_away(failure):
                log.exception("slot could not work")
        finally:
            del self._patrolling[lane]

    async def drain(self, grace_s: float) -> None:
        """Claim no more; give running jobs `grace_s` seconds to end, then put them back in the queue."""
        self._stopping = True
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        log.info("worker drained")

    async def _one(self, lane: str) -> bool:
        # There may be more of them: one message is enough for any number of jobs and slots.
        return await self.claims.claim_and_run(LANES[lane], claimed=lambda: self.ring(LANES[lane]))


def hold(looking: Future[None], lane: str, hold_s: float = HOLD_S) -> None:
    """Wait for what a message has set off, at most `hold_s` seconds; then it goes on alone. Raises nothing, however that ends."""
    wait([looking], hold_s)
    if not looking.done():
        log.info("message let go", lane=lane, reason="its job goes on")
    elif not looking.cancelled() and (failed := looking.exception()) is not None and not database_away(failed):
        # Of a database that is away is said elsewhere; the beat rings again.
        log.error("slot could not work", exc_info=failed)


def work(broker_url: str, slots: LaneSlots, lanes: Mapping[str, int], loop: asyncio.AbstractEventLoop, *, drain_s: float) -> int:
    """Take messages until SIGTERM or SIGINT; the exit status. For the main thread, while `loop` runs in another.

    `drain_s`: how long running jobs may then take to end, in seconds.
    """
    app = celery_app(broker_url, lanes)

    @app.task(name=TASK, shared=False)
    def look(lane: str) -> None:
        if lane not in lanes:
            return
        looking = asyncio.run_coroutine_threadsafe(slots.look(lane), loop)
        hold(looking, lane)

    def keep_logging(**_: object) -> None:
        """Celery sets up logging of its own where nobody listens to this."""

    draining = threading.Event()

    def drain(**_: object) -> None:
        # Called by the handler of the signal: the pool's threads are who waits.
        if not draining.is_set():
            draining.set()
            asyncio.run_coroutine_threadsafe(slots.drain(drain_s), loop)

    signals.setup_logging.connect(keep_logging)
    signals.worker_shutting_down.connect(drain)
    try:
        worker = app.Worker(
            pool="threads",
            concurrency=sum(lanes.values()),
            queues=[queue_of(lane) for lane in lanes],
            hostname=f"voxify-{'-'.join(lanes)}-{os.getpid()}@%h",
            quiet=True,
            without_gossip=True,
            without_mingle=True,
        )
        log.info("worker started", slots=dict(lanes), engine="celery")
        worker.start()
        return int(worker.exitcode or 0)
    finally:
        signals.worker_shutting_down.disconnect(drain)
        signals.setup_logging.disconnect(keep_logging)
