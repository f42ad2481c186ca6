from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, Parameter

from api.auth.principal import Caller
from api.envelope import Envelope, Meta, ok
from api.errors import documented
from api.pagination import AskedWindow, pagination, paging
from api.webhooks.schemas import DeliveryOut, NewWebhook, WebhookCreate, WebhookDeleted, WebhookOut
from api.webhooks.service import WebhookService

Webhooks = NamedDependency[WebhookService]


@post("/", status_code=HTTPStatus.CREATED, responses=documented(401, 409, 413, 415), summary="Be told when work has ended")
async def create_webhook(principal: Caller, webhooks: Webhooks, data: JSONBody[WebhookCreate]) -> Envelope[NewWebhook]:
    """Each event is POSTed to the URL, signed as Standard Webhooks has it. The secret is shown in this answer and never again."""
    row, secret = await webhooks.create(principal.user_id, data)
    return ok(NewWebhook.made(row, secret), "Webhook created; keep the secret, it is not shown again")


@get("/", dependencies={"window": paging(("created_at",))}, responses=documented(401), summary="List your webhooks")
async def list_webhooks(principal: Caller, webhooks: Webhooks, window: AskedWindow) -> Envelope[list[WebhookOut]]:
    rows, total = await webhooks.list(principal.user_id, window)
    return ok([WebhookOut.of(row) for row in rows], meta=Meta(pagination=pagination(window, total)))


@get("/{webhook_id:str}", responses=documented(401, 404), summary="One webhook")
async def get_webhook(principal: Caller, webhooks: Webhooks, webhook_id: FromPath[str]) -> Envelope[WebhookOut]:
    return ok(WebhookOut.of(await webhooks.get(principal.user_id, webhook_id)))


@delete("/{webhook_id:str}", status_code=HTTPStatus.OK, responses=documented(401, 404), summary="Delete a webhook")
async def delete_webhook(principal: Caller, webhooks: Webhooks, webhook_id: FromPath[str]) -> Envelope[WebhookDeleted]:
    """What was on its way to it is not sent any more."""
    await webhooks.delete(principal.user_id, webhook_id)
    return ok(WebhookDeleted(id=webhook_id), "Webhook deleted")


@get(
    "/{webhook_id:str}/deliveries",
    dependencies={"window": paging(("created_at", "completed_at", "status"))},
    responses=documented(401, 404),
    summary="What was sent, and how it went",
)
async def list_deliveries(
    principal: Caller,
    webhooks: Webhooks,
    webhook_id: FromPath[str],
    window: AskedWindow,
    status: Annotated[Literal["pending", "delivered", "failed"] | None, Parameter(description="only these")] = None,
) -> Envelope[list[DeliveryOut]]:
    rows, attempts, total = await webhooks.deliveries(principal.user_id, webhook_id, window, status)
    out = [DeliveryOut.of(row, attempts.get(row.id, ())) for row in rows]
    return ok(out, meta=Meta(pagination=pagination(window, total)))


router = Router(
    "/webhooks",
    route_handlers=[create_webhook, list_webhooks, get_webhook, delete_webhook, list_deliveries],
    tags=["webhooks"],
)
