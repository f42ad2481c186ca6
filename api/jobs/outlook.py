"""Where the jobs that have not ended stand: their places in the queue and how long they will still take."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from sqlalchemy.ext.asyncio import AsyncSession

from api.jobs.estimates import ENDED, Standing, pace, remaining_s, waiting
from store.clock import utcnow
from store.database import Database
from store.models import Job
from store.models.job import PENDING, PROCESSING
from store.repositories.order import Place, QueueOrder, Spent, size_of
from worker.lanes import LANES, SPEECH, lane_of

FRESH_S = 1.0
"""How old what streams are told may be: many of them watch one queue, and each change of it concerns all."""
SHORT = 100
"""In a queue of so many jobs at most, whoever asks for a job or a list is told of every change that this process has made."""
SHARE = 20
"""A look at a longer queue serves everybody for so many times the time that it took: looking never takes more than a part of it all."""


@dataclass(frozen=True, slots=True)
class _Tail:
    """Levels of all that waits, in order; how much is ahead of each and, at the end, of whoever comes next; the last place of each user;
    and `Place.idle`."""

    levels: Sequence[int]
    ahead: Sequence[float]
    last_of: Mapping[str, Place]
    idle: int

    @classmethod
    def of(cls, places: Iterable[Place]) -> _Tail:
        by_level = sorted(places, key=lambda place: place.level)
        last_of = {place.user_id: place for place in by_level}
        idle = by_level[0].idle if by_level else 0
        return cls([place.level for place in by_level], [0.0, *accumulate(place.size for place in by_level)], last_of, idle)


_NONE_BEFORE = Place(0, 0.0, 0.0, level=0)


@dataclass(frozen=True, slots=True)
class _Lane:
    """What is known of the jobs that share slots, at one moment."""

    places: Mapping[str, Place]
    running: Sequence[Spent]
    seconds_a_unit: float | None
    slots: int
    per_user: int
    at_once: int
    tail: _Tail | None  # where `places` has all that waited then

    def standing(self, job: Job) -> Standing:
        now = utcnow()
        if job.status == PENDING:
            place = self.places.get(job.id) or (self._behind(job) if self.tail else None)
            if place is None:
                return ENDED
            bounds = {"per_user": self.per_user, "at_once": self.at_once}
            return waiting(place, self.running, self.seconds_a_unit, self.slots, now, **bounds)
        began = job.claimed_at or job.started_at
        if job.status != PROCESSING or began is None:
            return ENDED
        left = remaining_s(Spent(size_of(job), began, job.progress, None), self.seconds_a_unit, now)
        return Standing(eta_seconds=None if left is None else round(left, 1))

    def _behind(self, job: Job) -> Place:
        """About where a job stands that came after the look: behind all on the level next to the last one of its user."""
        assert self.tail is not None
        last = self.tail.last_of.get(job.user_id, _NONE_BEFORE)
        level = 1 + last.level
        before = bisect_right(self.tail.levels, level)
        idle = self.tail.idle + (last is _NONE_BEFORE)
        return Place(before + 1, self.tail.ahead[before], size_of(job), job.user_id, level, last.own + last.size, idle)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A look at a whole lane: when it began and how long it took, in seconds, and `job_changes` before it."""

    at: float
    took: float
    changes: int
    lane: _Lane


class Outlook:
    """`slots`: jobs of speech that this process works on at once; the others bound what is claimed, see `worker.claims.Claims`."""

    def __init__(self, database: Database, *, slots: int, user_concurrency: int = 0, speech_concurrency: int = 0) -> None:
        self.database = database
        self.slots = slots
        self.user_concurrency = user_concurrency
        self.speech_concurrency = speech_concurrency
        self._seen: dict[tuple[str, ...], _Seen] = {}
        self._looking = asyncio.Lock()

    async def of(self, session: AsyncSession, job: Job) -> Standing:
        """Of one job, as it is now, with what this transaction has changed."""
        if job.status not in {PENDING, PROCESSING}:
            return ENDED
        return (await self._look(session, _lane(job.kind), [job.id] if job.status == PENDING else [])).standing(job)

    async def of_many(self, jobs: Sequence[Job]) -> dict[str, Standing]:
        """Of those of the jobs that have not ended, from a look at the queue that all share: see `SHORT` and `SHARE`."""
        return await self._shared(jobs, change_s=0.0)

    async def glance(self, jobs: Sequence[Job]) -> dict[str, Standing]:
        """As `of_many`, but up to `FRESH_S` seconds old, for those who ask again and again."""
        return await self._shared(jobs, change_s=FRESH_S)

    async def _shared(self, jobs: Sequence[Job], *, change_s: float) -> dict[str, Standing]:
        """`change_s`: how old what is told of a short queue may be after a change."""
        open_ = [job for job in jobs if job.status in {PENDING, PROCESSING}]
        found: dict[str, Standing] = {}
        for kinds in {_lane(job.kind) for job in open_}:
            own = [job for job in open_ if job.kind in kinds]
            async with self._looking:
                seen = self._seen.get(kinds)
                if seen is None or self._is_old(seen, own, change_s):
                    changes, began = self.database.job_changes, time.monotonic()
                    lane = await self._whole(kinds, short=seen is not None and len(seen.lane.places) <= SHORT)
                    seen = self._seen[kinds] = _Seen(began, time.monotonic() - began, changes, lane)
            found |= {job.id: seen.lane.standing(job) for job in own}
        return found

    async def _whole(self, kinds: tuple[str, ...], *, short: bool) -> _Lane:
        if short:
            return await self.database.glance(lambda session: self._look(session, kinds, None))
        async with self.database.read() as session:
            return await self._look(session, kinds, None)

    def _is_old(self, seen: _Seen, jobs: Sequence[Job], change_s: float) -> bool:
        age = time.monotonic() - seen.at
        unknown = any(job.status == PENDING and job.id not in seen.lane.places for job in jobs)
        changed = seen.changes != self.database.job_changes
        if len(seen.lane.places) <= SHORT:
            return unknown or age > (change_s if changed else FRESH_S)
        return age > max(SHARE * seen.took, 0.0 if unknown else FRESH_S)

    async def _look(self, session: AsyncSession, kinds: tuple[str, ...], job_ids: Collection[str] | None) -> _Lane:
        order = QueueOrder(session)
        # Nobody waits: there is no place to be found.
        per_user = self.user_concurrency
        places = {} if job_ids is not None and not job_ids else await order.places(kinds, job_ids, own=per_user > 0)
        slots, at_once = (self.slots, self.speech_concurrency) if kinds == LANES[SPEECH] else (1, 0)
        running = await order.running(kinds)
        tail = _Tail.of(places.values()) if job_ids is None else None
        seconds_a_unit = pace(await order.recent(kinds), running, utcnow())
        return _Lane(places, running, seconds_a_unit, slots, per_user, at_once, tail)


def _lane(kind: str) -> tuple[str, ...]:
    """The kinds of jobs that wait for the same slots as this one."""
    return LANES.get(lane_of(kind), (kind,))
