"""Who comes next, and what is ahead of whom: the order of `JobQueue.claim`, looked at without taking anything."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, case, func, select, union_all
from sqlalchemy.orm import aliased

from store.clock import utcnow
from store.models import Job, Turn
from store.models.base import UtcDateTime
from store.models.job import COMPLETED, PATIENCE, PENDING, PROCESSING
from store.repositories.base import Repository

JOB_UNITS = 20.0
"""What every job costs beside its text, in characters: a plan, a first chunk, a file."""
RECENT = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where a waiting job stands. `position` is from 1; `ahead` is the size of all jobs before it, `size` its own (see `size_of`).

    `level` is how many jobs its user, `user_id`, runs when it is claimed, itself included, if nothing that runs now ended before. Where it
    was asked for, `own` is what of `ahead` is that user's, and `idle` how many users wait and run nothing.
    """

    position: int
    ahead: float
    size: float
    user_id: str = ""
    level: int = 1
    own: float = 0.0
    idle: int = 0


@dataclass(frozen=True, slots=True)
class Spent:
    """A job under way or done: its size, when its newest attempt began, how far it is in percent, and whose it is."""

    size: float
    began: datetime
    progress: float
    ended: datetime | None
    user_id: str = ""


def size_of(job: Job) -> float:
    """How much work a job is, in characters said at the model's own speed."""
    return (job.text_length + JOB_UNITS) / job.speed


class QueueOrder(Repository[Job]):
    model = Job

    async def places(self, kinds: Collection[str], job_ids: Collection[str] | None = None, *, own: bool = False) -> dict[str, Place]:
        """Where the waiting jobs of these kinds stand that are named, or all. Those that do not wait are left out. With `own` also what the
        bound of one user's jobs asks for.

        `claim` takes a job of whoever runs the fewest. If nothing that runs ended, a user's n-th job would be claimed when that user runs
        what runs now and n - 1 more: that sum is its level, and the order is by level, then priority, then whose turn it is (see `Turn`):
        of a first job that is known, an n-th one comes after all of these, in the order of those before. Within a user it is priority, then
        age. What is not due yet comes behind all that is, by its time.
        """
        statement = _places(tuple(kinds), job_ids is not None, own)
        times = {"now": (now := utcnow()), "long_ago": now - PATIENCE}
        rows = await self.session.execute(statement, times | ({"job_ids": list(job_ids)} if job_ids is not None else {}))
        return {job_id: Place(*place) for job_id, *place in rows}

    async def running(self, kinds: Collection[str]) -> list[Spent]:
        """What is under way."""
        rows = await self.session.execute(_under_way(tuple(kinds)))
        return [Spent(*row) for row in rows if row.began is not None]

    async def recent(self, kinds: Collection[str]) -> list[Spent]:
        """The newest that were completed by work and not from the cache."""
        rows = await self.session.execute(_newest(tuple(kinds)))
        return [Spent(*row) for row in rows if row.began is not None]


# Statements are made once for each lane: to put one together takes SQLAlchemy longer than the database needs for it.
@lru_cache
def _places(kinds: tuple[str, ...], named: bool, own: bool) -> Select[Any]:
    now = bindparam("now", type_=UtcDateTime)
    running = aliased(Job)
    busy = (running.status == PROCESSING, running.kind.in_(kinds))
    load = select(running.user_id, func.count().label("jobs")).where(*busy).group_by(running.user_id).subquery()
    # Of its own: SQLite would rather walk all jobs by their users than sort those that wait.
    pending = (
        select(
            Job.id,
            Job.user_id,
            Job.priority,
            Job.created_at,
            case((Job.available_at <= now, now), else_=Job.available_at).label("due"),
            _size().label("size"),
        )
        .where(Job.status == PENDING, Job.kind.in_(kinds))
        .cte("pending")
        .prefix_with("MATERIALIZED")
    )
    # One window for both, so that the rows are walked once for them; the number does not look at its frame.
    in_turn: dict[str, Any] = {
        "partition_by": pending.c.user_id,
        "order_by": (pending.c.due, pending.c.priority.desc(), pending.c.created_at, pending.c.id),
        "rows": (None, 0),
    }
    turn = func.row_number().over(**in_turn)
    first_created_at = func.first_value(pending.c.created_at).over(**in_turn).label("first_created_at")
    first_id = func.first_value(pending.c.id).over(**in_turn).label("first_id")
    newcomer, since = Turn.order(first_created_at, bindparam("long_ago", type_=UtcDateTime))
    own_ahead = (func.sum(pending.c.size).over(**in_turn) - pending.c.size).label("own")
    waiting = (
        select(
            pending,
            (func.coalesce(load.c.jobs, 0) + turn).label("level"),
            turn.label("turn"),
            newcomer.label("newcomer"),
            since.label("since"),
            first_created_at,
            first_id,
            *([own_ahead] if own else []),
        )
        .outerjoin(load, load.c.user_id == pending.c.user_id)
        .outerjoin(Turn, (Turn.user_id == pending.c.user_id) & (Turn.lane == Turn.key(kinds)))
        .subquery()
    )
    order: dict[str, Any] = {
        "order_by": (
            *(waiting.c.due, waiting.c.level, waiting.c.priority.desc()),
            *(waiting.c.turn, waiting.c.newcomer, waiting.c.since, waiting.c.first_created_at, waiting.c.first_id),
        ),
        "rows": (None, 0),
    }
    idle = select(func.count(pending.c.user_id.distinct())).where(pending.c.user_id.not_in(select(load.c.user_id)))
    ranked = select(
        waiting.c.id,
        func.row_number().over(**order).label("position"),
        (func.sum(waiting.c.size).over(**order) - waiting.c.size).label("ahead"),
        waiting.c.size,
        waiting.c.user_id,
        waiting.c.level,
        *([waiting.c.own, idle.scalar_subquery().label("idle")] if own else []),
    ).subquery()
    statement = select(ranked)
    return statement.where(ranked.c.id.in_(bindparam("job_ids", expanding=True))) if named else statement


@lru_cache
def _under_way(kinds: tuple[str, ...]) -> Select[Any]:
    return _spent().where(Job.status == PROCESSING, Job.kind.in_(kinds))


@lru_cache
def _newest(kinds: tuple[str, ...]) -> Select[Any]:
    # The newest of each kind come sorted from the index; of several kinds at once, all that were ever completed would be sorted.
    done = (Job.status == COMPLETED, Job.cache_hit.is_(False))
    newest = [_spent().where(*done, Job.kind == kind).order_by(Job.completed_at.desc()).limit(RECENT).subquery() for kind in kinds]
    each = union_all(*map(select, newest)).subquery()
    return select(each).order_by(each.c.completed_at.desc()).limit(RECENT)


def _size() -> ColumnElement[Any]:
    return (Job.text_length + JOB_UNITS) / Job.speed


def _spent() -> Select[Any]:
    began = func.coalesce(Job.claimed_at, Job.started_at).label("began")
    return select(_size().label("size"), began, Job.progress, Job.completed_at, Job.user_id)
