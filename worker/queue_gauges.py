"""The queue as Prometheus sees it: read from the database when somebody looks, and not more often than it is worth.

Every process that exports them tells of the same queue: take the maximum over the processes, not the sum.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy.exc import SQLAlchemyError

from store.clock import utcnow
from store.database import Database
from store.faults import database_away
from store.repositories.depth import Depth, DepthRepository
from worker.lanes import LANES, OTHER, lane_of

FRESH_S = 2.0
"""A look serves everybody who comes within this time."""
SHARE = 20
"""And for so many times the time that it took: looking never takes more than a part of the database."""
TIMEOUT_S = 3.0

log = structlog.get_logger(__name__)


class QueueGauges:
    def __init__(self, registry: CollectorRegistry, *, fresh_s: float = FRESH_S, timeout_s: float = TIMEOUT_S) -> None:
        self._fresh_s = fresh_s
        self._timeout_s = timeout_s
        self._looking = asyncio.Lock()
        self._good_until = 0.0
        self.oldest = Gauge("voxify_queue_oldest_seconds", "How long the oldest job that is due has waited", ["lane"], registry=registry)
        self.depth = Gauge("voxify_queue_depth", "Jobs that have not ended", ["lane", "status"], registry=registry)
        self.readable = Gauge("voxify_queue_readable", "Whether the database could be asked about the queue", registry=registry)

    async def refresh(self, database: Database) -> None:
        """Look, unless that was done just now. While the database cannot be asked there are no numbers rather than old ones."""
        async with self._looking:
            began = time.monotonic()
            if began < self._good_until:
                return
            try:
                async with asyncio.timeout(self._timeout_s), database.read() as session:
                    now = utcnow()
                    kinds = await DepthRepository(session).by_kind(now)
            except (SQLAlchemyError, OSError, TimeoutError) as unreadable:
                if not (database_away(unreadable) or database.outage.lasts):
                    log.warning("queue cannot be read", reason=type(unreadable).__name__)
                self.readable.set(0)
                self.oldest.clear()
                self.depth.clear()
                self._good_until = began + self._fresh_s
            else:
                self.readable.set(1)
                lanes: dict[str, list[Depth]] = {lane: [] for lane in (*LANES, OTHER)}
                for kind, depth in kinds.items():
                    lanes[lane_of(kind)].append(depth)
                for lane, depths in lanes.items():
                    since = [depth.oldest_due_at for depth in depths if depth.oldest_due_at is not None]
                    self.oldest.labels(lane).set((now - min(since)).total_seconds() if since else 0.0)
                    for status in ("due", "delayed", "processing"):
                        self.depth.labels(lane, status).set(sum(getattr(depth, status) for depth in depths))
                self._good_until = began + max(self._fresh_s, SHARE * (time.monotonic() - began))

    async def keep_fresh(self, database: Database, every_s: float = 5.0) -> None:
        """Look again and again, for a process whose metrics are read without it being asked. Runs until it is cancelled."""
        while True:
            await self.refresh(database)
            await asyncio.sleep(every_s)
