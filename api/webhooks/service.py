"""Who wants to be told when work has ended."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import structlog

from api.errors import ConflictError, NotFoundError, ValidationFailedError, found
from api.webhooks.schemas import WebhookCreate
from store.database import Database
from store.ids import new_id
from store.models import Webhook, WebhookAttempt, WebhookDelivery
from store.repositories.base import Window
from store.repositories.webhooks import DeliveryRepository, WebhookRepository
from worker.addresses import Addresses, AddressRefusedError, InvalidAddressError, parsed
from worker.signatures import hash_of, secret_of

log = structlog.get_logger(__name__)


class WebhookService:
    def __init__(self, database: Database, addresses: Addresses, *, key: bytes, max_webhooks: int) -> None:
        self.database = database
        self.addresses = addresses
        self.key = key
        self.max_webhooks = max_webhooks

    async def create(self, user_id: str, wanted: WebhookCreate) -> tuple[Webhook, str]:
        """A new webhook and its secret, which is not kept."""
        await self._check(wanted.url)
        webhook_id, salt = new_id("wh"), secrets.token_hex(16)
        secret = secret_of(self.key, webhook_id, salt)
        events = sorted(set(wanted.events))
        row = Webhook(id=webhook_id, user_id=user_id, url=wanted.url, events=events, salt=salt, secret_hash=hash_of(secret))
        async with self.database.write() as session:
            webhooks = WebhookRepository(session)
            if await webhooks.count(user_id) >= self.max_webhooks:
                raise ConflictError(f"An account may have {self.max_webhooks} webhooks; delete one first", code="WEBHOOK_LIMIT_REACHED")
            webhooks.add(row)
        log.info("webhook made", user_id=user_id, webhook_id=webhook_id)
        return row, secret

    async def list(self, user_id: str, window: Window) -> tuple[Sequence[Webhook], int]:
        async with self.database.read() as session:
            return await WebhookRepository(session).list(user_id, window)

    async def get(self, user_id: str, webhook_id: str) -> Webhook:
        async with self.database.read() as session:
            return found(await WebhookRepository(session).owned(user_id, webhook_id), "webhook")

    async def delete(self, user_id: str, webhook_id: str) -> None:
        """Remove the webhook and all that is on its way to it."""
        async with self.database.write() as session:
            if not await WebhookRepository(session).remove(user_id, webhook_id):
                raise NotFoundError("webhook")
        log.info("webhook removed", user_id=user_id, webhook_id=webhook_id)

    async def deliveries(
        self, user_id: str, webhook_id: str, window: Window, status: str | None
    ) -> tuple[Sequence[WebhookDelivery], Mapping[str, Sequence[WebhookAttempt]], int]:
        """The deliveries in the window, what was tried for each, and how many there are in all."""
        async with self.database.read() as session:
            found(await WebhookRepository(session).owned(user_id, webhook_id), "webhook")
            deliveries = DeliveryRepository(session)
            rows, total = await deliveries.list(webhook_id, window, status)
            return rows, await deliveries.attempts([row.id for row in rows]), total

    async def _check(self, url: str) -> None:
        try:
            await self.addresses.of(parsed(url, plain=self.addresses.allow_private))
        except (InvalidAddressError, AddressRefusedError) as refused:
            raise ValidationFailedError({"url": str(refused)}, code="WEBHOOK_URL_NOT_ALLOWED") from refused
