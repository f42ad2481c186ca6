"""One claimed job from its lease to its end."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError

import tracing
from store.faults import database_away, part_away
from store.models import Job
from store.models.job import CLONE_BUILD, COMPLETED, FAILED, PENDING, SYNTHESIS
from store.repositories.limits import UsageRepository
from store.repositories.queue import JobQueue, Lease
from store.stores import Stores
from worker.errors import AttemptFailedError, JobFailedError, LeaseLostError, NotYetError
from worker.events import announce
from worker.handlers.base import Handler, Outcome, Report
from worker.insist import insist
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
TAKEN = "another worker has it, or it is gone"
UNHEARD = "no sign of life could be written for as long as the lease lasts"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Held:
    """A lease as its holder knows it: `until` is a time of the event loop's clock, never later than the database's."""

    lease: Lease
    until: float


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

    async def run(self, job: Job, work: Work | None = None, *, asked_at: float | None = None, lane: str = "") -> str:
        """Run a job that this process has just claimed, and return the status it is left in.

        `work` stands in for the handler's own `run`; `asked_at` is when the claim was begun, by the clock of the event loop, if that was
        not just now; `lane` is the one in which it was its user's turn, if it was. When this is cancelled (the process stops), the job goes
        back to the queue.
        """
        asked_at = asyncio.get_running_loop().time() if asked_at is None else asked_at
        held = _Held(Lease(job.id, job.lease_owner or "", job.attempt, lane), asked_at + self.lease_s)
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
                status = await self._guarded(job, held, work or self.handlers[job.kind].run)
            except LeaseLostError as lost:
                log.warning("job lost", reason=str(lost) or TAKEN)
                status = "lost"
            except asyncio.CancelledError:
                await self._leave(held.lease)
                raise
            except (SQLAlchemyError, OSError) as failure:
                if database_away(failure):
                    log.warning("job not ended", reason="the database is away; its lease runs out")
                raise
            finally:
                self.notify(job.id)
                self.metrics.ended(job.kind, status, time.monotonic() - began)
                span.set({"voxify.end": status})
                if status == FAILED:
                    span.fail(status)
            log.info("job ended", status=status)
            return status

    async def _leave(self, lease: Lease) -> None:
        """Put back what the process, which stops, will not finish."""
        try:
            async with self.stores.database.write() as session:
                await JobQueue(session).put_back(lease, 0, "Waiting to be tried again", count_attempt=False)
        except (SQLAlchemyError, OSError) as failure:
            if not database_away(failure):
                raise
            log.warning("job not put back", reason="the worker stops and the database is away; its lease runs out")
        else:
            log.info("job put back", reason="the worker stops")

    async def _guarded(self, job: Job, held: _Held, work: Work) -> str:
        try:
            outcome = await self._with_heartbeat(held, work(job, self._reporter(held.lease)))
        except NotYetError as wait:
            log.info("job waits", reason=wait.message)
            return await self._put_back(held, wait.retry_in_s, wait.message, count_attempt=False)
        except JobFailedError as failure:
            return await self._fail(job, held, failure.code, failure.message)
        except AttemptFailedError as failure:
            return await self._try_again(job, held, failure.code, failure.message)
        except LeaseLostError:
            raise
        except Exception as failure:  # noqa: BLE001 - it goes to the log below
            # The border of a job: whatever goes wrong in one must not end the worker that runs the others.
            return await self._broke(job, held, failure)
        # From here on there is no heartbeat: one that comes behind the end would find the lease lost.
        try:
            await self._complete(job, held, outcome)
        except LeaseLostError:
            # Its owner has cancelled or deleted it: the sound must not wait for the sweeper.
            await self.stores.objects.delete_or_leave(*outcome.stored)
            raise
        except JobFailedError as failure:
            await self.stores.objects.delete_or_leave(*outcome.stored)
            return await self._fail(job, held, failure.code, failure.message)
        await self.stores.objects.delete_or_leave(*outcome.obsolete)
        return COMPLETED

    async def _broke(self, job: Job, held: _Held, failure: Exception) -> str:
        if (part := part_away(failure)) in OUTSIDE:
            # As when the speech service is away: not the job's fault, and no attempt of it.
            log.warning("job waits", reason="store unavailable", part=part, kind=type(failure).__name__)
            return await self._put_back(held, RETRY_S, "Waiting for the storage", count_attempt=False)
        log.error("job broke", exc_info=failure)
        return await self._try_again(job, held, "INTERNAL_ERROR", "Something went wrong inside; it has been logged")

    async def _complete(self, job: Job, held: _Held, outcome: Outcome) -> None:
        async def write() -> None:
            async with self.stores.database.write() as session:
                queue = JobQueue(session)
                if not await queue.complete(held.lease, **outcome.columns):
                    await _require_ended(queue, held.lease, COMPLETED)
                    return
                await outcome.also(session)
                # With what was just written, which is undone when it does not fit.
                if job.kind in BOUNDED_KINDS and await UsageRepository(session).overfull(job.user_id, self.storage_bytes):
                    raise JobFailedError(QUOTA_EXCEEDED, "Your storage is full; delete recordings, clones or jobs and try again")
                await announce(session, await session.get_one(Job, job.id))
                if outcome.wakes:
                    await queue.wake(outcome.wakes)
                await queue.end_turn(held.lease, job.user_id)

        await insist(write, until=held.until)

    async def _with_heartbeat(self, held: _Held, work: Awaitable[Outcome]) -> Outcome:
        """The outcome of `work`, which is cancelled when the lease is lost, or may be because nobody could be told that it is worked on."""
        clock = asyncio.get_running_loop().time
        working = asyncio.ensure_future(work)
        beating = asyncio.create_task(self._beat(held))
        try:
            # Not left to the beat, which may just wait for a database that stands still.
            while not (working.done() or beating.done()) and (left := held.until - clock()) > 0:
                await asyncio.wait((working, beating), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if beating.done():
                beating.result()
            raise LeaseLostError(UNHEARD)
        finally:
            for task in (working, beating):
                task.cancel()
            await asyncio.gather(working, beating, return_exceptions=True)

    async def _beat(self, held: _Held) -> None:
        clock = asyncio.get_running_loop().time
        pause = min(self.lease_s / BEATS_A_LEASE, 1.0)
        while True:
            await asyncio.sleep(pause)
            asked_at = clock()
            if asked_at > held.until:
                # The process stood still. Perhaps nobody has taken the job: it is worth asking once.
                held.until = asked_at + pause
            try:
                async with self.stores.database.write() as session:
                    if not await JobQueue(session).heartbeat(held.lease, self.lease_s):
                        raise LeaseLostError
            except (SQLAlchemyError, OSError) as failure:  # a refused connection comes as the latter
                if not database_away(failure):
                    log.warning("heartbeat failed", exc_info=True)
            else:
                held.until = asked_at + self.lease_s

    def _reporter(self, lease: Lease) -> Report:
        async def report(progress: float, message: str) -> None:
            try:
                async with self.stores.database.write() as session:
                    held = await JobQueue(session).report(lease, round(progress, 1), message)
            except (SQLAlchemyError, OSError) as failure:
                if part_away(failure) is None:
                    raise
                return  # news that nobody misses for long; whether the lease still holds, the heartbeat finds out
            if not held:
                raise LeaseLostError
            self.notify(lease.job_id)

        return report

    async def _try_again(self, job: Job, held: _Held, code: str, message: str) -> str:
        if job.attempt >= self.max_attempts:
            return await self._fail(job, held, code, message)
        log.warning("attempt failed", code=code)
        self.metrics.retried(job.kind, code)
        return await self._put_back(held, RETRY_S * 2 ** (job.attempt - 1), "Waiting to be tried again", count_attempt=True)

    async def _fail(self, job: Job, held: _Held, code: str, message: str) -> str:
        async def write() -> None:
            async with self.stores.database.write() as session:
                queue = JobQueue(session)
                if not await queue.fail(held.lease, code, message):
                    await _require_ended(queue, held.lease, FAILED)
                    return
                await self.handlers[job.kind].on_failure(session, job, code, message)
                await announce(session, await session.get_one(Job, job.id))
                await queue.wake([job.subject_id] if job.subject_id else [])
                await queue.end_turn(held.lease, job.user_id)

        await insist(write, until=held.until)
        self.metrics.failed(job.kind, code)
        return FAILED

    async def _put_back(self, held: _Held, delay_s: float, message: str, *, count_attempt: bool) -> str:
        async def write() -> None:
            async with self.stores.database.write() as session:
                if not await JobQueue(session).put_back(held.lease, delay_s, message, count_attempt=count_attempt):
                    raise LeaseLostError

        await insist(write, until=held.until)
        return PENDING


async def _require_ended(queue: JobQueue, lease: Lease, status: str) -> None:
    """Raises LeaseLostError unless this lease has ended its job so: the commit of an earlier try, of which nobody heard."""
    if not await queue.ended_by(lease, status):
        raise LeaseLostError


async def settle(*tasks: asyncio.Task[None]) -> None:
    """Cancel the tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
