from __future__ import annotations

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, deferred, mapped_column, relationship

from store.models.base import Base, JsonObject, Timestamps


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
    style: Mapped[str] = mapped_column(String(50), default="neutral")
    format: Mapped[str] = mapped_column(String(16))
    duration: Mapped[float]
    sample_rate: Mapped[int]
    channels: Mapped[int]
    size: Mapped[int]
    original_path: Mapped[str] = mapped_column(String(255))
    prepared_path: Mapped[str | None] = mapped_column(String(255))
    prepared_duration: Mapped[float | None]
    status: Mapped[str] = mapped_column(String(16), default="uploaded")  # uploaded → processing → ready | failed
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    quality_metrics: Mapped[JsonObject | None]
    # 256 float32 of unit length; the vector index is rebuilt from here
    embedding: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))


class Clone(Timestamps, Base):
    """A voice that can speak: a reference sound within the model's limit and the text that is spoken in it."""

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
    parameters: Mapped[JsonObject] = mapped_column(default=dict)
    quality_metrics: Mapped[JsonObject | None]

    samples: Mapped[list[CloneSample]] = relationship(
        lazy="selectin", order_by="CloneSample.position", cascade="all, delete-orphan", passive_deletes=True
    )


class CloneSample(Base):
    __tablename__ = "clone_samples"

    clone_id: Mapped[str] = mapped_column(ForeignKey("clones.id", ondelete="CASCADE"), primary_key=True)
    # A sample in use stays. Not RESTRICT, which would refuse to delete a user whose clones go in the same statement.
    sample_id: Mapped[str] = mapped_column(ForeignKey("samples.id"), primary_key=True, index=True)
    position: Mapped[int]
