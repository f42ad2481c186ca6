from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, deferred, mapped_column, relationship

from store.clock import utcnow
from store.models.base import Base, JsonObject, Timestamps

if TYPE_CHECKING:
    from store.models.training import CloneTraining

NEUTRAL = "neutral"


class Sample(Timestamps, Base):
    """A recording of a voice. `original_path` is what was uploaded, `prepared_path` the 24 kHz mono form that is cloned from."""

    __tablename__ = "samples"
    __table_args__ = (Index("ix_samples_user_id_created_at", "user_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    description: Mapped[str | None] = mapped_column(Text)
    language: Mapped[str | None] = mapped_column(String(16))
    ref_text: Mapped[str | None] = mapped_column(Text)
    style: Mapped[str] = mapped_column(String(50), default=NEUTRAL)  # how it is spoken: happy, sad, or a word of its owner's
    format: Mapped[str] = mapped_column(String(16))
    duration: Mapped[float]
    sample_rate: Mapped[int]
    channels: Mapped[int]
    size: Mapped[int]
    original_path: Mapped[str] = mapped_column(String(255))
    prepared_path: Mapped[str | None] = mapped_column(String(255))
    prepared_duration: Mapped[float | None]
    prepared_size: Mapped[int | None]  # bytes
    status: Mapped[str] = mapped_column(String(16), default="uploaded")  # uploaded → processing → ready | failed
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    quality_metrics: Mapped[JsonObject | None]
    # 256 float32 of unit length; the vector index is rebuilt from here
    embedding: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))


class Clone(Timestamps, Base):
    """A voice that can speak: a reference sound within the model's limit and the text that is spoken in it.

    One made of samples in several styles has a reference for each: that of its default style here, the others in `references`.
    """

    __tablename__ = "clones"
    __table_args__ = (Index("ix_clones_user_id_created_at", "user_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    description: Mapped[str | None] = mapped_column(Text)
    language: Mapped[str] = mapped_column(String(16))
    ref_text: Mapped[str | None] = mapped_column(Text)  # as asked for; None: the samples' own
    status: Mapped[str] = mapped_column(String(16), default="pending")  # pending → processing → ready | failed
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    reference_path: Mapped[str | None] = mapped_column(String(255))
    reference_text: Mapped[str | None] = mapped_column(Text)  # what is spoken in the reference
    reference_duration: Mapped[float | None]
    reference_size: Mapped[int | None]  # bytes of all its references together
    reference_style: Mapped[str | None] = mapped_column(String(50))
    parameters: Mapped[JsonObject] = mapped_column(default=dict)
    quality_metrics: Mapped[JsonObject | None]  # what worker.handlers.clone_quality writes
    # 256 float32 of unit length, of the reference; the vector index is rebuilt from here
    embedding: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))

    samples: Mapped[list[CloneSample]] = relationship(
        lazy="selectin", order_by="CloneSample.position", cascade="all, delete-orphan", passive_deletes=True
    )
    references: Mapped[list[CloneReference]] = relationship(
        lazy="selectin", order_by="CloneReference.style", cascade="all, delete-orphan", passive_deletes=True
    )
    training: Mapped[CloneTraining | None] = relationship(lazy="selectin", cascade="all, delete-orphan", passive_deletes=True)

    @property
    def styles(self) -> list[str]:
        """The styles that it speaks in, the default one first; none until it has been made."""
        if self.reference_path is None:
            return []
        return [self.reference_style or NEUTRAL, *(reference.style for reference in self.references)]

    def reference_in(self, style: str | None) -> tuple[str, str] | None:
        """The key of its reference in a style, None for the default one, and what is spoken in it; None while or where there is none."""
        if self.reference_path is None or self.reference_text is None:
            return None
        if style is None or style == self.styles[0]:
            return self.reference_path, self.reference_text
        return next(((each.path, each.text) for each in self.references if each.style == style), None)

    @property
    def training_job_id(self) -> str | None:
        """The training whose voice it speaks with; None: it speaks with the model that everybody has."""
        return self.training.job_id if self.training is not None else None

    @property
    def objects(self) -> list[str]:
        """The keys of all that is stored of it."""
        return [path for path in (self.reference_path, *(reference.path for reference in self.references)) if path]


class CloneSample(Base):
    __tablename__ = "clone_samples"

    clone_id: Mapped[str] = mapped_column(ForeignKey("clones.id", ondelete="CASCADE"), primary_key=True)
    # A sample in use stays. Not RESTRICT, which would refuse to delete a user whose clones go in the same statement.
    sample_id: Mapped[str] = mapped_column(ForeignKey("samples.id"), primary_key=True, index=True)
    position: Mapped[int]
    # What the making of the clone has shown; the sample itself may be described anew later.
    style: Mapped[str | None] = mapped_column(String(50))
    quality_score: Mapped[float | None]
    used: Mapped[bool | None]  # in a reference; None until the clone has been made
    reason_code: Mapped[str | None] = mapped_column(String(64))  # why it is in none
    reason: Mapped[str | None] = mapped_column(Text)


class CloneReference(Base):
    """The reference of a clone in one of its further styles."""

    __tablename__ = "clone_references"

    clone_id: Mapped[str] = mapped_column(ForeignKey("clones.id", ondelete="CASCADE"), primary_key=True)
    style: Mapped[str] = mapped_column(String(50), primary_key=True)
    path: Mapped[str] = mapped_column(String(255))
    text: Mapped[str] = mapped_column(Text)
    duration: Mapped[float]


class CloneConsent(Base):
    """What was said about the consent of the person whose voice a clone is. Written with the clone, never changed, gone with it."""

    __tablename__ = "clone_consents"

    clone_id: Mapped[str] = mapped_column(ForeignKey("clones.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(64))  # who said it
    who: Mapped[str] = mapped_column(String(200))
    relation: Mapped[str] = mapped_column(String(32))
    statement: Mapped[str] = mapped_column(Text)
    accepted: Mapped[bool]
    recorded_at: Mapped[datetime] = mapped_column(default=utcnow)
    client_address: Mapped[str | None] = mapped_column(String(64))  # from where it was said, as the server saw it
