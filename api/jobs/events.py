"""The progress of a job as server-sent events.

A published event says only "look": the stream reads the row. What is lost between processes delays and never lies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import msgspec
from litestar.channels import ChannelsPlugin, Subscriber
from litestar.response import ServerSentEventMessage

from api.jobs.estimates import Standing
from api.jobs.outlook import Outlook
from api.jobs.schemas import JobOut
from store.models import Job
from store.models.job import FINAL
from store.repositories.jobs import JobRepository
from store.stores import Stores

LOOK_S = 3.0  # how often the row is read when nothing is heard
PING_S = 15.0
LIFE_S = 600.0


class ProgressEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    job_id: str
    progress: float
    status: str
    message: str
    queue_position: int | None = None
    eta_seconds: float | None = None
    output_file_path: str | None = None
    duration: float | None = None
    error_code: str | None = None
    error_message: str | None = None


CHANNEL = "jobs"
COMPLETE = ServerSentEventMessage(data='{"event":"complete"}')


class ProgressStreams:
    """One subscription hears of all jobs and wakes the streams of each.

    A channel for every job would stay in the plugin's books for as long as the process lives.
    """

    def __init__(self, stores: Stores, channels: ChannelsPlugin, outlook: Outlook) -> None:
        self.stores = stores
        self.outlook = outlook
        self.channels = channels
        self._closing = False
        self._watching: dict[str, set[asyncio.Event]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Begin to listen."""
        heard = await self.channels.subscribe(CHANNEL)
        self._listening = asyncio.create_task(self._listen(heard))

    async def stop(self) -> None:
        """End all streams and listen no more."""
        self._close()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])

    def notify(self, job_id: str) -> None:
        """Say that the row of this job has changed."""
        self.channels.publish(job_id.encode(), CHANNEL)

    def end(self) -> None:
        """End all streams; may be called from a signal handler."""
        self._loop.call_soon_threadsafe(self._close)

    async def follow(self, job_id: str, last_event_id: str | None) -> AsyncIterator[ServerSentEventMessage]:
        """Events until the job has ended or is deleted, the client goes, ten minutes are over or the server stops.

        `last_event_id` is the id of the last event that the client has seen; that one is not repeated.
        """
        clock = asyncio.get_running_loop().time
        began = spoke = clock()
        seen = last_event_id
        with self._watch(job_id) as changed:
            while clock() - began < LIFE_S and not self._closing:
                changed.clear()
                event, event_id = await self._read(job_id)
                if event is not None and event_id != seen:
                    seen, spoke = event_id, clock()
                    yield ServerSentEventMessage(data=msgspec.json.encode(event).decode(), id=event_id)
                if event is None or event.status in FINAL:
                    yield COMPLETE
                    return
                if clock() - spoke >= PING_S:
                    spoke = clock()
                    # Without `data=None` it would be an event with empty data, which clients try to read as JSON.
                    yield ServerSentEventMessage(comment="ping", data=None)
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), LOOK_S)

    @contextmanager
    def _watch(self, job_id: str) -> Iterator[asyncio.Event]:
        changed = asyncio.Event()
        self._watching.setdefault(job_id, set()).add(changed)
        try:
            yield changed
        finally:
            watching = self._watching[job_id]
            watching.discard(changed)
            if not watching:
                del self._watching[job_id]

    async def _listen(self, heard: Subscriber) -> None:
        async for job_id in heard.iter_events():
            for changed in self._watching.get(job_id.decode(), ()):
                changed.set()

    def _close(self) -> None:
        self._closing = True
        for watching in self._watching.values():
            for changed in watching:
                changed.set()

    async def _read(self, job_id: str) -> tuple[ProgressEvent | None, str]:
        # A session for this one look: a stream that kept one would hold a connection for minutes.
        async with self.stores.database.read() as session:
            jobs = JobRepository(session)
            job = await jobs.get(job_id)
            if job is None:
                return None, ""
        standing = await self.outlook.glance(job)
        # The time that is left is not in it: it changes all the time, and is news only together with something else.
        return _event(job, standing), f"{job.attempt}-{job.status}-{job.progress:g}-{standing.queue_position or 0}"


def _event(job: Job, standing: Standing) -> ProgressEvent:
    out = JobOut.of(job, standing=standing)
    return ProgressEvent(
        job_id=out.id,
        progress=out.progress,
        status=out.status,
        message=out.message or "Job queued for processing",
        queue_position=out.queue_position,
        eta_seconds=out.eta_seconds,
        output_file_path=out.output_file_path,
        duration=out.duration,
        error_code=out.error_code,
        error_message=out.error_message,
    )
