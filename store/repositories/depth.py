"""How long the queue is and how long it makes people wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from store.models import Job
from store.models.job import PENDING, PROCESSING


@dataclass(frozen=True, slots=True)
class Depth:
    """Jobs of one kind: `due` could begin now, since `oldest_due_at` the first of them; `delayed` wait for their time; `processing` run."""

    due: int = 0
    delayed: int = 0
    processing: int = 0
    oldest_due_at: datetime | None = None


class DepthRepository:
    """Reads what waits and what runs, and nothing of what has ended, of which there may be millions."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def by_kind(self, now: datetime) -> dict[str, Depth]:
        is_due = Job.available_at <= now
        waiting = await self.session.execute(
            select(
                Job.kind,
                func.sum(case((is_due, 1), else_=0)),
                func.count(),
                func.min(Job.available_at),
            )
            .where(Job.status == PENDING)
            .group_by(Job.kind)
        )
        found = {}
        for kind, due, pending, oldest in waiting:
            found[kind] = Depth(due, pending - due, oldest_due_at=oldest if due else None)
        for kind, running in await self.session.execute(select(Job.kind, func.count()).where(Job.status == PROCESSING).group_by(Job.kind)):
            before = found.get(kind, Depth())
            found[kind] = Depth(before.due, before.delayed, running, before.oldest_due_at)
        return found
