"""However work ends, who asked to be told is told, signed and at least once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from settings import Settings
from store.clock import utcnow
from store.ids import new_id
from store.models import Job, WebhookDelivery
from store.models.job import WEBHOOK_DELIVERY
from tests.api.inference import FakeInference, refused
from tests.api.rooms import Caller
from tests.api.support import Logs
from tests.receivers import Receiver, receiving, status

Told = Callable[..., Awaitable[dict[str, Any]]]
TEXT = "A text that is nobody else's business."


@pytest.fixture
def settings(settings: Settings) -> Settings:
    quick = {"webhook_allow_private": True, "webhook_retry_s": 0.01, "webhook_max_attempts": 3, "queue_poll_s": 0.05}
    return settings.model_copy(update=quick)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
def told(me: Caller, receiver: Receiver) -> Told:
    """Register the receiver."""

    async def register(*events: str) -> dict[str, Any]:
        made: dict[str, Any] = await me.data("POST", "/webhooks", json={"url": receiver.url} | ({"events": events} if events else {}))
        return made

    return register


async def spoken(me: Caller, **wanted: Any) -> dict[str, Any]:
    job: dict[str, Any] = await me.data("POST", "/job", json={"text_content": TEXT, "voice_model_id": await me.voice()} | wanted)
    return job


async def deliveries(me: Caller, webhook: dict[str, Any], *, ended: int = 1) -> list[dict[str, Any]]:
    """The deliveries once so many have ended."""
    deadline = time.monotonic() + 20
    while True:
        found: list[dict[str, Any]] = await me.data("GET", f"/webhooks/{webhook['id']}/deliveries")
        if sum(each["status"] != "pending" for each in found) >= ended:
            return found
        assert time.monotonic() < deadline, found


async def test_a_job_that_has_completed(me: Caller, receiver: Receiver, told: Told, logs: Logs) -> None:
    webhook = await told()
    job = await spoken(me)
    got = await receiver.next()
    done = await me.data("GET", f"/job/{job['id']}")
    assert got.is_signed_with(webhook["secret"])
    assert got.json.keys() == {"id", "type", "timestamp", "data"}
    assert (got.json["id"], got.json["type"]) == (got.headers["webhook-id"], "job.completed")
    assert got.json["timestamp"].endswith("Z")
    told_of = got.json["data"]
    assert (told_of["job_id"], told_of["status"], told_of["error_code"]) == (job["id"], "completed", None)
    for field in ("output_path", "output_size", "output_format", "duration", "voice_model_id", "completed_at", "created_at"):
        assert told_of[field] == done[field], field
    assert TEXT not in got.body.decode()
    (delivery,) = await deliveries(me, webhook)
    assert (delivery["event"], delivery["event_id"], delivery["subject_id"]) == ("job.completed", got.json["id"], job["id"])
    assert (delivery["status"], delivery["reason"]) == ("delivered", None)
    (attempt,) = delivery["attempts"]
    assert (attempt["status_code"], attempt["reason"]) == (204, None)
    assert webhook["secret"] not in logs.text
    assert receiver.url not in logs.text


async def test_a_job_that_waits_or_runs_and_is_cancelled(me: Caller, inference: FakeInference, receiver: Receiver, told: Told) -> None:
    await told()
    inference.gate.clear()
    running = await spoken(me)
    await inference.waiting.acquire()
    waiting = Job(id=new_id("job"), user_id=me.who.id, text_content=TEXT, available_at=utcnow() + timedelta(days=1))
    await me.add(waiting)
    for job_id in (running["id"], waiting.id):
        await me.data("PATCH", f"/job/{job_id}", json={"status": "cancelled"})
        got = await receiver.next()
        assert (got.json["type"], got.json["data"]["job_id"], got.json["data"]["status"]) == ("job.cancelled", job_id, "cancelled")
    inference.gate.set()


async def test_a_job_that_cannot_be_done(me: Caller, inference: FakeInference, receiver: Receiver, told: Told) -> None:
    await told()
    inference.faults["/plan"] = lambda body: refused("UNSUPPORTED_CHARACTERS")
    job = await spoken(me)
    got = await receiver.next()
    assert (got.json["type"], got.json["data"]["job_id"]) == ("job.failed", job["id"])
    assert (got.json["data"]["error_code"], got.json["data"]["output_path"]) == ("UNSUPPORTED_CHARACTERS", None)


async def test_a_job_whose_workers_died_again_and_again(me: Caller, receiver: Receiver, told: Told) -> None:
    await told()
    past = utcnow() - timedelta(minutes=1)
    job_id = await me.job_row(status="processing", attempt=3, lease_owner="dead", lease_until=past, completed_at=None)
    await me.app.state.rooms.worker.sweeper.recover()
    got = await receiver.next()
    assert (got.json["type"], got.json["data"]["job_id"]) == ("job.failed", job_id)
    assert got.json["data"]["error_code"] == "JOB_INTERRUPTED"


async def test_a_job_that_is_put_back_is_told_of_when_it_ends_again(me: Caller, receiver: Receiver, told: Told) -> None:
    await told("job.completed")
    job_id = await me.job_row(status="failed", voice_model_id=await me.voice(), text_language="en-US")
    await me.data("PATCH", f"/job/{job_id}", json={"status": "pending"})
    assert (await receiver.next()).json["data"]["job_id"] == job_id


async def test_a_voice_that_is_made_and_one_that_cannot_be(me: Caller, inference: FakeInference, receiver: Receiver, told: Told) -> None:
    await told("clone.ready", "clone.failed")
    sample = await me.upload()
    wanted = {"name": "Mine", "sample_ids": [sample["sample_id"]]}
    clone = await me.data("POST", "/voice/clones", json=wanted)
    got = await receiver.next()
    assert (got.json["type"], got.json["data"]["clone_id"], got.json["data"]["status"]) == ("clone.ready", clone["clone_id"], "ready")
    assert got.json["data"]["job_id"] == clone["job_id"]
    inference.faults["/reference"] = lambda body: refused("REFERENCE_TOO_LONG")
    clone = await me.data("POST", "/voice/clones", json=wanted)
    got = await receiver.next()
    assert (got.json["type"], got.json["data"]["clone_id"]) == ("clone.failed", clone["clone_id"])
    assert (got.json["data"]["status"], got.json["data"]["error_code"]) == ("failed", "REFERENCE_TOO_LONG")


async def test_nobody_hears_of_what_is_not_theirs_or_not_wanted(me: Caller, stranger: Caller, receiver: Receiver, told: Told) -> None:
    await told("job.failed")
    await stranger.data("POST", "/webhooks", json={"url": receiver.url})
    job = await spoken(me)
    await me.until(f"/job/{job['id']}", "completed")
    async with me.stores.database.read() as session:
        assert (await session.scalars(select(WebhookDelivery.id))).all() == []
    assert not receiver.received


async def test_what_is_spoken_at_once_is_told_of_when_it_is_kept(
    me: Caller, inference: FakeInference, receiver: Receiver, told: Told
) -> None:
    webhook = await told()
    voice = await me.voice()
    inference.faults["/plan"] = lambda body: refused("UNSUPPORTED_CHARACTERS")
    assert await me.refused("POST", f"/voice/clones/{voice}/synthesize", json={"text": TEXT}) == (400, "UNSUPPORTED_CHARACTERS")
    inference.faults.clear()
    made = await me.data("POST", f"/voice/clones/{voice}/synthesize", json={"text": TEXT})
    got = await receiver.next()
    assert (got.json["type"], got.json["data"]["job_id"]) == ("job.completed", made["job_id"])
    assert len(await deliveries(me, webhook)) == 1, "the failure was the answer to the request, and its job is gone"


async def test_it_is_tried_again_with_the_same_message(me: Caller, receiver: Receiver, told: Told) -> None:
    webhook = await told()
    receiver.answers[:] = [status(500), b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"]
    await spoken(me)
    first, second, third = [await receiver.next() for _ in range(3)]
    assert first.body == second.body == third.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == third.headers["webhook-id"]
    assert all(got.is_signed_with(webhook["secret"]) for got in (first, second, third))
    (delivery,) = await deliveries(me, webhook)
    assert delivery["status"] == "delivered"
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [500, 302, 204]
    assert delivery["attempts"][0]["reason"] == "The receiver answered with status 500"


async def test_it_is_given_up_after_the_last_attempt(me: Caller, receiver: Receiver, told: Told) -> None:
    webhook = await told()
    receiver.answers[:] = [status(503)] * 9
    await spoken(me)
    (delivery,) = await deliveries(me, webhook)
    assert (delivery["status"], len(delivery["attempts"]), len(receiver.received)) == ("failed", 3, 3)
    assert delivery["reason"] == "Given up after 3 attempts: The receiver answered with status 503"
    assert delivery["completed_at"]
    found = (await me.ask("GET", f"/webhooks/{webhook['id']}/deliveries?status=delivered")).json()
    assert (found["data"], found["meta"]["pagination"]["total_count"]) == ([], 0)
    assert await me.refused("GET", f"/webhooks/{webhook['id']}/deliveries?status=lost") == (400, "VALIDATION_ERROR")


async def test_a_receiver_that_is_gone_is_asked_once(me: Caller, receiver: Receiver, told: Told) -> None:
    webhook = await told()
    receiver.answers[:] = [status(410)]
    await spoken(me)
    (delivery,) = await deliveries(me, webhook)
    assert (delivery["status"], len(delivery["attempts"])) == ("failed", 1)


async def test_what_waits_for_a_deleted_webhook_is_not_sent(me: Caller, receiver: Receiver, told: Told) -> None:
    webhook = await told()
    receiver.answers[:] = [status(503, "Retry-After: 600")]
    await spoken(me)
    await receiver.next()
    await me.data("DELETE", f"/webhooks/{webhook['id']}")
    async with me.stores.database.read() as session:
        assert (await session.scalars(select(Job.id).where(Job.kind == WEBHOOK_DELIVERY))).all() == []
        assert (await session.scalars(select(WebhookDelivery.id))).all() == []


async def test_a_receiver_says_when_to_come_again(me: Caller, receiver: Receiver, told: Told) -> None:
    await told()
    receiver.answers[:] = [status(429, "Retry-After: 600")]
    await spoken(me)
    await receiver.next()
    began = utcnow()
    deadline = time.monotonic() + 20
    while True:
        async with me.stores.database.read() as session:
            (job,) = (await session.scalars(select(Job).where(Job.kind == WEBHOOK_DELIVERY))).all()
        if job.status == "pending":
            break
        assert time.monotonic() < deadline
    assert job.available_at - began > timedelta(seconds=590)
    assert job.attempt == 0, "the attempts are those of the delivery"


async def test_a_name_that_leads_inside_since_it_was_registered(me: Caller, receiver: Receiver, told: Told) -> None:
    webhook = await told()
    me.app.state.rooms.webhooks.addresses.allow_private = False
    await spoken(me)
    (delivery,) = await deliveries(me, webhook)
    assert delivery["status"] == "failed"
    assert {attempt["reason"] for attempt in delivery["attempts"]} == {"The URL must be a URL that begins with https://"}
    assert not receiver.connections


async def test_deliveries_of_long_ago_are_forgotten(me: Caller, receiver: Receiver, told: Told) -> None:
    webhook = await told()
    receiver.answers[:] = [status(204), status(503, "Retry-After: 600")]
    await spoken(me)
    await deliveries(me, webhook)
    await spoken(me)
    for _ in range(2):
        await receiver.next()
    sweeper = me.app.state.rooms.worker.sweeper
    assert await sweeper.prune_deliveries() == 0
    async with me.stores.database.write() as session:
        await session.execute(update(WebhookDelivery).values(created_at=utcnow() - timedelta(days=31)))
    assert await sweeper.prune_deliveries() == 1
    assert [each["status"] for each in await me.data("GET", f"/webhooks/{webhook['id']}/deliveries")] == ["pending"]
    async with me.stores.database.read() as session:
        assert len((await session.scalars(select(Job.id).where(Job.kind == WEBHOOK_DELIVERY))).all()) == 1
