from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from store.clock import utcnow
from store.models.base import Base, JsonObject


class Counter(Base):
    """How often something happened in a window of time that ends at `ends_at_ms` (milliseconds of Unix time)."""

    __tablename__ = "counters"

    key: Mapped[str] = mapped_column(String(96), primary_key=True)
    count: Mapped[int]
    ends_at_ms: Mapped[int] = mapped_column(BigInteger, index=True)


class SettingOverride(Base):
    """A setting that an admin changed while the platform ran: it wins over the environment until it is taken away."""

    __tablename__ = "setting_overrides"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)
    updated_at: Mapped[datetime] = mapped_column(default=utcnow, onupdate=utcnow)
    updated_by: Mapped[str] = mapped_column(String(64))


class AuditEntry(Base):
    """What an admin changed. It outlives the accounts that it names, so that it refers to them without a foreign key."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_created_at", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    actor_id: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(64))  # the id of a user, or `config`
    before: Mapped[JsonObject]
    after: Mapped[JsonObject]
    request_id: Mapped[str | None] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
