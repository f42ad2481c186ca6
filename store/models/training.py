from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from store.models.base import Base


class TrainingSample(Base):
    """A recording that a training learns from. The training itself is its job."""

    __tablename__ = "training_samples"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    sample_id: Mapped[str] = mapped_column(ForeignKey("samples.id", ondelete="CASCADE"), primary_key=True, index=True)
    position: Mapped[int]


class CloneTraining(Base):
    """That a clone speaks with what a training has made. Without a row it speaks with the model that everybody has."""

    __tablename__ = "clone_trainings"

    clone_id: Mapped[str] = mapped_column(ForeignKey("clones.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
