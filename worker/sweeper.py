"""Puts right what a crash leaves behind: expired leases, objects and vectors that no row names."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog

from store.clock import utcnow
from store.index import mend_vectors
from store.models.job import CLONE_BUILD, CLONE_QUALITY, FAILED, MAIL, SAMPLE_PROCESSING, SYNTHESIS, TRAINING_REMOVAL
from store.repositories.jobs import JobRepository
from store.repositories.objects import named_objects
from store.repositories.queue import JobQueue
from store.repositories.webhooks import DeliveryRepository
from store.vectors import VectorsUnavailableError
from worker.events import announce
from worker.run import JobRunner
from worker.temporary import remove_left_behind

# Not previews, which the library plays, nor trainings, which voices speak with; deliveries have a limit of their own.
PRUNED = (SYNTHESIS, SAMPLE_PROCESSING, CLONE_BUILD, CLONE_QUALITY, TRAINING_REMOVAL)
PRUNE_BATCH = 200
MAIL_KEEP_DAYS = 1

log = structlog.get_logger(__name__)


class Sweeper:
    def __init__(
        self,
        runner: JobRunner,
        *,
        orphan_grace_s: float,
        delivery_keep_s: float = 30 * 86400,
        job_keep_days: float = 0,
        longest_lease_s: float = 3600,
    ) -> None:
        """
        Args:
            job_keep_days: how long jobs that have ended are kept with their sound; 0: until their owner deletes them.
            longest_lease_s: of all who may hold a job.
        """
        self.runner = runner
        self.longest_lease_s = longest_lease_s
        self.stores = runner.stores
        self.orphan_grace = timedelta(seconds=orphan_grace_s)
        self.delivery_keep = timedelta(seconds=delivery_keep_s)
        self.job_keep_days = job_keep_days

    async def recover(self) -> int:
        """Take back the jobs of workers that died. How many there were."""
        async with self.stores.database.write() as session:
            if stepped := await JobQueue(session).follow_clock(self.longest_lease_s):
                log.warning("the clock was set back", jobs=stepped)
            recovered = await JobQueue(session).recover(self.runner.max_attempts)
            for job in recovered:
                if job.status == FAILED:
                    await self.runner.handlers[job.kind].on_failure(session, job, job.error_code or "", job.error_message or "")
                    await announce(session, job)
        for job in recovered:
            log.warning("job recovered", job_id=job.id, status=job.status, attempt=job.attempt)
            self.runner.metrics.lease_expired(job.kind)
            if job.status == FAILED:
                self.runner.metrics.failed(job.kind, job.error_code or "")
            self.runner.notify(job.id)
        return len(recovered)

    async def prune_deliveries(self) -> int:
        """Remove what is known of webhooks that were sent long ago. How many deliveries there were."""
        async with self.stores.database.write() as session:
            return await DeliveryRepository(session).prune(utcnow() - self.delivery_keep)

    async def prune_jobs(self) -> int:
        """Remove jobs that ended long ago, with their sound, and mail that is done with. How many jobs there were."""
        now = utcnow()
        keep = {PRUNED: self.job_keep_days} if self.job_keep_days else {}
        removed = 0
        for kinds, days in (keep | {(MAIL,): MAIL_KEEP_DAYS}).items():
            # A few at a time, so that nobody waits long for the database.
            while batch := await self._prune(kinds, now - timedelta(days=days)):
                removed += batch
        if removed:
            log.info("jobs removed", count=removed)
        return removed

    async def _prune(self, kinds: tuple[str, ...], before: datetime) -> int:
        # Found before it is removed: to look for them may take a while, in which others want to write.
        async with self.stores.database.read() as session:
            old = await JobRepository(session).ended_before(kinds, before, PRUNE_BATCH)
        if not old:
            return 0
        async with self.stores.database.write() as session:
            removed = await JobRepository(session).prune(old, before)
        # After the commit: should this process die in between, the sweep for orphans removes them.
        await self.stores.objects.delete_or_leave(*removed)
        return len(removed)

    async def remove_orphans(self) -> int:
        """Remove objects older than the grace that no row names or that are only half there, and vectors of samples and clones that are
        gone. How many there were. Vectors that are missing are put back.

        The grace covers the time between the storing of an object and the commit that names it.
        """
        oldest = utcnow() - self.orphan_grace
        old = [stat.key async for stat in self.stores.objects.list() if stat.modified_at < oldest]
        async with self.stores.database.read() as session:
            orphans = sorted(set(old) - await named_objects(session, old))
        await self.stores.objects.delete(*orphans)
        unfinished = await self.stores.objects.remove_unfinished(oldest) + await asyncio.to_thread(remove_left_behind)
        put, lost = await self._mend_vectors()
        if orphans or lost or put or unfinished:
            log.info("orphans removed", objects=len(orphans), vectors=lost, unfinished=unfinished, vectors_put_back=put)
        return len(orphans) + lost + unfinished

    async def _mend_vectors(self) -> tuple[int, int]:
        try:
            return await mend_vectors(self.stores)
        except VectorsUnavailableError:
            return 0, 0  # it is in the log, and the next sweep comes
