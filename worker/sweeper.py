"""Puts right what a crash leaves behind: expired leases, objects and vectors that no row names."""

from __future__ import annotations

from datetime import timedelta

import structlog

from store.clock import utcnow
from store.models.job import FAILED
from store.repositories.objects import named_objects
from store.repositories.queue import JobQueue
from store.repositories.samples import SampleRepository
from worker.run import JobRunner

log = structlog.get_logger(__name__)


class Sweeper:
    def __init__(self, runner: JobRunner, *, orphan_grace_s: float) -> None:
        self.runner = runner
        self.stores = runner.stores
        self.orphan_grace = timedelta(seconds=orphan_grace_s)

    async def recover(self) -> int:
        """Take back the jobs of workers that died. How many there were."""
        async with self.stores.database.write() as session:
            recovered = await JobQueue(session).recover(self.runner.max_attempts)
            for job in recovered:
                if job.status == FAILED:
                    await self.runner.handlers[job.kind].on_failure(session, job, job.error_code or "", job.error_message or "")
        for job in recovered:
            log.warning("job recovered", job_id=job.id, status=job.status, attempt=job.attempt)
            self.runner.notify(job.id)
        return len(recovered)

    async def remove_orphans(self) -> int:
        """Remove objects older than the grace that no row names, and vectors of samples that are gone. How many there were.

        The grace covers the time between the storing of an object and the commit that names it.
        """
        oldest = utcnow() - self.orphan_grace
        old = [stat.key async for stat in self.stores.objects.list() if stat.modified_at < oldest]
        async with self.stores.database.read() as session:
            orphans = sorted(set(old) - await named_objects(session, old))
            vectors = await self.stores.vectors.ids()
            lost = sorted(set(vectors) - await SampleRepository(session).existing(vectors))
        await self.stores.objects.delete(*orphans)
        await self.stores.vectors.delete(lost)
        if orphans or lost:
            log.info("orphans removed", objects=len(orphans), vectors=len(lost))
        return len(orphans) + len(lost)
