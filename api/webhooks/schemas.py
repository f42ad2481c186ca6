from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, get_args

import msgspec
from pydantic import Field, StringConstraints

from api.body import RequestModel
from store.models import Webhook, WebhookAttempt, WebhookDelivery
from worker.addresses import MAX_URL_LENGTH

EventName = Literal["job.completed", "job.failed", "job.cancelled", "clone.ready", "clone.failed"]
ALL_EVENTS: tuple[EventName, ...] = get_args(EventName)


class WebhookCreate(RequestModel):
    """Where to be told, and of what: of everything unless `events` says."""

    url: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_URL_LENGTH),
        Field(examples=["https://example.com/voxify"]),
    ]
    events: Annotated[list[EventName], Field(min_length=1, max_length=20, default_factory=lambda: list(ALL_EVENTS))]


class WebhookOut(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    url: str
    events: list[str]
    created_at: datetime

    @classmethod
    def of(cls, row: Webhook) -> WebhookOut:
        return cls(id=row.id, url=row.url, events=row.events, created_at=row.created_at)


class NewWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook and the secret that its messages are signed with (`whsec_` and base64), which is shown this once."""

    id: str
    url: str
    events: list[str]
    created_at: datetime
    secret: str

    @classmethod
    def made(cls, row: Webhook, secret: str) -> NewWebhook:
        return cls(id=row.id, url=row.url, events=row.events, created_at=row.created_at, secret=secret)


class WebhookDeleted(msgspec.Struct, frozen=True, kw_only=True):
    id: str


class AttemptOut(msgspec.Struct, frozen=True, kw_only=True):
    """One request to the receiver. `status_code` is None when there was no answer; `reason` is None when it was taken."""

    at: datetime
    status_code: int | None
    reason: str | None
    duration_ms: int

    @classmethod
    def of(cls, row: WebhookAttempt) -> AttemptOut:
        return cls(at=row.created_at, status_code=row.status_code, reason=row.reason, duration_ms=row.duration_ms)


class DeliveryOut(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way: `pending`, `delivered`, or `failed` with a reason. `event_id` is the `webhook-id` that was sent."""

    id: str
    webhook_id: str
    event_id: str
    event: str
    subject_id: str
    status: str
    reason: str | None
    attempts: list[AttemptOut]
    created_at: datetime
    completed_at: datetime | None

    @classmethod
    def of(cls, row: WebhookDelivery, attempts: Sequence[WebhookAttempt]) -> DeliveryOut:
        return cls(
            id=row.id,
            webhook_id=row.webhook_id,
            event_id=row.event_id,
            event=row.event,
            subject_id=row.subject_id,
            status=row.status,
            reason=row.reason,
            attempts=[AttemptOut.of(attempt) for attempt in attempts],
            created_at=row.created_at,
            completed_at=row.completed_at,
        )
