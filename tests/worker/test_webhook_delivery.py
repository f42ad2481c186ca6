"""A delivery is a job: it is there when the end that it tells of is there, survives the worker, and is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from store.clock import utcnow
from store.models import Job, User, Webhook, WebhookAttempt, WebhookDelivery
from store.models.job import WEBHOOK_DELIVERY
from store.repositories.queue import JobQueue
from store.repositories.webhooks import WebhookRepository
from store.stores import Stores
from tests.receivers import Receiver, receiving
from tests.worker.conftest import MakeJob
from worker.addresses import Addresses
from worker.handlers.base import Outcome, Report
from worker.handlers.webhook import MAX_RETRY_S, WebhookHandler, pause_s
from worker.run import JobRunner
from worker.signatures import hash_of, secret_of
from worker.sweeper import Sweeper
from worker.webhook_sender import WebhookSender

KEY = b"the key of the server"
SECRET = secret_of(KEY, "wh_1", "salt")
ReadJob = Callable[[str], Awaitable[Job]]


class Spoken:
    """A handler of speech that is done at once."""

    def __init__(self, also: Callable[[AsyncSession], Awaitable[None]] | None = None) -> None:
        self.outcome = Outcome({"duration": 1.5}, also=also) if also else Outcome({"duration": 1.5})

    async def run(self, job: Job, report: Report) -> Outcome:
        return self.outcome

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:
        return None


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def runner(stores: Stores, receiver: Receiver) -> AsyncIterator[JobRunner]:
    """With a webhook of the person to the receiver."""
    sender = WebhookSender(Addresses(allow_private=True), timeout_s=10)
    webhooks = WebhookHandler(stores, sender, key=KEY, max_attempts=3, retry_s=60)
    async with stores.database.write() as session:
        row = Webhook(id="wh_1", user_id="user_1", url=receiver.url, events=["job.completed"], salt="salt", secret_hash=hash_of(SECRET))
        session.add(row)
    yield JobRunner(stores, {"synthesis": Spoken(), WEBHOOK_DELIVERY: webhooks}, lease_s=30, max_attempts=3, notify=lambda _id: None)
    await sender.close()


async def claim(runner: JobRunner, kind: str) -> Job:
    async with runner.stores.database.write() as session:
        job = await JobQueue(session).claim(runner.new_owner(), runner.lease_s, [kind])
    assert job is not None
    return job


async def rows(stores: Stores, model: Any) -> list[Any]:
    async with stores.database.read() as session:
        return list((await session.scalars(select(model))).all())


async def test_the_delivery_and_the_end_come_in_one_commit(
    runner: JobRunner, stores: Stores, make_job: MakeJob, job_row: ReadJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(session: AsyncSession) -> None:
        raise RuntimeError("the other half cannot be written")

    async def away(self: WebhookRepository, user_id: str, event: str) -> list[Webhook]:
        raise RuntimeError("the webhooks cannot be read")

    made = await make_job()
    runner.handlers = {**runner.handlers, "synthesis": Spoken(broken)}
    with pytest.raises(RuntimeError):
        await runner.run(await claim(runner, "synthesis"))
    assert (await job_row(made.id)).status == "processing"
    assert await rows(stores, WebhookDelivery) == [], "nobody is told of an end that is none"
    made = await make_job()
    runner.handlers = {**runner.handlers, "synthesis": Spoken()}
    with monkeypatch.context() as patched:
        patched.setattr(WebhookRepository, "subscribed", away)
        with pytest.raises(RuntimeError):
            await runner.run(await claim(runner, "synthesis"))
    assert (await job_row(made.id)).status == "processing", "there is no end that nobody is told of"


async def test_a_worker_that_dies_with_a_delivery_leaves_it_to_the_next(
    runner: JobRunner, stores: Stores, make_job: MakeJob, receiver: Receiver
) -> None:
    await make_job()
    await runner.run(await claim(runner, "synthesis"))
    await claim(runner, WEBHOOK_DELIVERY)  # by a process that dies at once
    async with stores.database.write() as session:
        await session.execute(update(Job).where(Job.kind == WEBHOOK_DELIVERY).values(lease_until=utcnow() - timedelta(seconds=1)))
    assert await Sweeper(runner, orphan_grace_s=60).recover() == 1
    assert await runner.run(await claim(runner, WEBHOOK_DELIVERY)) == "completed"
    (got,) = receiver.received
    (delivery,) = await rows(stores, WebhookDelivery)
    assert got.is_signed_with(SECRET)
    assert (delivery.status, delivery.event_id) == ("delivered", got.headers["webhook-id"])


async def test_a_worker_that_stops_in_the_middle_costs_no_attempt(
    runner: JobRunner, stores: Stores, make_job: MakeJob, receiver: Receiver
) -> None:
    await make_job()
    await runner.run(await claim(runner, "synthesis"))
    receiver.answers[:] = [None]
    running = asyncio.create_task(runner.run(await claim(runner, WEBHOOK_DELIVERY)))
    first = await receiver.next()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await rows(stores, WebhookAttempt) == []
    assert await runner.run(await claim(runner, WEBHOOK_DELIVERY)) == "completed"
    assert (await receiver.next()).headers["webhook-id"] == first.headers["webhook-id"], "by it the receiver knows them to be one"


async def test_a_delivery_whose_workers_die_again_and_again_has_failed(
    runner: JobRunner, stores: Stores, make_job: MakeJob, receiver: Receiver
) -> None:
    await make_job()
    await runner.run(await claim(runner, "synthesis"))
    dead = {"status": "processing", "attempt": 3, "lease_owner": "dead", "lease_until": utcnow() - timedelta(seconds=1)}
    async with stores.database.write() as session:
        await session.execute(update(Job).where(Job.kind == WEBHOOK_DELIVERY).values(dead))
    await Sweeper(runner, orphan_grace_s=60).recover()
    (delivery,) = await rows(stores, WebhookDelivery)
    assert (delivery.status, receiver.received) == ("failed", [])
    assert "interrupted 3 times" in delivery.reason


async def test_a_key_that_was_changed_signs_nothing(runner: JobRunner, stores: Stores, make_job: MakeJob, receiver: Receiver) -> None:
    await make_job()
    await runner.run(await claim(runner, "synthesis"))
    handler = runner.handlers[WEBHOOK_DELIVERY]
    assert isinstance(handler, WebhookHandler)
    handler.key = b"another key"
    assert await runner.run(await claim(runner, WEBHOOK_DELIVERY)) == "failed"
    (delivery,) = await rows(stores, WebhookDelivery)
    assert delivery.status == "failed"
    assert "key was changed" in delivery.reason
    assert not receiver.connections


async def test_what_is_deleted_while_it_is_sent_leaves_nothing(
    runner: JobRunner, stores: Stores, make_job: MakeJob, receiver: Receiver
) -> None:
    await make_job()
    await runner.run(await claim(runner, "synthesis"))
    receiver.answers[:] = [None]
    runner.lease_s = 0.3
    running = asyncio.create_task(runner.run(await claim(runner, WEBHOOK_DELIVERY)))
    await receiver.next()
    async with stores.database.write() as session:
        assert await WebhookRepository(session).remove("user_1", "wh_1")
    assert await running == "lost"
    for model in (WebhookDelivery, WebhookAttempt):
        assert await rows(stores, model) == []


async def test_the_webhooks_of_an_account_go_with_it(runner: JobRunner, stores: Stores, make_job: MakeJob) -> None:
    await make_job()
    await runner.run(await claim(runner, "synthesis"))
    async with stores.database.write() as session:
        await session.delete(await session.get_one(User, "user_1"))
    for model in (Webhook, WebhookDelivery, Job):
        assert await rows(stores, model) == []


def test_pauses_grow_and_differ_and_end() -> None:
    pauses = [[pause_s(attempts, 5) for _ in range(200)] for attempts in range(1, 12)]
    for attempts, drawn in enumerate(pauses):
        middle = min(MAX_RETRY_S, 5 * 4**attempts)
        assert all(0.5 * middle <= pause <= 1.5 * middle for pause in drawn)
        assert max(drawn) - min(drawn) > 0.5 * middle, "those that failed together do not come back together"
    assert pause_s(10_000, 5) <= 1.5 * MAX_RETRY_S
