"""Puts right what a crash leaves behind: expired leases, objects and vectors that no row names."""

from __future__ import annotations

from datetime import timedelta

import structlog

from store.clock import utcnow
from store.models.job import FAILED
from store.repositories.clones import CloneRepository
from store.repositories.objects import named_objects
from store.repositories.queue import JobQueue
from store.repositories.samples import SampleRepository
from store.repositories.webhooks import DeliveryRepository
from worker.events import announce
from worker.run import JobRunner

log = structlog.get_logger(__name__)


class Sweeper:
    def __init__(self, runner: JobRunner, *, orphan_grace_s: float, delivery_keep_s: float = 30 * 86400) -> None:
        self.runner = runner
        self.stores = runner.stores
        self.orphan_grace = timedelta(seconds=orphan_grace_s)
        self.delivery_keep = timedelta(seconds=delivery_keep_s)

    async def recover(self) -> int:
        """Take back the jobs of workers that died. How many there were."""
        async with self.stores.database.write() as session:
            recovered = await JobQueue(session).recover(self.runner.max_attempts)
            for job in recovered:
                if job.status == FAILED:
                    await self.runner.handlers[job.kind].on_failure(session, job, job.error_code or "", job.error_message or "")
                    await announce(session, job)
        for job in recovered:
            log.warning("job recovered", job_id=job.id, status=job.status, attempt=job.attempt)
            self.runner.notify(job.id)
        return len(recovered)

    async def prune_deliveries(self) -> int:
        """Remove what is known of webhooks that were sent long ago. How many deliveries there were."""
        async with self.stores.database.write() as session:
            return await DeliveryRepository(session).prune(utcnow() - self.delivery_keep)

    async def remove_orphans(self) -> int:
        """Remove objects older than the grace that no row names or that are only half there, and vectors of samples and clones that are
        gone. How many there were.

        The grace covers the time between the storing of an object and the commit that names it.
        """
        oldest = utcnow() - self.orphan_grace
        old = [stat.key async for stat in self.stores.objects.list() if stat.modified_at < oldest]
        async with self.stores.database.read() as session:
            orphans = sorted(set(old) - await named_objects(session, old))
            vectors = await self.stores.vectors.ids()
            kept = await SampleRepository(session).existing(vectors) | await CloneRepository(session).existing(vectors)
            lost = sorted(set(vectors) - kept)
        await self.stores.objects.delete(*orphans)
        await self.stores.vectors.delete(lost)
        unfinished = await self.stores.objects.remove_unfinished(oldest)
        if orphans or lost or unfinished:
            log.info("orphans removed", objects=len(orphans), vectors=len(lost), unfinished=unfinished)
        return len(orphans) + len(lost) + unfinished
