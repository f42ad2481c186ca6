"""Jobs that a service of our own works on, instead of our workers."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import ConflictError, ValidationFailedError, found
from api.jobs.schemas import JobPatch
from api.jobs.transitions import check_transition, invalid_transition, require_synthesis
from api.limits.quotas import Quotas
from audio.encode import extension
from store.models import Job
from store.models.job import CANCELLED, COMPLETED, FAILED, PENDING, PROCESSING
from store.objects import ObjectNotFoundError, ObjectStat
from store.repositories.jobs import JobRepository
from store.repositories.queue import JobQueue, Lease
from store.stores import Stores
from worker.events import announce

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SERVICE_FAILED = "SERVICE_FAILED"


class Handover:
    """A service takes a job by making it `processing`, and then has its lease as a worker would: every later word of it is fenced on that
    lease and extends it. Our workers leave the job alone until the lease runs out; then it goes back to the queue.

    Nobody can tell a job of one of our workers, or of another service, how far it is or that it has ended.
    """

    def __init__(self, stores: Stores, quotas: Quotas, *, lease_s: float, ring: Callable[[], None], notify: Callable[[str], None]) -> None:
        """`lease_s`: seconds after which a service that is not heard of has lost its job."""
        self.stores = stores
        self.quotas = quotas
        self.lease_s = lease_s
        self.ring = ring
        self.notify = notify

    async def patch(self, service_id: str, job_id: str, wanted: JobPatch) -> tuple[Job, str | None]:
        """The job as it is afterwards, and the lease of the service if it holds one.

        Raises:
            ConflictError: ``INVALID_STATUS_TRANSITION``; ``JOB_NOT_PROCESSING`` for news of a job that nobody works on; ``JOB_LEASE_LOST``
                when somebody else has the job.
            QuotaExceededError: the owner has no room for the sound; the service still has the job, and can say that it failed.
            ValidationFailedError: a path that names no object of this job in its format, or fields that say nothing in this status.
        """
        stat = await self._stat(job_id, wanted.output_file_path)
        async with self.stores.database.write() as session:
            job = found(await JobRepository(session).get_for_update(job_id), "job")
            require_synthesis(job)
            _check_format(job, stat)
            lease = await self._write(session, service_id, job, wanted, stat)
            if stat is not None:
                await self.quotas.require_fit(session, job.user_id)
            await announce(session, job)
        self.notify(job_id)
        if job.status in {PENDING, CANCELLED}:
            self.ring()
        return job, lease.owner if lease is not None and job.status == PROCESSING else None

    async def _write(self, session: AsyncSession, service_id: str, job: Job, wanted: JobPatch, stat: ObjectStat | None) -> Lease | None:
        queue, jobs, before = JobQueue(session), JobRepository(session), job.status
        if wanted.status is None and before != PROCESSING:
            raise ConflictError(f"The job is {before}; nobody works on it", code="JOB_NOT_PROCESSING")
        again = wanted.status == before == PROCESSING and wanted.lease is not None
        if wanted.status is not None and not again:
            check_transition(job, wanted.status)
        if wanted.status in {CANCELLED, PENDING}:
            _refuse(wanted, "progress", "error_message", "output_file_path", "duration")
            if not await (jobs.cancel(job.id) if wanted.status == CANCELLED else jobs.retry(job.id)):
                raise invalid_transition(before, wanted.status)
            return None
        if before == PENDING and wanted.status == FAILED:
            _refuse(wanted, "progress", "output_file_path", "duration")
            if not await jobs.fail_pending(job.id, SERVICE_FAILED, _reason(wanted)):
                raise invalid_transition(before, FAILED)
            return None
        if before == PENDING:
            # A name for this one claim: a service that takes the same job twice must not be taken for its former self.
            taken = await queue.take(job.id, f"{_holder(service_id)}{secrets.token_hex(8)}", self.lease_s)
            if taken is None:
                raise invalid_transition(before, PROCESSING)
            lease = taken
        else:
            lease = _held(job, service_id, wanted)
        if not await self._say(queue, lease, wanted, stat):
            raise _lost()
        return lease

    async def _say(self, queue: JobQueue, lease: Lease, wanted: JobPatch, stat: ObjectStat | None) -> bool:
        columns: dict[str, Any] = {}
        if stat is not None:
            columns |= {"output_path": stat.key, "output_size": stat.size}
        if wanted.duration is not None:
            columns["duration"] = wanted.duration
        if wanted.status == COMPLETED:
            return await queue.complete(lease, **columns)
        if wanted.progress is not None:
            columns["progress"] = round(wanted.progress, 1)
        if wanted.status == FAILED:
            return await queue.note(lease, self.lease_s, **columns) and await queue.fail(lease, SERVICE_FAILED, _reason(wanted))
        if wanted.error_message is not None:
            columns["error_message"] = wanted.error_message
        return await queue.note(lease, self.lease_s, **columns)

    async def _stat(self, job_id: str, path: str | None) -> ObjectStat | None:
        if path is None:
            return None
        folder, _, name = path.rpartition("/")
        # The very form of a key of this job, so that there is no way round about it (`..`, `//`, another job's folder).
        if folder != f"jobs/{job_id}" or _NAME.fullmatch(name) is None:
            raise _no_object()
        try:
            return await self.stores.objects.stat(path)
        except ObjectNotFoundError:
            raise _no_object() from None


def _holder(service_id: str) -> str:
    return f"s-{service_id}-"


def _held(job: Job, service_id: str, wanted: JobPatch) -> Lease:
    """The lease of the service on a job that is worked on. Raises ConflictError when it has none."""
    owner = job.lease_owner or ""
    if not owner.startswith(_holder(service_id)) or wanted.lease not in {None, owner}:
        raise _lost()
    return Lease(job.id, owner, job.attempt)


def _lost() -> ConflictError:
    return ConflictError("Somebody else works on this job", code="JOB_LEASE_LOST")


def _no_object() -> ValidationFailedError:
    return ValidationFailedError({"output_file_path": "names no object of this job"})


def _check_format(job: Job, stat: ObjectStat | None) -> None:
    if stat is not None and not stat.key.endswith(extension(job.output_format)):
        raise ValidationFailedError(
            {"output_file_path": f"must be {job.output_format}, as the job asks, and end in {extension(job.output_format)}"}
        )


def _refuse(wanted: JobPatch, *names: str) -> None:
    if said := wanted.model_fields_set.intersection(names):
        raise ValidationFailedError(dict.fromkeys(sorted(said), f"cannot be said of a job that becomes {wanted.status}"))


def _reason(wanted: JobPatch) -> str:
    return wanted.error_message or "The service that worked on it gave no reason"
