"""Speak at once, within the request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import numpy as np
import structlog
from numpy.typing import NDArray

from api.clones.schemas import DirectSynthesis
from api.clones.service import CloneService
from api.errors import ApiError, BadRequestError, ConflictError, UnavailableError
from api.jobs.making import check_emotion, check_length, synthesis_job
from api.limits.quotas import Quotas, storage_full
from audio.encode import StreamEncoder
from store.models import Clone, Job
from store.models.job import COMPLETED, FAILED, PENDING, PROCESSING
from store.presets import shipped
from store.repositories.jobs import JobRepository
from store.repositories.queue import JobQueue
from worker.errors import InferenceUnavailableError, JobFailedError, LeaseLostError, NotYetError, WorkError
from worker.events import DIRECT_FAILURE
from worker.handlers.base import Outcome, Report
from worker.handlers.synthesis import SynthesisHandler, tags
from worker.run import JobRunner
from worker.speech import Tap
from worker.threads import in_thread

LOOK_S = 0.25  # how often a voice in the making is looked at

log = structlog.get_logger(__name__)


class DirectSpeech:
    """A job that the request itself works on. Its row is there from the start: if this process dies, a worker finishes the file."""

    def __init__(
        self,
        clones: CloneService,
        quotas: Quotas,
        runner: JobRunner,
        handler: SynthesisHandler,
        max_text_length: int,
        *,
        clone_wait_s: float,
    ) -> None:
        self.clones = clones
        self.quotas = quotas
        self.stores = clones.stores
        self.runner = runner
        self.handler = handler
        self.max_text_length = max_text_length
        self.clone_wait_s = clone_wait_s
        self._running: set[asyncio.Task[Job]] = set()
        self._stopping = asyncio.Event()

    async def speak(self, user_id: str, clone_id: str, wanted: DirectSynthesis, request_id: str) -> Job:
        """The completed job. Raises ApiError, and then nothing is left of it."""
        return await self._run(await self._begin(user_id, clone_id, wanted, request_id))

    async def stream(self, user_id: str, clone_id: str, wanted: DirectSynthesis, request_id: str) -> AsyncIterator[bytes]:
        """The encoded sound as it is made. Raises ApiError before the first bytes; what goes wrong later cuts the stream off.

        A client that goes away does not stop the job: its file is kept like any other.
        """
        job = await self._begin(user_id, clone_id, wanted, request_id)
        listener = _Listener(StreamEncoder(job.output_format, job.sample_rate, tags(job)))
        running = asyncio.create_task(self._run(job, listener.hear))
        self._running.add(running)
        running.add_done_callback(self._ended)
        running.add_done_callback(lambda _: listener.ready.put_nowait(None))
        first = await self._next(listener, running)

        async def rest() -> AsyncIterator[bytes]:
            try:
                yield first
                while (block := await listener.ready.get()) is not None:
                    yield block
                await _outcome(running)
                yield await in_thread(listener.encoder.close)
            finally:
                listener.leave()

        return rest()

    async def _next(self, listener: _Listener, running: asyncio.Task[Job]) -> bytes:
        """The first bytes there are: an encoder may swallow the first blocks."""
        while (block := await listener.ready.get()) is not None:
            if block:
                return block
        await _outcome(running)
        return b""

    def _ended(self, running: asyncio.Task[Job]) -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # looked at: nobody else does when the client has gone

    async def _begin(self, user_id: str, clone_id: str, wanted: DirectSynthesis, request_id: str) -> Job:
        check_length(wanted.text, "text", self.max_text_length)
        voice = shipped().get(clone_id) or await self._ready(user_id, clone_id)
        check_emotion(voice, wanted.emotion, "emotion")
        job = synthesis_job(
            user_id,
            voice,
            text=wanted.text,
            language=wanted.language,
            speed=wanted.speed,
            pitch=wanted.pitch,
            volume=wanted.volume,
            output_format=wanted.output_format,
            sample_rate=wanted.sample_rate,
            config=wanted.config,
            request_id=request_id,
        )
        async with self.stores.database.write() as session:
            await self.quotas.take_job(session, user_id)
            await JobQueue(session).begin(job, self.runner.new_owner(), self.runner.lease_s)
        return job

    async def _ready(self, user_id: str, clone_id: str) -> Clone:
        """The clone, waited for while it is being made, at most `clone_wait_s` seconds. Raises ConflictError where it is not ready then."""
        clock = asyncio.get_running_loop().time
        until = clock() + self.clone_wait_s
        while (clone := await self.clones.get(user_id, clone_id)).status in {"pending", "processing"} and clock() < until:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), LOOK_S)
                raise UnavailableError("The server stops; ask again", code="SERVER_STOPPING", retry_after=5)
        if clone.status == "failed":
            raise ConflictError(f"The clone could not be made: {clone.error_message}", code="CLONE_NOT_READY")
        if clone.status != "ready":
            raise ConflictError("The clone is still being made; watch its status", code="CLONE_NOT_READY")
        return clone

    async def _run(self, job: Job, tap: Tap | None = None) -> Job:
        failure: Exception | None = None

        async def work(claimed: Job, report: Report) -> Outcome:
            nonlocal failure
            try:
                return await self.handler.run(claimed, report, tap, live=True)
            except LeaseLostError:
                raise
            except Exception as error:
                # Nobody waits for another attempt, so that whatever goes wrong ends the job.
                failure = error
                if not isinstance(error, WorkError):
                    log.exception("direct synthesis broke")
                raise JobFailedError(DIRECT_FAILURE, "Nobody waits for it any more") from error

        status = await self.runner.run(job, work)
        if status == FAILED and failure is not None:
            await self._forget(job)
            if isinstance(failure, WorkError):
                raise answer_of(failure)
            raise failure
        if status == FAILED:
            # Not for what the work itself did: what it made does not fit.
            await self._forget(job)
            raise storage_full()
        async with self.stores.database.read() as session:
            done = await JobRepository(session).get(job.id)
        if done is not None and done.status in (PENDING, PROCESSING):
            # Nobody could be told in time that it was worked on: its lease is over, and a worker has it now or soon.
            raise UnavailableError("The server was held up; the job will be finished later", code="STORAGE_UNAVAILABLE", retry_after=5)
        if done is not None and status != COMPLETED:
            raise ConflictError("The job was cancelled while it ran", code="JOB_CANCELLED")
        if done is None:
            raise ConflictError("The job was deleted while it ran", code="JOB_NOT_FOUND")
        return done

    async def _forget(self, job: Job) -> None:
        async with self.stores.database.write() as session:
            jobs = JobRepository(session)
            found = await jobs.get(job.id)
            # Its owner may have seen it fail and put it back in the queue.
            if found is not None and found.status == FAILED:
                await jobs.delete(job.id)
                await self.quotas.give_back_job(session, job.user_id)

    async def stop(self) -> None:
        """Put what still runs back in the queue; workers finish it. Nobody waits for a voice any longer."""
        self._stopping.set()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class _Listener:
    """Who is sent the sound of a job while it is made."""

    def __init__(self, encoder: StreamEncoder) -> None:
        self.encoder = encoder
        # Not bounded: a listener that is slower than the speech must not hold up the job. A text's limit bounds its sound.
        self.ready: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._there = True

    async def hear(self, block: NDArray[np.float32]) -> None:
        if self._there:
            self.ready.put_nowait(await in_thread(self.encoder.write, block))

    def leave(self) -> None:
        """Keep no more sound for somebody who has gone."""
        self._there = False
        while not self.ready.empty():
            self.ready.get_nowait()


async def _outcome(running: asyncio.Task[Job]) -> Job:
    # Waited for, not awaited: that would raise the cancellation of the job as if it were the request's own.
    await asyncio.wait([running])
    if running.cancelled():
        raise UnavailableError("The server stops; the job will be finished later", code="SERVER_STOPPING", retry_after=5)
    return running.result()


def answer_of(failure: WorkError) -> ApiError:
    """What it means to somebody who waits for the answer."""
    match failure:
        case JobFailedError():
            return BadRequestError(failure.message, code=failure.code, details=failure.details)
        case InferenceUnavailableError():
            return UnavailableError("The speech service cannot be reached", retry_after=failure.retry_in_s)
        case NotYetError():
            return ConflictError(failure.message, code="CLONE_NOT_READY")
        case _:
            return UnavailableError("The speech could not be made; try again", code="SYNTHESIS_FAILED", retry_after=5)
