from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update

from store.clock import utcnow
from store.ids import new_id
from store.models import Job, Webhook, WebhookAttempt, WebhookDelivery
from store.models.job import WEBHOOK_DELIVERY
from store.models.webhook import WAITING
from store.repositories.base import Repository, Window


class WebhookRepository(Repository[Webhook]):
    model = Webhook

    async def list(self, user_id: str, window: Window) -> tuple[Sequence[Webhook], int]:
        return await self._window(self._owned(user_id), window)

    async def count(self, user_id: str) -> int:
        return await self.session.scalar(select(func.count()).select_from(Webhook).where(Webhook.user_id == user_id)) or 0

    async def subscribed(self, user_id: str, event: str) -> Sequence[Webhook]:
        """The person's webhooks that want to hear of this event. They are few, so that no database has to search their lists."""
        rows = await self.session.scalars(self._owned(user_id).order_by(Webhook.created_at, Webhook.id))
        return [row for row in rows if event in row.events]

    async def remove(self, user_id: str, webhook_id: str) -> bool:
        """Remove the webhook if it is this person's, with all that is on its way to it; whether it was."""
        deliveries = select(WebhookDelivery.id).join(Webhook).where(Webhook.id == webhook_id, Webhook.user_id == user_id)
        await self.session.execute(delete(Job).where(Job.kind == WEBHOOK_DELIVERY, Job.subject_id.in_(deliveries)))
        removed = await self.session.execute(
            delete(Webhook).where(Webhook.id == webhook_id, Webhook.user_id == user_id).returning(Webhook.id)
        )
        return removed.first() is not None


class DeliveryRepository(Repository[WebhookDelivery]):
    model = WebhookDelivery

    async def list(self, webhook_id: str, window: Window, status: str | None = None) -> tuple[Sequence[WebhookDelivery], int]:
        """The deliveries to one webhook, whose owner the caller has checked."""
        statement = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
        if status:
            statement = statement.where(WebhookDelivery.status == status)
        return await self._window(statement, window)

    async def attempts(self, delivery_ids: Collection[str]) -> Mapping[str, Sequence[WebhookAttempt]]:
        """What was tried for each of these, the first attempt first."""
        rows = await self.session.scalars(
            select(WebhookAttempt)
            .where(WebhookAttempt.delivery_id.in_(delivery_ids))
            .order_by(WebhookAttempt.created_at, WebhookAttempt.id)
        )
        found: defaultdict[str, list[WebhookAttempt]] = defaultdict(list)
        for row in rows:
            found[row.delivery_id].append(row)
        return found

    async def attempted(self, delivery_id: str, *, status_code: int | None, reason: str | None, duration_ms: int) -> int:
        """Note an attempt. How many there were in all, or 0 when the delivery is gone."""
        # Locked, where rows can be: a webhook that is being deleted must not take the row away in between.
        held = await self.session.scalar(
            select(WebhookDelivery.id).where(WebhookDelivery.id == delivery_id).with_for_update(key_share=True)
        )
        if held is None:
            return 0
        self.session.add(
            WebhookAttempt(id=new_id("wha"), delivery_id=delivery_id, status_code=status_code, reason=reason, duration_ms=duration_ms)
        )
        await self.session.flush()
        made = select(func.count()).select_from(WebhookAttempt).where(WebhookAttempt.delivery_id == delivery_id)
        return await self.session.scalar(made) or 0

    async def end(self, delivery_id: str, status: str, reason: str | None = None) -> None:
        """Say how it went. One that has ended stays as it is."""
        await self.session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.id == delivery_id, WebhookDelivery.status == WAITING)
            .values(status=status, reason=reason, completed_at=utcnow())
        )

    async def prune(self, before: datetime) -> int:
        """Remove what ended and is older than this, with the jobs that carried it. How many deliveries there were."""
        old = select(WebhookDelivery.id).where(WebhookDelivery.created_at < before, WebhookDelivery.status != WAITING)
        await self.session.execute(delete(Job).where(Job.kind == WEBHOOK_DELIVERY, Job.subject_id.in_(old)))
        removed = await self.session.execute(
            delete(WebhookDelivery)
            .where(WebhookDelivery.created_at < before, WebhookDelivery.status != WAITING)
            .returning(WebhookDelivery.id)
        )
        return len(removed.all())
