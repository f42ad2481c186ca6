"""Where the jobs that have not ended stand: their places in the queue and how long they will still take."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from api.jobs.estimates import ENDED, Standing, pace, remaining_s, waiting
from store.clock import utcnow
from store.database import Database
from store.models import Job
from store.models.job import PENDING, PROCESSING
from store.repositories.order import Place, QueueOrder, Spent, size_of
from worker.worker import SYNTHESIS_KINDS, VOICE_KINDS

FRESH_S = 1.0
"""How old what streams are told may be: many of them watch one queue, and each change of it concerns all."""


@dataclass(frozen=True, slots=True)
class _Lane:
    """What is known of the jobs that share slots, at one moment."""

    places: Mapping[str, Place]
    running: Sequence[Spent]
    seconds_a_unit: float | None
    slots: int

    def standing(self, job: Job) -> Standing:
        now = utcnow()
        if job.status == PENDING:
            place = self.places.get(job.id)
            return ENDED if place is None else waiting(place, self.running, self.seconds_a_unit, self.slots, now)
        began = job.claimed_at or job.started_at
        if job.status != PROCESSING or began is None:
            return ENDED
        left = remaining_s(Spent(size_of(job), began, job.progress, None), self.seconds_a_unit, now)
        return Standing(eta_seconds=None if left is None else round(left, 1))


class Outlook:
    """`slots`: jobs of speech that this process works on at once."""

    def __init__(self, database: Database, *, slots: int) -> None:
        self.database = database
        self.slots = slots
        self._seen: dict[tuple[str, ...], tuple[float, _Lane]] = {}
        self._looking = asyncio.Lock()

    async def of(self, session: AsyncSession, job: Job) -> Standing:
        """Of one job, as it is now."""
        return (await self.of_many(session, [job])).get(job.id, ENDED)

    async def of_many(self, session: AsyncSession, jobs: Sequence[Job]) -> dict[str, Standing]:
        """Of those of the jobs that have not ended. However many they are, the queue is looked at once for each lane."""
        found: dict[str, Standing] = {}
        for kinds in {_lane(job.kind) for job in jobs if job.status in {PENDING, PROCESSING}}:
            own = [job for job in jobs if job.kind in kinds and job.status in {PENDING, PROCESSING}]
            lane = await self._look(session, kinds, [job.id for job in own if job.status == PENDING])
            found |= {job.id: lane.standing(job) for job in own}
        return found

    async def glance(self, session: AsyncSession, job: Job) -> Standing:
        """As `of`, but up to `FRESH_S` seconds old, for those who ask again and again."""
        if job.status not in {PENDING, PROCESSING}:
            return ENDED
        kinds, clock = _lane(job.kind), asyncio.get_running_loop().time
        async with self._looking:
            at, lane = self._seen.get(kinds, (0.0, None))
            unknown = lane is None or (job.status == PENDING and job.id not in lane.places)
            if lane is None or unknown or clock() - at > FRESH_S:
                lane = await self._look(session, kinds, None)
                self._seen[kinds] = (clock(), lane)
        return lane.standing(job)

    async def _look(self, session: AsyncSession, kinds: tuple[str, ...], job_ids: Collection[str] | None) -> _Lane:
        order = QueueOrder(session)
        # Nobody waits: there is no place to be found.
        places = {} if job_ids is not None and not job_ids else await order.places(kinds, job_ids)
        slots = self.slots if kinds == SYNTHESIS_KINDS else 1
        running = await order.running(kinds)
        return _Lane(places, running, pace(await order.recent(kinds), running, utcnow()), slots)


def _lane(kind: str) -> tuple[str, ...]:
    """The kinds of jobs that wait for the same slots as this one."""
    return next((kinds for kinds in (SYNTHESIS_KINDS, VOICE_KINDS) if kind in kinds), (kind,))
