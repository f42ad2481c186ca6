from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from store.clock import utcnow
from store.models.base import Base, Timestamps

# Where a delivery stands.
WAITING, DELIVERED, UNDELIVERED = "pending", "delivered", "failed"

JOB_COMPLETED, JOB_FAILED, JOB_CANCELLED = "job.completed", "job.failed", "job.cancelled"
CLONE_READY, CLONE_FAILED = "clone.ready", "clone.failed"


class Webhook(Timestamps, Base):
    """An address that somebody wants to be told at. Its secret is made of the server's key and `salt`, and not kept."""

    __tablename__ = "webhooks"
    __table_args__ = (Index("ix_webhooks_user_id_created_at", "user_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(String(2048))  # may hold a token of the receiver's: never logged
    events: Mapped[list[str]] = mapped_column(JSON)
    salt: Mapped[str] = mapped_column(String(64))
    secret_hash: Mapped[str] = mapped_column(String(64))  # SHA-256, hexadecimal: tells when the server's key was changed


class WebhookDelivery(Base):
    """One event on its way to one address. A job of kind `webhook_delivery` carries it, with this row as its subject."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_webhook_id_created_at", "webhook_id", "created_at", "id"),
        Index("ix_webhook_deliveries_created_at", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event_id: Mapped[str] = mapped_column(String(64))
    event: Mapped[str] = mapped_column(String(32))
    subject_id: Mapped[str] = mapped_column(String(64))  # the job or the clone that it is about
    body: Mapped[str] = mapped_column(Text)  # exactly what is sent, the same bytes at every attempt
    status: Mapped[str] = mapped_column(String(16), default=WAITING)
    reason: Mapped[str | None] = mapped_column(String(200))  # why it was given up
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    completed_at: Mapped[datetime | None]


class WebhookAttempt(Base):
    """One request to the receiver, and what came of it: a status, or the reason why there was none."""

    __tablename__ = "webhook_attempts"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    delivery_id: Mapped[str] = mapped_column(ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), index=True)
    status_code: Mapped[int | None]
    reason: Mapped[str | None] = mapped_column(String(200))
    duration_ms: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
