"""What the owners of jobs are told when these end."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from store.clock import utcnow
from store.ids import new_id
from store.models import Job, WebhookDelivery
from store.models.job import CANCELLED, CLONE_BUILD, COMPLETED, FAILED, SYNTHESIS, WEBHOOK_DELIVERY
from store.models.webhook import CLONE_FAILED, CLONE_READY, JOB_CANCELLED, JOB_COMPLETED, JOB_FAILED
from store.repositories.webhooks import WebhookRepository

EVENTS = {
    (SYNTHESIS, COMPLETED): JOB_COMPLETED,
    (SYNTHESIS, FAILED): JOB_FAILED,
    (SYNTHESIS, CANCELLED): JOB_CANCELLED,
    (CLONE_BUILD, COMPLETED): CLONE_READY,
    (CLONE_BUILD, FAILED): CLONE_FAILED,
}
DIRECT_FAILURE = "DIRECT_SYNTHESIS_FAILED"
"""The code of a synthesis whose request has waited for it: the answer told of the failure, and the job is gone with it."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The body that is sent. It names things and does not hold them: no text, no sound."""

    id: str
    type: str
    timestamp: datetime
    data: dict[str, Any]


async def announce(session: AsyncSession, job: Job) -> None:
    """Queue what the owner's webhooks are to hear of a job that has just ended, in the transaction that ended it."""
    kind = EVENTS.get((job.kind, job.status))
    if kind is None or job.error_code == DIRECT_FAILURE:
        return
    webhooks = await WebhookRepository(session).subscribed(job.user_id, kind)
    if not webhooks:
        return
    now = utcnow()
    event = Event(id=new_id("evt"), type=kind, timestamp=now, data=_clone(job) if job.kind == CLONE_BUILD else _job(job))
    body = msgspec.json.encode(event).decode()
    subject = (job.subject_id if job.kind == CLONE_BUILD else job.id) or job.id
    for webhook in webhooks:
        delivery = WebhookDelivery(
            id=new_id("whd"), webhook_id=webhook.id, event_id=event.id, event=kind, subject_id=subject, body=body, created_at=now
        )
        session.add(delivery)
        session.add(
            Job(
                id=new_id("job"),
                user_id=job.user_id,
                kind=WEBHOOK_DELIVERY,
                subject_id=delivery.id,
                available_at=now,
                request_id=job.request_id,
            )
        )


def _job(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "status": job.status,
        "voice_model_id": job.voice_model_id,
        "output_path": f"/api/v1/file/synthesis/{job.id}" if job.output_path else None,
        "output_format": job.output_format,
        "output_size": job.output_size,
        "duration": job.duration,
        "error_code": job.error_code,
        "error_message": job.error_message,
        "created_at": job.created_at,
        "completed_at": job.completed_at,
    }


def _clone(job: Job) -> dict[str, Any]:
    return {
        "clone_id": job.subject_id,
        "job_id": job.id,
        "status": "ready" if job.status == COMPLETED else job.status,
        "error_code": job.error_code,
        "error_message": job.error_message,
        "completed_at": job.completed_at,
    }
