"""What is kept about voices, clones and presets alike.

A voice is named by the id of its clone or its preset. Presets have no table, so that only `clone_id` can be a foreign key: it is set for
clones, and takes the row along when the clone goes.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from store.clock import utcnow
from store.models.base import Base, Timestamps


class VoiceFavorite(Base):
    __tablename__ = "voice_favorites"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    voice_id: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)
    clone_id: Mapped[str | None] = mapped_column(ForeignKey("clones.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)


class VoiceRating(Timestamps, Base):
    """What a person thinks of a voice: 1 to 5, the more the better."""

    __tablename__ = "voice_ratings"
    # With all that the mean of a voice is made of, so that the rows themselves need not be read.
    __table_args__ = (Index("ix_voice_ratings_voice_id", "voice_id", "user_id", "rating"),)

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    voice_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    clone_id: Mapped[str | None] = mapped_column(ForeignKey("clones.id", ondelete="CASCADE"), index=True)
    rating: Mapped[int] = mapped_column(SmallInteger)


class VoiceUsage(Base):
    """How often a voice has spoken, added up as its jobs end.

    A counter, not a query: a list of voices must not walk the jobs of everybody, and what was spoken stays spoken when its job is deleted.
    """

    __tablename__ = "voice_usage"

    voice_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    clone_id: Mapped[str | None] = mapped_column(ForeignKey("clones.id", ondelete="CASCADE"), index=True)
    completed: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    audio_s: Mapped[float] = mapped_column(default=0.0)  # of all that was completed
    # Of what was spoken, not taken from a cache: how many jobs, their sound, and the time that they took. Seconds.
    timed: Mapped[int] = mapped_column(default=0)
    timed_audio_s: Mapped[float] = mapped_column(default=0.0)
    synthesis_s: Mapped[float] = mapped_column(default=0.0)
    last_used_at: Mapped[datetime] = mapped_column(default=utcnow)


class VoicePreview(Timestamps, Base):
    """The job that made, or makes, the preview of a voice. `fingerprint` tells what of: with another one it is made anew."""

    __tablename__ = "voice_previews"

    voice_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    clone_id: Mapped[str | None] = mapped_column(ForeignKey("clones.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    model: Mapped[str | None] = mapped_column(String(128))  # that spoke the language when it was asked for, if that was known
