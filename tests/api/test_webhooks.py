"""Webhooks as their owners deal with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from settings import Settings
from store.models import Webhook
from tests.api.rooms import Caller
from tests.api.support import Logs, error_of

URL = "https://hooks.example/voxify?token=of-the-receiver"
EVENTS = ["clone.failed", "clone.ready", "job.cancelled", "job.completed", "job.failed"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_webhooks": 3})


@pytest.fixture(autouse=True)
def names(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """What the name server says."""
    known = {"hooks.example": ["93.184.215.14"], "inside.example": ["93.184.215.14", "10.0.0.5"], "metadata.example": ["169.254.169.254"]}

    async def lookup(host: str, port: int) -> Sequence[str]:
        if host not in known:
            raise OSError(host)
        return known[host]

    if "me" in request.fixturenames:
        request.getfixturevalue("me").app.state.rooms.webhooks.addresses.lookup = lookup
    return known


async def webhooks(me: Caller) -> int:
    async with me.stores.database.read() as session:
        return await session.scalar(select(func.count()).select_from(Webhook)) or 0


async def test_the_secret_is_shown_once_and_kept_nowhere(me: Caller, logs: Logs) -> None:
    made = await me.data("POST", "/webhooks", json={"url": URL, "events": ["job.failed", "job.completed", "job.failed"]})
    assert made.keys() == {"id", "url", "events", "created_at", "secret"}
    assert (made["url"], made["events"]) == (URL, ["job.completed", "job.failed"])
    assert made["secret"].startswith("whsec_")
    shown = {key: value for key, value in made.items() if key != "secret"}
    assert await me.data("GET", f"/webhooks/{made['id']}") == shown
    assert await me.data("GET", "/webhooks") == [shown]
    row = await me.row(Webhook, made["id"])
    assert made["secret"] not in str({column.key: getattr(row, column.key) for column in Webhook.__table__.columns})
    assert made["id"] in logs.text
    assert made["secret"] not in logs.text
    assert "of-the-receiver" not in logs.text


async def test_of_everything_unless_said(me: Caller) -> None:
    assert (await me.data("POST", "/webhooks", json={"url": URL}))["events"] == EVENTS


async def test_lists_come_in_pages(me: Caller) -> None:
    made = [(await me.data("POST", "/webhooks", json={"url": URL}))["id"] for _ in range(3)]
    answer = (await me.ask("GET", "/webhooks?limit=2&sort_order=asc")).json()
    assert [each["id"] for each in answer["data"]] == made[:2]
    assert (answer["meta"]["pagination"]["total_count"], answer["meta"]["pagination"]["has_more"]) == (3, True)
    assert await me.refused("GET", "/webhooks?sort_by=url") == (400, "VALIDATION_ERROR")


async def test_there_is_an_end_to_them(me: Caller, stranger: Caller) -> None:
    made = [(await me.data("POST", "/webhooks", json={"url": URL}))["id"] for _ in range(3)]
    assert await me.refused("POST", "/webhooks", json={"url": URL}) == (409, "WEBHOOK_LIMIT_REACHED")
    assert await me.data("DELETE", f"/webhooks/{made[0]}") == {"id": made[0]}
    assert await me.refused("GET", f"/webhooks/{made[0]}") == (404, "WEBHOOK_NOT_FOUND")
    await me.data("POST", "/webhooks", json={"url": URL})
    await stranger.data("POST", "/webhooks", json={"url": URL})


async def test_another_persons_webhook_is_none(me: Caller, stranger: Caller) -> None:
    made = await me.data("POST", "/webhooks", json={"url": URL})
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/deliveries")):
        for webhook_id in (made["id"], "wh_none"):
            assert await stranger.refused(method, f"/webhooks/{webhook_id}{path}") == (404, "WEBHOOK_NOT_FOUND")
    assert await stranger.data("GET", "/webhooks") == []
    assert await webhooks(me) == 1


REFUSED = (
    "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.5:8000/", "https://169.254.169.254/latest/meta-data",
    "https://inside.example/", "https://metadata.example/", "https://unknown.example/", "http://hooks.example/", "ftp://hooks.example/",
    "https://me:word@hooks.example/", "https://hooks.example:0/", "hooks.example",
)  # fmt: skip


async def test_addresses_that_are_refused(me: Caller, names: dict[str, list[str]]) -> None:
    for number in ("127.0.0.1", "::1", "10.0.0.5", "169.254.169.254"):
        names[number] = [number]
    for url in REFUSED:
        answer = await me.ask("POST", "/webhooks", json={"url": url})
        assert error_of(answer, 400, "WEBHOOK_URL_NOT_ALLOWED")["details"].keys() == {"url"}, url
    assert await webhooks(me) == 0


async def test_what_is_inside_is_not_told_from_what_is_nowhere(me: Caller) -> None:
    answers = [await me.ask("POST", "/webhooks", json={"url": f"https://{host}.example/"}) for host in ("inside", "unknown")]
    assert answers[0].json()["error"]["details"] == answers[1].json()["error"]["details"]


async def test_bodies_that_are_refused(me: Caller) -> None:
    bodies: list[tuple[dict[str, Any], str]] = [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": 7}, "url"),
        ({"url": f"https://hooks.example/{'a' * 2048}"}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": "job.completed"}, "events"),
        ({"url": URL, "events": ["job.started"]}, "events.0"),
    ]
    for body, field in bodies:
        assert field in error_of(await me.ask("POST", "/webhooks", json=body), 400, "VALIDATION_ERROR")["details"]
    assert await webhooks(me) == 0


async def test_only_for_who_is_known(client: Any) -> None:
    for method, path in (("POST", ""), ("GET", ""), ("GET", "/wh_1"), ("DELETE", "/wh_1"), ("GET", "/wh_1/deliveries")):
        error_of(await client.request(method, f"/api/v1/webhooks{path}"), 401, "UNAUTHORIZED")
