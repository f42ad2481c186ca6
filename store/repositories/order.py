"""Who comes next, and what is ahead of whom: the order of `JobQueue.claim`, looked at without taking anything."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, select
from sqlalchemy.orm import aliased

from store.clock import utcnow
from store.models import Job
from store.models.job import COMPLETED, PENDING, PROCESSING
from store.repositories.base import Repository

JOB_UNITS = 20.0
"""What every job costs beside its text, in characters: a plan, a first chunk, a file."""
RECENT = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where a waiting job stands. `position` is from 1; `ahead` is the size of all jobs before it, `size` its own (see `size_of`)."""

    position: int
    ahead: float
    size: float


@dataclass(frozen=True, slots=True)
class Spent:
    """A job under way or done: its size, when its newest attempt began, and how far it is in percent."""

    size: float
    began: datetime
    progress: float
    ended: datetime | None


def size_of(job: Job) -> float:
    """How much work a job is, in characters said at the model's own speed."""
    return (job.text_length + JOB_UNITS) / job.speed


class QueueOrder(Repository[Job]):
    model = Job

    async def places(self, kinds: Collection[str], job_ids: Collection[str] | None = None) -> dict[str, Place]:
        """Where the waiting jobs of these kinds stand that are named, or all. Those that do not wait are left out.

        `claim` takes a job of whoever runs the fewest. If nothing that runs ended, a user's n-th job would be claimed when that user runs
        what runs now and n - 1 more: that sum is its level, and the order is by level, then priority, then age. Within a user it is
        priority, then age. What is not due yet comes behind all that is, by its time.
        """
        now = utcnow()
        running = aliased(Job)
        load = select(running.user_id, func.count().label("jobs")).where(running.status == PROCESSING).group_by(running.user_id).subquery()
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
        turn = func.row_number().over(
            partition_by=pending.c.user_id, order_by=(pending.c.due, pending.c.priority.desc(), pending.c.created_at, pending.c.id)
        )
        waiting = (
            select(pending, (func.coalesce(load.c.jobs, 0) + turn).label("level"))
            .outerjoin(load, load.c.user_id == pending.c.user_id)
            .subquery()
        )
        order = (waiting.c.due, waiting.c.level, waiting.c.priority.desc(), waiting.c.created_at, waiting.c.id)
        ranked = select(
            waiting.c.id,
            func.row_number().over(order_by=order).label("position"),
            func.coalesce(func.sum(waiting.c.size).over(order_by=order, rows=(None, -1)), 0.0).label("ahead"),
            waiting.c.size,
        ).subquery()
        statement = select(ranked)
        if job_ids is not None:
            statement = statement.where(ranked.c.id.in_(job_ids))
        return {row.id: Place(row.position, row.ahead, row.size) for row in await self.session.execute(statement)}

    async def running(self, kinds: Collection[str]) -> list[Spent]:
        """What is under way."""
        rows = await self.session.execute(_spent().where(Job.status == PROCESSING, Job.kind.in_(kinds)))
        return [Spent(*row) for row in rows if row.began is not None]

    async def recent(self, kinds: Collection[str]) -> list[Spent]:
        """The newest that were completed by work and not from the cache."""
        rows = await self.session.execute(
            _spent()
            .where(Job.status == COMPLETED, Job.kind.in_(kinds), Job.cache_hit.is_(False))
            .order_by(Job.completed_at.desc())
            .limit(RECENT)
        )
        return [Spent(*row) for row in rows if row.began is not None]


def _size() -> ColumnElement[Any]:
    return (Job.text_length + JOB_UNITS) / Job.speed


def _spent() -> Select[Any]:
    began = func.coalesce(Job.claimed_at, Job.started_at).label("began")
    return select(_size().label("size"), began, Job.progress, Job.completed_at)
