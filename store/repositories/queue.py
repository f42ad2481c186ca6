"""Jobs as workers see them: claimed, leased, fenced.

The row is the queue. `claim` takes the next one for a limited time; from then on every write is fenced on (id, owner,
attempt), so that a worker which was slower than its lease can no longer change anything.

All times are those of one clock, whichever machine writes: the database server's, or on SQLite that of the only machine there is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Interval, Select, case, func, literal, select, text, update
from sqlalchemy.orm import aliased

from store.models import CloneSample, Job, Turn
from store.models.job import COMPLETED, FAILED, PATIENCE, PENDING, PROCESSING
from store.repositories.base import Moment, Repository, insert
from store.repositories.library import VoiceUsageRepository

CLOCK_SKEW = timedelta(seconds=5)
"""How far the clocks of the machines that make jobs may be from it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one attempt of one job, until it runs out.

    `owner` must be new for every claim, not the name of a process: a job that its owner retries counts its attempts anew. `lane`: in which
    the end of the job ends a turn of its user (see `Turn`); none for a job that took nobody's.
    """

    job_id: str
    owner: str
    attempt: int
    lane: str = ""


# Made once: an alias of so wide a table takes SQLAlchemy milliseconds, and a claim is tried whenever the bell rings.
_WAITING, _RUNNING = aliased(Job), aliased(Job)
# Any number, the same for all: whoever holds it is the only one who claims. 0x766f7869 is "voxi".
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(1987016809)")


@lru_cache
def _due(kinds: tuple[str, ...]) -> Select[Any]:
    """A job of these kinds, which are one lane's, to be sorted further by turns. What its user runs in other lanes does not count."""
    busy = (_RUNNING.status == PROCESSING, _RUNNING.kind.in_(kinds))
    load = select(_RUNNING.user_id, func.count().label("jobs")).where(*busy).group_by(_RUNNING.user_id).subquery()
    return (
        select(_WAITING.id)
        .outerjoin(load, load.c.user_id == _WAITING.user_id)
        .outerjoin(Turn, (Turn.user_id == _WAITING.user_id) & (Turn.lane == Turn.key(kinds)))
        .where(_WAITING.status == PENDING, _WAITING.kind.in_(kinds))
        .order_by(func.coalesce(load.c.jobs, 0), _WAITING.priority.desc())
        .limit(1)
        .with_for_update(skip_locked=True, of=_WAITING)
    )


class JobQueue(Repository[Job]):
    model = Job

    async def claim(
        self, owner: str, lease_s: float, kinds: Collection[str], *, job_id: str | None = None, per_user: int = 0, at_once: int = 0
    ) -> Job | None:
        """Take the next job that is due, or the one named, for `lease_s` seconds.

        `kinds`: those of one lane. Whoever has the fewest of them running comes first; then priority; then whose turn it is (see `Turn`);
        then age. So heavy users starve nobody, even where they are more than the slots, and neither does an endless row of new accounts.

        Args:
            per_user: no job of whoever has so many of these kinds running; 0: no bound.
            at_once: none at all while so many of these kinds run, whoever's they are; 0: no bound.
        """
        if (per_user or at_once) and not self._is_sqlite:
            # Two that look at the same moment would both see the last free place. SQLite has one writer at a time anyway.
            await self.session.execute(_ONE_AT_A_TIME)
        now = self._now()
        due = _due(tuple(sorted(kinds))).where(_WAITING.available_at <= now, *_below(kinds, per_user, at_once))
        due = due.order_by(*Turn.order(_WAITING.created_at, _later(now, -PATIENCE.total_seconds())), _WAITING.created_at, _WAITING.id)
        if job_id is not None:
            due = due.where(_WAITING.id == job_id)
        claimed: Job | None = await self.session.scalar(
            update(Job)
            .where(Job.id == due.scalar_subquery(), Job.status == PENDING)
            .values(**_claimed(owner, lease_s, now))
            .returning(Job)
            .execution_options(populate_existing=True)
        )
        if claimed is not None:
            turn = insert(self.session, Turn).values(user_id=claimed.user_id, lane=Turn.key(kinds), claimed_at=now)
            await self.session.execute(
                turn.on_conflict_do_update(index_elements=[Turn.user_id, Turn.lane], set_={"claimed_at": turn.excluded.claimed_at})
            )
        return claimed

    async def due(self) -> set[str]:
        """The kinds of which a job could begin now."""
        waiting = select(Job.kind).where(Job.status == PENDING, Job.available_at <= self._now()).distinct()
        return set(await self.session.scalars(waiting))

    async def take(self, job_id: str, owner: str, lease_s: float) -> Lease | None:
        """Claim this very job, due or not, for somebody who asks for it by name. None: it does not wait, or is gone."""
        taken = await self.session.scalar(
            update(Job)
            .where(Job.id == job_id, Job.status == PENDING)
            .values(**_claimed(owner, lease_s, self._now()))
            .returning(Job)
            .execution_options(populate_existing=True)
        )
        return None if taken is None else Lease(taken.id, owner, taken.attempt)

    async def begin(self, job: Job, owner: str, lease_s: float) -> None:
        """Add a job that its maker does at once: claimed as it is made, so that no worker takes it first."""
        now = self._now()
        job.status, job.attempt, job.started_at = PROCESSING, 1, now
        job.lease_owner, job.lease_until = owner, _later(now, lease_s)
        self.session.add(job)
        await self.session.flush()
        await self.session.refresh(job, ("started_at", "lease_until"))  # which the database alone knows

    async def note(self, lease: Lease, lease_s: float, **columns: Any) -> bool:
        """Extend the lease and write what its holder says of the job so far. False: the lease is lost."""
        return await self._write(lease, lease_until=_later(self._now(), lease_s), **columns)

    async def heartbeat(self, lease: Lease, lease_s: float) -> bool:
        """Extend the lease. False: it is lost, for the job was cancelled, deleted or given to somebody else."""
        return await self._write(lease, lease_until=_later(self._now(), lease_s))

    async def report(self, lease: Lease, progress: float, message: str) -> bool:
        """Write progress in percent. False: the lease is lost."""
        return await self._write(lease, progress=progress, message=message)

    async def complete(self, lease: Lease, **outcome: Any) -> bool:
        """Finish with what came of it. False: the lease is lost and nothing was written."""
        return await self._end(lease, status=COMPLETED, progress=100.0, message="Completed", error_code=None, error_message=None, **outcome)

    async def fail(self, lease: Lease, code: str, message: str) -> bool:
        """Fail for good."""
        return await self._end(lease, status=FAILED, message="Failed", error_code=code, error_message=message)

    async def end_turn(self, lease: Lease, user_id: str) -> None:
        """Note the end of the user's turn, if the job took one.

        The last statement of its transaction: a claim locks a job and then the turn, and would wait for one that holds the turn and wants
        another job.
        """
        if lease.lane:
            turn = update(Turn).where(Turn.user_id == user_id, Turn.lane == lease.lane)
            await self.session.execute(turn.values(ended_at=self._now()))

    async def ended_by(self, lease: Lease, status: str) -> bool:
        """Whether it was this very lease under which the job ended so: for a holder who has heard nothing of the commit."""
        ended = (Job.id == lease.job_id, Job.lease_owner == lease.owner, Job.attempt == lease.attempt, Job.status == status)
        return await self.session.scalar(select(Job.id).where(*ended)) is not None

    async def put_back(self, lease: Lease, delay_s: float, message: str, *, count_attempt: bool) -> bool:
        """Return the job to the queue, due in `delay_s` seconds. An attempt that only waited for something is not counted.

        False: the lease is lost.
        """
        return await self._write(
            lease,
            status=PENDING,
            attempt=Job.attempt if count_attempt else Job.attempt - 1,
            available_at=_later(self._now(), delay_s),
            lease_owner=None,
            lease_until=None,
            progress=0.0,
            message=message,
        )

    async def wake(self, subject_ids: Collection[str]) -> int:
        """Make what waits for these samples or clones due now: clones made of them, speech in them. How many jobs there were."""
        clones = select(CloneSample.clone_id).where(CloneSample.sample_id.in_(subject_ids))
        woken = await self.session.execute(
            update(Job)
            .where(Job.status == PENDING, Job.subject_id.in_(clones) | Job.voice_model_id.in_(subject_ids))
            .values(available_at=self._now())
            .returning(Job.id)
        )
        return len(woken.all())

    async def recover(self, max_attempts: int) -> list[Job]:
        """Take back the jobs whose lease ran out: to the queue, or to their end. The rows as they are afterwards."""
        now = self._now()
        spent = Job.attempt >= max_attempts
        given_up = f"The job was interrupted {max_attempts} times and has been given up"
        recovered = await self.session.scalars(
            update(Job)
            .where(Job.status == PROCESSING, Job.lease_until < now)
            .values(
                status=case((spent, FAILED), else_=PENDING),
                message=case((spent, "Failed"), else_="Waiting to be tried again"),
                error_code=case((spent, "JOB_INTERRUPTED"), else_=None),
                error_message=case((spent, given_up), else_=None),
                completed_at=case((spent, now), else_=None),
                progress=case((spent, Job.progress), else_=0.0),
                available_at=now,
                lease_owner=None,
                lease_until=None,
                updated_at=now,
            )
            .returning(Job)
            .execution_options(populate_existing=True)
        )
        rows = list(recovered.all())
        await VoiceUsageRepository(self.session).count(rows)
        return rows

    async def follow_clock(self, longest_lease_s: float) -> int:
        """Put right what a clock that was set back, or that is ahead of the others, leaves in the future: leases that nobody can have got,
        and new jobs that would wait until it is so late. How many there were.

        Whoever works on such a job extends its lease from the new time with the next heartbeat.
        """
        now = self._now()
        latest, skew = _later(now, longest_lease_s), CLOCK_SKEW.total_seconds()
        leases = update(Job).where(Job.status == PROCESSING, Job.lease_until > _later(latest, skew)).values(lease_until=latest)
        ahead = (Job.status == PENDING, Job.created_at > _later(now, skew), Job.available_at > now)
        jobs = update(Job).where(*ahead).values(available_at=now)
        found = [await self.session.execute(statement.returning(Job.id)) for statement in (leases, jobs)]
        for moment in (Turn.claimed_at, Turn.ended_at):
            await self.session.execute(update(Turn).where(moment > _later(now, skew)).values({moment: now}))
        return sum(len(rows.all()) for rows in found)

    async def _end(self, lease: Lease, **values: Any) -> bool:
        # Who held the lease stays to be read: see `ended_by`.
        ended = await self._written(lease, completed_at=self._now(), lease_until=None, **values)
        if ended is not None:
            await VoiceUsageRepository(self.session).count([ended])
        return ended is not None

    async def _write(self, lease: Lease, **values: Any) -> bool:
        return await self._written(lease, **values) is not None

    async def _written(self, lease: Lease, **values: Any) -> Job | None:
        # The whole row comes back, so that one which the session holds already is not left behind.
        written: Job | None = await self.session.scalar(
            update(Job).where(*_held(lease)).values(**values).returning(Job).execution_options(populate_existing=True)
        )
        return written


def _below(kinds: Collection[str], per_user: int, at_once: int) -> list[ColumnElement[bool]]:
    """What must hold of a waiting job for there to be room for it."""
    running = (_RUNNING.status == PROCESSING, _RUNNING.kind.in_(kinds))
    room: list[ColumnElement[bool]] = []
    if per_user:
        full = select(_RUNNING.user_id).where(*running).group_by(_RUNNING.user_id).having(func.count() >= per_user)
        room.append(_WAITING.user_id.not_in(full))
    if at_once:
        room.append(select(func.count()).select_from(_RUNNING).where(*running).scalar_subquery() < at_once)
    return room


def _later(moment: Moment, seconds: float) -> Moment:
    span = timedelta(seconds=seconds)
    return moment + span if isinstance(moment, datetime) else moment + literal(span, Interval)


def _claimed(owner: str, lease_s: float, now: Moment) -> dict[str, Any]:
    """What every claim writes."""
    return {
        "status": PROCESSING,
        "lease_owner": owner,
        "lease_until": _later(now, lease_s),
        "attempt": Job.attempt + 1,
        "started_at": func.coalesce(Job.started_at, now),
        "claimed_at": now,
        "progress": 0.0,
        "message": "Started",
        "updated_at": now,
    }


def _held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (Job.id == lease.job_id, Job.lease_owner == lease.owner, Job.attempt == lease.attempt, Job.status == PROCESSING)
