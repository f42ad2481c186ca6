from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from store.clock import utcnow
from store.models.base import Base, Timestamps

# What an account may be: a person, a program of our own, or a person who looks after the platform.
USER, SERVICE, ADMIN = "user", "service", "admin"


class User(Timestamps, Base):
    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)  # lower case: addresses are compared without case
    password_hash: Mapped[str] = mapped_column(String(255))
    first_name: Mapped[str | None] = mapped_column(String(100))
    last_name: Mapped[str | None] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(16), default=USER)
    is_active: Mapped[bool] = mapped_column(default=True)
    active_clone_id: Mapped[str | None] = mapped_column(String(64))
    last_login_at: Mapped[datetime | None]
    # What an admin set for this account alone; NULL: what the settings say for everybody
    limit_requests_per_minute: Mapped[int | None]
    limit_samples_per_day: Mapped[int | None]
    limit_jobs_per_day: Mapped[int | None]
    limit_storage_bytes: Mapped[int | None] = mapped_column(BigInteger)


class RefreshToken(Base):
    """One row a refresh token. A family is the chain of tokens that one login began; it ends as a whole.

    A service token has such a row too, a family of one that is never exchanged, so that it can be ended.
    """

    __tablename__ = "refresh_tokens"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    family_id: Mapped[str] = mapped_column(String(64), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class PasswordReset(Base):
    """A mailed token, good once: its use removes every row of the account."""

    __tablename__ = "password_resets"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)  # SHA-256, hexadecimal
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime]


class ApiKey(Base):
    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256, hexadecimal
    prefix: Mapped[str] = mapped_column(String(16))  # how the key begins, so that its owner knows which it is
    scopes: Mapped[list[str]] = mapped_column(JSON)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)


class Throttle(Base):
    """How much of a limit is used up, as the moment when all of it will be free again (milliseconds of Unix time)."""

    __tablename__ = "throttles"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)  # a keyed hash: neither an account nor an address is readable
    free_at_ms: Mapped[int] = mapped_column(BigInteger, index=True)
