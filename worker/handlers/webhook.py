"""Tell a receiver what has happened."""

from __future__ import annotations

import hmac
import random
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from store.models import Job, Webhook, WebhookDelivery
from store.models.webhook import DELIVERED, UNDELIVERED
from store.repositories.webhooks import DeliveryRepository, WebhookRepository
from store.stores import Stores
from worker.errors import JobFailedError, NotYetError
from worker.handlers.base import Outcome, Report
from worker.signatures import hash_of, secret_of
from worker.webhook_sender import WebhookSender

RETRY_FACTOR = 4
MAX_RETRY_S = 6 * 3600.0


class WebhookHandler:
    """Attempts are counted by the requests that were made, not by claims: a worker that stops half-way costs the receiver none."""

    def __init__(
        self, stores: Stores, sender: WebhookSender, *, key: bytes, max_attempts: int, retry_s: float, previous: Sequence[bytes] = ()
    ) -> None:
        """`key` makes the secrets of new webhooks; those of earlier ones may be of one of `previous`."""
        self.stores = stores
        self.sender = sender
        self.key = key
        self.previous = tuple(previous)
        self.max_attempts = max_attempts
        self.retry_s = retry_s

    async def run(self, job: Job, report: Report) -> Outcome:  # noqa: ARG002 - there is no progress in one request
        delivery, webhook = await self._load(job)
        secret = self._secret(webhook)
        answer = await self.sender.send(webhook.url, message_id=delivery.event_id, body=delivery.body, secret=secret)
        async with self.stores.database.write() as session:
            made = await DeliveryRepository(session).attempted(
                delivery.id, status_code=answer.status_code, reason=answer.reason, duration_ms=answer.duration_ms
            )
        if answer.reason is None:

            async def also(session: AsyncSession) -> None:
                await DeliveryRepository(session).end(delivery.id, DELIVERED)

            return Outcome(also=also)
        if answer.gone or made >= self.max_attempts:
            raise JobFailedError("WEBHOOK_UNDELIVERED", f"Given up after {made} attempts: {answer.reason}")
        raise NotYetError("Waiting to be tried again", max(answer.retry_after_s, pause_s(made, self.retry_s)))

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:  # noqa: ARG002 - as the protocol has it
        await DeliveryRepository(session).end(job.subject_id or "", UNDELIVERED, message[:200])

    def _secret(self, webhook: Webhook) -> str:
        for key in (self.key, *self.previous):
            secret = secret_of(key, webhook.id, webhook.salt)
            if hmac.compare_digest(hash_of(secret), webhook.secret_hash):
                return secret
        raise JobFailedError("WEBHOOK_KEY_CHANGED", "The server's key was changed; make the webhook anew to get a new secret")

    async def _load(self, job: Job) -> tuple[WebhookDelivery, Webhook]:
        async with self.stores.database.read() as session:
            delivery = await DeliveryRepository(session).get(job.subject_id or "")
            webhook = await WebhookRepository(session).get(delivery.webhook_id) if delivery else None
        if delivery is None or webhook is None:
            raise JobFailedError("WEBHOOK_NOT_FOUND", "The webhook is gone")
        return delivery, webhook


def pause_s(attempts: int, first_s: float) -> float:
    """How long to wait after so many attempts, in seconds: `first_s`, four times as long each time, at most 6 h, each give or take a half.

    The chance in it keeps receivers that fell over from being met by all that waits for them at once.
    """
    return min(MAX_RETRY_S, first_s * RETRY_FACTOR ** min(attempts - 1, 20)) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
