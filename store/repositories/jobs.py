from __future__ import annotations

import builtins
from collections import namedtuple
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Integer, Select, bindparam, delete, func, select, update

from store.clock import utcnow
from store.models import Job, JobTimestamps, Turn
from store.models.job import CANCELLED, COMPLETED, FAILED, FINAL, PENDING, PREVIEW, PROCESSING, SYNTHESIS, TRAINING
from store.repositories.base import Repository, Window


@dataclass(frozen=True, slots=True)
class JobFilter:
    """`created_after` is within the time asked for, `created_before` is not."""

    status: str | None = None
    voice_model_id: str | None = None
    text_search: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


Stamp = tuple[int, str, float, str | None]
"""What changes in a row while its job is worked on: attempt, status, progress in percent, message."""

# Of use to the queue alone.
_UNSEEN = {
    *("subject_id", "priority", "available_at", "lease_owner", "lease_until", "traceparent"),
    *("idempotency_key", "request_hash", "cache_key"),
}
# What clients ask for again and again; made once, as the columns are many.
_OWNED = select(Job).where(Job.user_id == bindparam("owner"), Job.id == bindparam("job"))
# By the table and not by its class: SQLAlchemy then makes no more of a row than it is.
_JOBS: Any = Job.__table__
_COLUMNS = tuple(column for column in _JOBS.c if column.name not in _UNSEEN)
# A row of SQLAlchemy looks its columns up by name each time; an answer names most of them.
_as_seen = cast("Any", namedtuple("SeenJob", [column.name for column in _COLUMNS]))._make
_SEEN = select(*_COLUMNS).where(_JOBS.c.id == bindparam("job"))
_SEEN_OWNED = _SEEN.where(_JOBS.c.user_id == bindparam("owner"))
_CONDITIONS = {
    "status": _JOBS.c.status == bindparam("status"),
    "voice_model_id": _JOBS.c.voice_model_id == bindparam("voice_model_id"),
    "text_search": _JOBS.c.text_content.icontains(bindparam("text_search"), escape="/"),
    "created_after": _JOBS.c.created_at >= bindparam("created_after"),
    "created_before": _JOBS.c.created_at < bindparam("created_before"),
}


class JobRepository(Repository[Job]):
    """Jobs as their owners see them. How workers see them: :mod:`store.repositories.queue`."""

    model = Job

    async def owned(self, user_id: str, row_id: str) -> Job | None:
        """The job if it is this person's."""
        found: Job | None = await self.session.scalar(_OWNED, {"owner": user_id, "job": row_id})
        return found

    async def seen(self, job_id: str, user_id: str | None) -> Job | None:
        """The job as it reads, if it is this person's; None: whoever it belongs to.

        Not an object of the session, whose attributes it has: to follow what becomes of one costs more than to read it.
        """
        found: Any = await self.session.execute(_SEEN if user_id is None else _SEEN_OWNED, {"job": job_id, "owner": user_id})
        row = found.first()
        job: Job | None = None if row is None else _as_seen(row)
        return job

    async def many(self, job_ids: Collection[str]) -> Sequence[Job]:
        """Those of the jobs that there are, whoever they belong to."""
        return (await self.session.scalars(select(Job).where(Job.id.in_(job_ids)))).all() if job_ids else []

    async def stamps(self, job_ids: Collection[str]) -> dict[str, Stamp]:
        """Of those of the jobs that there are, far cheaper than the rows, whose texts are long."""
        found = await self.session.execute(select(Job.id, Job.attempt, Job.status, Job.progress, Job.message).where(Job.id.in_(job_ids)))
        return {job_id: (attempt, status, progress, message) for job_id, attempt, status, progress, message in found}

    async def by_idempotency_key(self, user_id: str, key: str) -> Job | None:
        found: Job | None = await self.session.scalar(self._owned(user_id).where(Job.idempotency_key == key))
        return found

    async def list(self, user_id: str, window: Window, wanted: JobFilter) -> tuple[Sequence[Job], int]:
        """The person's synthesis jobs, as they read: see `seen`."""
        values = {name: value for name in _CONDITIONS if (value := getattr(wanted, name))}
        count, part = _listing(tuple(values), window.sort_by, window.sort_order)
        values |= {"owner": user_id, "text_search": _escaped(wanted.text_search)} if wanted.text_search else {"owner": user_id}
        found: Any = await self.session.execute(part, values | {"limit": window.limit, "offset": window.offset})
        if rows := found.all():
            return [_as_seen(row[1:]) for row in rows], rows[0].total
        # Behind the last one there is nobody to say how many there are.
        return [], (await self.session.scalar(count, values)) or 0 if window.offset else 0

    async def get_for_update(self, job_id: str) -> Job | None:
        """As `get`, kept from changing until the transaction ends where the database can do that for a single row."""
        found: Job | None = await self.session.scalar(select(Job).where(Job.id == job_id).with_for_update())
        return found

    async def update_pending(self, job_id: str, **columns: Any) -> bool:
        """Change what a job is to do, as long as nobody has begun with it. False: somebody has, or it has ended or is gone."""
        changed = await self.session.scalar(
            update(Job)
            .where(Job.id == job_id, Job.status == PENDING)
            .values(**columns)
            .returning(Job)
            .execution_options(populate_existing=True)
        )
        return changed is not None

    async def forget_output(self, job_id: str, output_path: str) -> bool:
        """Let the row no longer name this object. False: it does not, or no longer."""
        changed = await self.session.scalar(
            update(Job)
            .where(Job.id == job_id, Job.output_path == output_path)
            .values(output_path=None, output_size=None, duration=None)
            .returning(Job)
            .execution_options(populate_existing=True)
        )
        return changed is not None

    async def in_progress_of(self, subject_id: str) -> Job | None:
        """The newest background work on a sample or clone that has not ended; speaking a preview and training are none."""
        found: Job | None = await self.session.scalar(
            select(Job)
            .where(Job.subject_id == subject_id, Job.status.in_((PENDING, PROCESSING)), Job.kind.not_in((PREVIEW, TRAINING)))
            .order_by(Job.created_at.desc(), Job.id.desc())
            .limit(1)
        )
        return found

    async def same_sound(self, user_id: str, cache_key: str) -> Job | None:
        """The newest of the person's jobs that was spoken just so and still has its file."""
        found: Job | None = await self.session.scalar(
            self._owned(user_id)
            .where(Job.cache_key == cache_key, Job.status == COMPLETED, Job.output_path.is_not(None))
            .order_by(Job.completed_at.desc(), Job.id.desc())
            .limit(1)
        )
        return found

    async def timestamps(self, job_id: str) -> JobTimestamps | None:
        """When the words of the job are said, if that was found out."""
        return await self.session.get(JobTimestamps, job_id)

    async def keep_timestamps(self, found: JobTimestamps) -> None:
        """Keep what was found out, unless somebody else was faster. Raises IntegrityError when the job is gone."""
        if await self.timestamps(found.job_id) is None:
            self.session.add(found)
            await self.session.flush()

    async def hold_of(self, subject_id: str) -> None:
        """Keep the background work on a sample or clone from changing until the transaction ends, where rows can be kept so."""
        await self.session.execute(select(Job.id).where(Job.subject_id == subject_id).order_by(Job.id).with_for_update())

    async def delete_of(self, subject_id: str) -> None:
        """Delete the background work on a sample or clone that goes too. A worker that is at it loses its lease and stops."""
        await self.session.execute(delete(Job).where(Job.subject_id == subject_id))

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job that has not ended. A worker that is at it finds its lease lost and stops. False: it has ended, or is gone."""
        cancelled = await self.session.scalar(
            update(Job)
            .where(Job.id == job_id, Job.status.in_((PENDING, PROCESSING)))
            .values(status=CANCELLED, completed_at=utcnow(), message="Cancelled", lease_owner=None, lease_until=None)
            .returning(Job)
            .execution_options(populate_existing=True)
        )
        return cancelled is not None

    async def fail_pending(self, job_id: str, code: str, message: str) -> bool:
        """Fail a job that nobody has begun with. False: somebody has, or it has ended or is gone."""
        failed = await self.session.scalar(
            update(Job)
            .where(Job.id == job_id, Job.status == PENDING)
            .values(status=FAILED, completed_at=utcnow(), message="Failed", error_code=code, error_message=message)
            .returning(Job)
            .execution_options(populate_existing=True)
        )
        return failed is not None

    async def retry(self, job_id: str) -> bool:
        """Put a failed or cancelled job back in the queue, as if it were new."""
        again = await self.session.scalar(
            update(Job)
            .where(Job.id == job_id, Job.status.in_((FAILED, CANCELLED)))
            .values(
                status=PENDING, attempt=0, progress=0.0, available_at=self._now(), message=None,
                error_code=None, error_message=None, started_at=None, completed_at=None, lease_owner=None, lease_until=None,
                output_path=None, output_size=None, duration=None, result=None,
            )
            .returning(Job)
            .execution_options(populate_existing=True)
        )  # fmt: skip
        if again is None:
            return False
        # It was made long ago, but its owner waits for it only from now on.
        await self.session.execute(update(Turn).where(Turn.user_id == again.user_id).values(ended_at=self._now()))
        return True

    async def ended_before(self, kinds: Collection[str], before: datetime, limit: int) -> Sequence[str]:
        """Up to `limit` jobs of these kinds that ended before this."""
        old = select(Job.id).where(Job.kind.in_(kinds), Job.status.in_(FINAL), Job.completed_at < before).limit(limit)
        return (await self.session.scalars(old)).all()

    async def prune(self, job_ids: Collection[str], before: datetime) -> builtins.list[str | None]:
        """Delete those of the jobs that ended before this. For each the key of its object, if any: the caller deletes these."""
        gone = delete(Job).where(Job.id.in_(job_ids), Job.status.in_(FINAL), Job.completed_at < before).returning(Job.output_path)
        return [*await self.session.scalars(gone)]

    async def delete(self, job_id: str) -> bool:
        """Delete a job that is not running. False when it is, or is gone."""
        gone = await self.session.execute(delete(Job).where(Job.id == job_id, Job.status != PROCESSING).returning(Job.id))
        return gone.first() is not None


@lru_cache(maxsize=256)
def _listing(conditions: tuple[str, ...], sort_by: str, sort_order: str) -> tuple[Select[Any], Select[Any]]:
    """How many jobs of somebody there are under these conditions; and that number with each of a part of them."""
    wanted = (_JOBS.c.user_id == bindparam("owner"), _JOBS.c.kind == SYNTHESIS, *(_CONDITIONS[name] for name in conditions))
    count = select(func.count()).select_from(_JOBS).where(*wanted)
    rows = select(count.correlate(None).scalar_subquery().label("total"), *_COLUMNS).where(*wanted)
    ordered = rows.order_by(*JobRepository._order(sort_by, sort_order))
    return count, ordered.limit(bindparam("limit", type_=Integer)).offset(bindparam("offset", type_=Integer))


def _escaped(text: str) -> str:
    """For LIKE, with `/` as the character that escapes."""
    return text.replace("/", "//").replace("%", "/%").replace("_", "/_")
