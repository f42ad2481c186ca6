from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, ColumnElement, ForeignKey, Index, SQLColumnExpression, String, Text, UniqueConstraint, case, text
from sqlalchemy.orm import Mapped, mapped_column

import tracing
from audio.encode import Format
from store.models.base import Base, JsonObject, Timestamps

PENDING, PROCESSING, COMPLETED, FAILED, CANCELLED = "pending", "processing", "completed", "failed", "cancelled"
FINAL = (COMPLETED, FAILED, CANCELLED)

SYNTHESIS, SAMPLE_PROCESSING, CLONE_BUILD = "synthesis", "sample_processing", "clone_build"
PREVIEW = "preview"  # speech too, but asked for by the library: of no list of jobs
WEBHOOK_DELIVERY = "webhook_delivery"
CLONE_QUALITY = "clone_quality"
TRAINING, TRAINING_REMOVAL = "training", "training_removal"
MAIL = "mail"  # to the person whose job it is; `config` says what about


class Job(Timestamps, Base):
    """A unit of work and, while it is pending, its place in the queue.

    Every kind of background work is a row here, so that one mechanism claims, leases, retries and reports all of it.
    The columns of the sound are used by `synthesis` alone; the other kinds name what they work on in `subject_id`.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("user_id", "idempotency_key"),
        Index("ix_jobs_user_id_kind_created_at", "user_id", "kind", "created_at", "id"),
        Index("ix_jobs_subject_id", "subject_id"),
        Index("ix_jobs_voice_model_id", "voice_model_id"),
        # All that `claim` and `QueueOrder` look at, so that a long queue is walked without reading the rows and their texts.
        Index(
            "ix_jobs_pending",
            *("available_at", "kind", "user_id", "priority", "created_at", "id", "status", "text_length", "speed"),
            sqlite_where=text("status = 'pending'"),
            postgresql_where=text("status = 'pending'"),
        ),
        # What a user's sounds take, summed without reading the rows.
        Index(
            "ix_jobs_stored",
            *("user_id", "output_size"),
            sqlite_where=text("output_size IS NOT NULL"),
            postgresql_where=text("output_size IS NOT NULL"),
        ),
        Index("ix_jobs_processing", "user_id", sqlite_where=text("status = 'processing'"), postgresql_where=text("status = 'processing'")),
        # How long the newest ones took
        Index(
            "ix_jobs_completed",
            *("kind", "completed_at"),
            sqlite_where=text("status = 'completed'"),
            postgresql_where=text("status = 'completed'"),
        ),
        Index(
            "ix_jobs_user_id_cache_key",
            *("user_id", "cache_key"),
            sqlite_where=text("cache_key IS NOT NULL"),
            postgresql_where=text("cache_key IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(32), default=SYNTHESIS)
    subject_id: Mapped[str | None] = mapped_column(String(64))

    # The queue
    status: Mapped[str] = mapped_column(String(16), default=PENDING)
    priority: Mapped[int] = mapped_column(default=0)  # higher first
    attempt: Mapped[int] = mapped_column(default=0)  # claims so far
    available_at: Mapped[datetime]
    lease_owner: Mapped[str | None] = mapped_column(String(128))  # who works on it, or has completed or failed it
    lease_until: Mapped[datetime | None]
    claimed_at: Mapped[datetime | None]  # start of the newest attempt; `started_at` is that of the first
    progress: Mapped[float] = mapped_column(default=0.0)  # 0 to 100
    message: Mapped[str | None] = mapped_column(String(200))  # what is being done, for a person
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_hash: Mapped[str | None] = mapped_column(String(64))  # tells a repeat of the same key from another request
    request_id: Mapped[str | None] = mapped_column(String(128))  # of the request that made the job, for the logs of every tier
    traceparent: Mapped[str | None] = mapped_column(String(55))  # of what made the job, so that its work belongs to the same trace

    # What is to be spoken, and how
    voice_model_id: Mapped[str | None] = mapped_column(String(64))
    text_content: Mapped[str] = mapped_column(Text, default="")
    text_hash: Mapped[str] = mapped_column(String(64), default="")
    text_language: Mapped[str] = mapped_column(String(16), default="")
    text_length: Mapped[int] = mapped_column(default=0)
    word_count: Mapped[int] = mapped_column(default=0)
    config: Mapped[JsonObject] = mapped_column(default=dict)
    output_format: Mapped[Format] = mapped_column(String(8), default="wav")
    sample_rate: Mapped[int] = mapped_column(default=24000)
    speed: Mapped[float] = mapped_column(default=1.0)
    pitch: Mapped[float] = mapped_column(default=1.0)
    volume: Mapped[float] = mapped_column(default=1.0)

    # What came of it
    output_path: Mapped[str | None] = mapped_column(String(255))
    output_size: Mapped[int | None]
    duration: Mapped[float | None]
    result: Mapped[JsonObject | None]  # model used, fallback, dropped characters, chunk times
    cache_key: Mapped[str | None] = mapped_column(String(64))  # all that the sound depends on: the same key is the same sound
    cache_hit: Mapped[bool] = mapped_column(default=False)

    def __init__(self, **columns: Any) -> None:
        # Here and not where the row is written: that may be done for several requests together.
        super().__init__(**{"traceparent": tracing.traceparent()} | columns)


PATIENCE = timedelta(minutes=2)
"""So long newcomers come before others."""


class Turn(Base):
    """When somebody last had a turn in a lane. Of those who run equally many jobs comes next who has waited for over two minutes, longest
    first; then who never had a turn, so that a newcomer is soon served on a busy machine; then who waits longest.
    """

    __tablename__ = "turns"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    lane: Mapped[str] = mapped_column(String(32), primary_key=True)  # see `key`
    claimed_at: Mapped[datetime]  # the newest of their jobs there
    ended_at: Mapped[datetime | None]  # the last one that a worker brought to its end

    @staticmethod
    def key(kinds: Collection[str]) -> str:
        """What the lane of these kinds is called here. Lanes have no kind in common."""
        return min(kinds, default="")

    @classmethod
    def order(cls, created_at: SQLColumnExpression[datetime], long_ago: Any) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
        """What sorts jobs made at that time by their users' turns; `long_ago` is `PATIENCE` before now.

        Somebody waits since their last turn or since the job was made, whichever is later: since the end of that turn and not only since
        its begin, so that a long job is paid for with its length.
        """
        turn = case((cls.ended_at > cls.claimed_at, cls.ended_at), else_=cls.claimed_at)
        since = case((turn > created_at, turn), else_=created_at)
        return case((since < long_ago, 0), (cls.claimed_at.is_(None), 1), else_=2), since


class JobTimestamps(Base):
    """When each word of a job is said. Beside the job's row, as lists of jobs have no use for thousands of words."""

    __tablename__ = "job_timestamps"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    method: Mapped[str] = mapped_column(String(16))  # ctc | estimated
    words: Mapped[list[Any]] = mapped_column(JSON)  # [first character, the one behind the last, start in s, end in s, score or null]
