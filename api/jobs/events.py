"""The progress of a job as server-sent events.

A published event says only "look": the row is read. What is lost between processes delays and never lies. One reader looks at all jobs that
are watched, so that a thousand streams cost the database a few queries and hold none of its connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import msgspec
import structlog
from litestar.channels import ChannelsPlugin, Subscriber
from litestar.response import ServerSentEventMessage

from api.jobs.estimates import ENDED, Standing
from api.jobs.outlook import Outlook
from api.jobs.schemas import JobOut
from store.faults import database_away
from store.models import Job
from store.models.job import FINAL
from store.repositories.jobs import JobRepository, Stamp
from store.stores import Stores

LOOK_S = 3.0  # how often the rows are read when nothing is heard
BATCH = 500  # rows read at once
RECONNECT_MS = 1000  # what a stream that is ended by us tells its client to wait before it comes back
PING_S = 15.0
LIFE_S = 600.0


log = structlog.get_logger(__name__)


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


def notifier(channels: ChannelsPlugin) -> Callable[[str], None]:
    """Says, in the loop in which the channels were opened, that the row of a job has changed."""
    return lambda job_id: channels.publish(job_id.encode(), CHANNEL)


@dataclass(slots=True, eq=False)
class _Watched:
    """A job as it was last read, and the streams that want to know.

    Attributes:
        streams: what wakes each; `new`: of those that have been told nothing yet.
        stamp: what of the row had changed by then.
        event: None: there is no such job.
    """

    streams: set[asyncio.Event] = field(default_factory=set)
    new: set[asyncio.Event] = field(default_factory=set)
    job: Job | None = None
    stamp: Stamp | None = None
    event: ProgressEvent | None = None
    event_id: str = ""

    def tell(self, event: ProgressEvent | None, event_id: str) -> None:
        waking = self.streams if event is None or event_id != self.event_id else self.new
        self.event, self.event_id = event, event_id
        for changed in waking:
            changed.set()
        self.new.clear()


class ProgressStreams:
    """One subscription hears of all jobs and wakes the streams of each.

    A channel for every job would stay in the plugin's books for as long as the process lives.
    """

    def __init__(self, stores: Stores, channels: ChannelsPlugin, outlook: Outlook) -> None:
        self.stores = stores
        self.outlook = outlook
        self.channels = channels
        self._notify = notifier(channels)
        self._closing = False
        self._watching: dict[str, _Watched] = {}
        self._due: set[str] = set()  # jobs to be read at once
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Begin to listen."""
        heard = await self.channels.subscribe(CHANNEL)
        self._tasks = [asyncio.create_task(self._listen(heard)), asyncio.create_task(self._read())]

    async def stop(self) -> None:
        """End all streams and listen no more."""
        self._close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def notify(self, job_id: str) -> None:
        """Say that the row of this job has changed."""
        self._notify(job_id)

    def end(self) -> None:
        """End all streams; may be called from a signal handler."""
        self._loop.call_soon_threadsafe(self._close)

    async def follow(self, job_id: str, last_event_id: str | None) -> AsyncIterator[ServerSentEventMessage]:
        """Events until the job has ended or is deleted, the client goes, ten minutes are over or the server stops.

        `last_event_id` is the id of the last event that the client has seen; that one is not repeated.
        """
        clock = asyncio.get_running_loop().time
        seen = last_event_id
        with self._watch(job_id) as (watched, changed):
            # What was read for others before is not what is now.
            await changed.wait()
            began = spoke = clock()
            while clock() - began < LIFE_S and not self._closing:
                changed.clear()
                event = watched.event
                if event is not None and watched.event_id != seen:
                    seen, spoke = watched.event_id, clock()
                    yield ServerSentEventMessage(data=msgspec.json.encode(event).decode(), id=seen)
                if event is None or event.status in FINAL:
                    yield COMPLETE
                    return
                if clock() - spoke >= PING_S:
                    spoke = clock()
                    # Without `data=None` it would be an event with empty data, which clients try to read as JSON.
                    yield ServerSentEventMessage(comment="ping", data=None)
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(spoke + PING_S, began + LIFE_S)):
                        await changed.wait()
        yield ServerSentEventMessage(comment="connect again", data=None, retry=RECONNECT_MS)

    @contextmanager
    def _watch(self, job_id: str) -> Iterator[tuple[_Watched, asyncio.Event]]:
        changed = asyncio.Event()
        watched = self._watching.setdefault(job_id, _Watched())
        watched.streams.add(changed)
        watched.new.add(changed)
        self._want(job_id)
        try:
            yield watched, changed
        finally:
            watched.streams.discard(changed)
            watched.new.discard(changed)
            if not watched.streams:
                del self._watching[job_id]

    async def _listen(self, heard: Subscriber) -> None:
        async for job_id in heard.iter_events():
            if (name := job_id.decode()) in self._watching:
                self._want(name)

    def _want(self, job_id: str) -> None:
        self._due.add(job_id)
        self._wanted.set()

    def _close(self) -> None:
        self._closing = True
        for watched in self._watching.values():
            for changed in watched.streams:
                changed.set()

    async def _read(self) -> None:
        """Read what is wanted when it is wanted, and all that is watched every `LOOK_S` seconds."""
        clock = self._loop.time
        looked = clock()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(looked + LOOK_S):
                    await self._wanted.wait()
            self._wanted.clear()
            if clock() - looked >= LOOK_S:
                looked = clock()
                self._due.update(self._watching)
            due = sorted(self._due & self._watching.keys())
            self._due.clear()
            try:
                for start in range(0, len(due), BATCH):
                    await self._look(due[start : start + BATCH])
            except Exception as failure:
                # The database may be away for a while, which it says itself; streams stay open and hear more when it is back.
                if not database_away(failure):
                    log.exception("watched jobs could not be read")

    async def _look(self, job_ids: Collection[str]) -> None:
        async with self.stores.database.read() as session:
            jobs = JobRepository(session)
            stamps = await jobs.stamps(job_ids)
            known = {job_id: watched for job_id in job_ids if (watched := self._watching.get(job_id)) is not None}
            moved = [job_id for job_id in stamps if job_id in known and known[job_id].stamp != stamps[job_id]]
            for job in await jobs.many(moved):
                known[job.id].job, known[job.id].stamp = job, stamps[job.id]
        there = {job_id: watched.job for job_id, watched in known.items() if job_id in stamps and watched.job is not None}
        standings = await self.outlook.glance(list(there.values()))
        for job_id, watched in known.items():
            if (seen := there.get(job_id)) is None:
                watched.tell(None, "")
                continue
            standing = standings.get(job_id, ENDED)
            # The time that is left is not in it: it changes all the time, and is news only together with something else.
            event_id = f"{seen.attempt}-{seen.status}-{seen.progress:g}-{standing.queue_position or 0}"
            watched.tell(_event(seen, standing), event_id)


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
