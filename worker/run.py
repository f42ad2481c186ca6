"""One claimed job from its lease to its end."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog
from sqlalchemy.exc import SQLAlchemyError

import tracing
from store.faults import part_away
from store.models import Job
from store.models.job import CLONE_BUILD, COMPLETED, FAILED, PENDING, SYNTHESIS
from store.repositories.limits import UsageRepository
from store.repositories.queue import JobQueue, Lease
from store.stores import Stores
from worker.errors import AttemptFailedError, JobFailedError, LeaseLostError, NotYetError
from worker.events import announce
from worker.handlers.base import Handler, Outcome, Report
from worker.metrics import WorkMetrics

Notify = Callable[[str], None]
"""Called with a job's id after each change of its row. A hint: whoever hears it reads the row."""

Work = Callable[[Job, Report], Awaitable[Outcome]]

# What may take its owner beyond their storage only to be refused. The prepared form of a recording that was accepted never is.
BOUNDED_KINDS = (SYNTHESIS, CLONE_BUILD)
QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
# What lies outside this machine comes back by itself; a full disk may be full of this very job.
OUTSIDE = ("database", "objects")
RETRY_S = 5.0
BEATS_A_LEASE = 3

log = structlog.get_logger(__name__)


class JobRunner:
    """Runs claimed jobs: keeps the lease alive, stops when it is lost, writes every end fenced."""

    def __init__(
        self,
        stores: Stores,
        handlers: Mapping[str, Handler],
        *,
        lease_s: float,
        max_attempts: int,
        notify: Notify,
        storage_bytes: int = 2**60,
        metrics: WorkMetrics | None = None,
    ) -> None:
        """`storage_bytes`: how much one user may have stored, unless their account says otherwise."""
        self.stores = stores
        self.handlers = handlers
        self.lease_s = lease_s
        self.max_attempts = max_attempts
        self.notify = notify
        self.storage_bytes = storage_bytes
        self.metrics = metrics or WorkMetrics()

    def new_owner(self) -> str:
        """A name for one claim, never used again, so that two claims of one process cannot be taken for each other."""
        return f"w-{secrets.token_hex(8)}"

    async def run(self, job: Job, work: Work | None = None) -> str:
        """Run a job that this process has just claimed, and return the status it is left in.

        `work` stands in for the handler's own `run`. When this is cancelled (the process stops), the job goes back to the queue.
        """
        lease = Lease(job.id, job.lease_owner or "", job.attempt)
        began, status = time.monotonic(), "interrupted"
        about: tracing.Attributes = {"voxify.job_id": job.id, "voxify.kind": job.kind, "voxify.attempt": job.attempt}
        with (
            tracing.span("job", about, parent=job.traceparent, kind="CONSUMER") as span,
            structlog.contextvars.bound_contextvars(job_id=job.id, request_id=job.request_id, attempt=job.attempt),
            self.metrics.job(job),
        ):
            if job.claimed_at is not None:
                tracing.record("claim", job.available_at, job.claimed_at, about, parent=job.traceparent)
            self.notify(job.id)
            log.info("job started", kind=job.kind)
            try:
                status = await self._guarded(job, lease, work or self.handlers[job.kind].run)
            except LeaseLostError:
                log.warning("job lost", reason="another worker has it, or it is gone")
                status = "lost"
            except asyncio.CancelledError:
                async with self.stores.database.write() as session:
                    await JobQueue(session).put_back(lease, 0, "Waiting to be tried again", count_attempt=False)
                log.info("job put back", reason="the worker stops")
                raise
            finally:
                self.notify(job.id)
                self.metrics.ended(job.kind, status, time.monotonic() - began)
                span.set({"voxify.end": status})
                if status == FAILED:
                    span.fail(status)
            log.info("job ended", status=status)
            return status

    async def _guarded(self, job: Job, lease: Lease, work: Work) -> str:
        try:
            outcome = await self._with_heartbeat(lease, work(job, self._reporter(lease)))
        except NotYetError as wait:
            log.info("job waits", reason=wait.message)
            return await self._put_back(lease, wait.retry_in_s, wait.message, count_attempt=False)
        except JobFailedError as failure:
            return await self._fail(job, lease, failure.code, failure.message)
        except AttemptFailedError as failure:
            return await self._try_again(job, lease, failure.code, failure.message)
        except LeaseLostError:
            raise
        except Exception as failure:  # noqa: BLE001 - it goes to the log below
            # The border of a job: whatever goes wrong in one must not end the worker that runs the others.
            return await self._broke(job, lease, failure)
        try:
            await self._complete(job, lease, outcome)
        except LeaseLostError:
            # Its owner has cancelled or deleted it: the sound must not wait for the sweeper.
            await self.stores.objects.delete(*outcome.stored)
            raise
        except JobFailedError as failure:
            await self.stores.objects.delete(*outcome.stored)
            return await self._fail(job, lease, failure.code, failure.message)
        await self.stores.objects.delete(*outcome.obsolete)
        return COMPLETED

    async def _broke(self, job: Job, lease: Lease, failure: Exception) -> str:
        if (part := part_away(failure)) in OUTSIDE:
            # As when the speech service is away: not the job's fault, and no attempt of it.
            log.warning("job waits", reason="store unavailable", part=part, kind=type(failure).__name__)
            return await self._put_back(lease, RETRY_S, "Waiting for the storage", count_attempt=False)
        log.error("job broke", exc_info=failure)
        return await self._try_again(job, lease, "INTERNAL_ERROR", "Something went wrong inside; it has been logged")

    async def _complete(self, job: Job, lease: Lease, outcome: Outcome) -> None:
        async with self.stores.database.write() as session:
            queue = JobQueue(session)
            if not await queue.complete(lease, **outcome.columns):
                raise LeaseLostError
            await outcome.also(session)
            # With what was just written, which is undone when it does not fit.
            if job.kind in BOUNDED_KINDS and await UsageRepository(session).overfull(job.user_id, self.storage_bytes):
                raise JobFailedError(QUOTA_EXCEEDED, "Your storage is full; delete recordings, clones or jobs and try again")
            await announce(session, await session.get_one(Job, lease.job_id))
            if outcome.wakes:
                await queue.wake(outcome.wakes)

    async def _with_heartbeat(self, lease: Lease, work: Awaitable[Outcome]) -> Outcome:
        """The outcome of `work`, which is cancelled when the lease is lost."""
        working = asyncio.ensure_future(work)
        beating = asyncio.create_task(self._beat(lease))
        try:
            await asyncio.wait((working, beating), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            beating.result()
            raise LeaseLostError  # the beat ends by raising alone
        finally:
            for task in (working, beating):
                task.cancel()
            await asyncio.gather(working, beating, return_exceptions=True)

    async def _beat(self, lease: Lease) -> None:
        clock = asyncio.get_running_loop().time
        held_until = clock() + self.lease_s
        while True:
            await asyncio.sleep(min(self.lease_s / BEATS_A_LEASE, 1.0))
            asked_at = clock()
            try:
                async with self.stores.database.write() as session:
                    held = await JobQueue(session).heartbeat(lease, self.lease_s)
            except (SQLAlchemyError, OSError):  # a refused connection comes as the latter
                log.warning("heartbeat failed", exc_info=True)
                held = clock() < held_until
            else:
                held_until = asked_at + self.lease_s
            if not held:
                raise LeaseLostError

    def _reporter(self, lease: Lease) -> Report:
        async def report(progress: float, message: str) -> None:
            try:
                async with self.stores.database.write() as session:
                    held = await JobQueue(session).report(lease, round(progress, 1), message)
            except (SQLAlchemyError, OSError) as failure:
                if part_away(failure) is None:
                    raise
                # News that nobody misses for long. Whether the lease still holds, the heartbeat finds out.
                log.warning("progress not written", reason=type(failure).__name__)
                return
            if not held:
                raise LeaseLostError
            self.notify(lease.job_id)

        return report

    async def _try_again(self, job: Job, lease: Lease, code: str, message: str) -> str:
        if job.attempt >= self.max_attempts:
            return await self._fail(job, lease, code, message)
        log.warning("attempt failed", code=code)
        self.metrics.retried(job.kind, code)
        return await self._put_back(lease, RETRY_S * 2 ** (job.attempt - 1), "Waiting to be tried again", count_attempt=True)

    async def _fail(self, job: Job, lease: Lease, code: str, message: str) -> str:
        async with self.stores.database.write() as session:
            if not await JobQueue(session).fail(lease, code, message):
                raise LeaseLostError
            await self.handlers[job.kind].on_failure(session, job, code, message)
            await announce(session, await session.get_one(Job, lease.job_id))
            await JobQueue(session).wake([job.subject_id] if job.subject_id else [])
        self.metrics.failed(job.kind, code)
        return FAILED

    async def _put_back(self, lease: Lease, delay_s: float, message: str, *, count_attempt: bool) -> str:
        async with self.stores.database.write() as session:
            if not await JobQueue(session).put_back(lease, delay_s, message, count_attempt=count_attempt):
                raise LeaseLostError
        return PENDING


async def settle(*tasks: asyncio.Task[None]) -> None:
    """Cancel the tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
