"""Which status of a job may follow which, and who may say so."""

from __future__ import annotations

from api.errors import ConflictError
from store.models import Job
from store.models.job import CANCELLED, COMPLETED, FAILED, PENDING, PROCESSING, SYNTHESIS, TRAINING

NEXT: dict[str, frozenset[str]] = {
    PENDING: frozenset({PROCESSING, CANCELLED, FAILED}),
    PROCESSING: frozenset({COMPLETED, FAILED, CANCELLED}),
    COMPLETED: frozenset(),
    FAILED: frozenset({PENDING}),
    CANCELLED: frozenset({PENDING}),
}
OWNERS = frozenset({CANCELLED, PENDING})
"""What the owner of a job may make of it; the rest is said by those who work on it."""


def check_transition(job: Job, status: str) -> None:
    """Raises ConflictError: ``INVALID_STATUS_TRANSITION``."""
    if status not in NEXT[job.status]:
        raise invalid_transition(job.status, status)


def invalid_transition(status: str, wanted: str) -> ConflictError:
    return ConflictError(f"A {status} job cannot become {wanted}", code="INVALID_STATUS_TRANSITION")


def require_synthesis(job: Job) -> None:
    """Raises ConflictError: a sample or a clone whose job is taken away would be in the making for ever."""
    if job.kind != SYNTHESIS:
        raise ConflictError("This job belongs to a sample or a voice and goes when that is deleted", code="BACKGROUND_JOB")


def require_own(job: Job) -> None:
    """Raises ConflictError for what its owner can neither cancel nor ask for again: all but speech and trainings."""
    if job.kind != TRAINING:
        require_synthesis(job)
