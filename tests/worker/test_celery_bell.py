"""The doorbell and the slots behind it, without a broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from tests.servers import free_port
from worker import celery_bell
from worker.beat import Beat
from worker.celery_app import celery_app, queue_of
from worker.celery_bell import CeleryBell
from worker.celery_worker import LaneSlots, hold
from worker.lanes import LANES, MAIL, SPEECH, TRAINING


def test_a_broker_that_is_not_there_is_nobodys_problem(caplog: pytest.LogCaptureFixture) -> None:
    bell = CeleryBell(f"amqp://guest:hunter2@127.0.0.1:{free_port()}//")
    bell.start()
    began = time.monotonic()
    for _ in range(10_000):
        bell.ring(LANES[SPEECH])
        bell.ring()
    assert time.monotonic() - began < 30, "nothing waits"
    deadline = time.monotonic() + 30
    while not bell.away and time.monotonic() < deadline:
        time.sleep(0.01)
    assert bell.away
    bell.ring()
    assert len(bell._lanes) <= len(LANES), "it remembers lanes and not rings"
    began = time.monotonic()
    bell.close()
    assert time.monotonic() - began < celery_bell.CLOSE_S + 20
    assert "hunter2" not in caplog.text


class Line:
    """A broker that takes messages while `open` is set."""

    def __init__(self, bell: CeleryBell, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.sent, self.tries = True, list[str](), 0
        monkeypatch.setattr(bell, "_send", self._send)
        self.bell = bell

    def _send(self, lanes: list[str]) -> list[str]:
        self.tries += 1
        if not self.open:
            return lanes
        self.sent += lanes
        return []

    def wait_for(self, there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not there():
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_what_could_not_be_rung_for_is_rung_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    bell = CeleryBell("amqp://nobody")
    line = Line(bell, monkeypatch)
    line.open = False
    bell.start()
    bell.ring(LANES[SPEECH])
    line.wait_for(lambda: line.tries >= 2)
    bell.ring(LANES[TRAINING])
    line.open = True
    line.wait_for(lambda: len(line.sent) == 2)
    assert line.sent == [SPEECH, TRAINING]
    bell.ring()
    line.wait_for(lambda: len(line.sent) == 2 + len(LANES))
    bell.close()


class Jobs:
    """A queue with so many jobs in it, which take until `gate` is open."""

    def __init__(self, count: int) -> None:
        self.left, self.running, self.done = count, 0, 0
        self.gate = asyncio.Event()
        self.changed = asyncio.Condition()
        self.runner = SimpleNamespace(stores=SimpleNamespace(database=None))

    async def claim_and_run(self, kinds: Collection[str], claimed: Callable[[], None] = lambda: None) -> bool:
        if not self.left:
            return False
        self.left -= 1
        self.running += 1
        claimed()
        try:
            await self._changed()
            await self.gate.wait()
            self.done += 1
        finally:
            self.running -= 1
            await self._changed()
        return True

    async def _changed(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, there: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(there)


@pytest.fixture
def nothing_else_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> None:
        return None

    monkeypatch.setattr("worker.celery_worker.ring_due", nothing)


@pytest.mark.usefixtures("nothing_else_is_due")
async def test_one_message_is_enough_for_any_number_of_jobs_and_slots() -> None:
    jobs, looks = Jobs(7), list[asyncio.Task[None]]()
    slots: LaneSlots

    def ring(kinds: Collection[str]) -> None:
        assert kinds == LANES[SPEECH]
        looks.append(asyncio.create_task(slots.look(SPEECH)))

    slots = LaneSlots(jobs, ring, {SPEECH: 3, MAIL: 1})  # type: ignore[arg-type]
    ring(LANES[SPEECH])
    await jobs.until(lambda: jobs.running == 3)
    jobs.gate.set()
    await jobs.until(lambda: jobs.done == 7)
    await asyncio.gather(*looks)
    assert len(looks) == 8, "one for each job, and the first"


@pytest.mark.usefixtures("nothing_else_is_due")
async def test_draining_waits_and_then_interrupts_and_claims_no_more() -> None:
    jobs = Jobs(5)
    slots = LaneSlots(jobs, lambda *_: None, {SPEECH: 2})  # type: ignore[arg-type]
    looks = [asyncio.create_task(slots.look(SPEECH)) for _ in range(3)]
    await jobs.until(lambda: jobs.running == 2)
    await slots.drain(0.05)
    assert (jobs.running, jobs.done, jobs.left) == (0, 0, 3)
    assert all(look.done() for look in looks)
    await slots.look(SPEECH)
    assert jobs.left == 3


@pytest.mark.usefixtures("nothing_else_is_due")
async def test_a_worker_looks_by_itself_now_and_then() -> None:
    jobs = Jobs(1)
    jobs.gate.set()
    slots = LaneSlots(jobs, lambda *_: None, {SPEECH: 1})  # type: ignore[arg-type]
    patrol = asyncio.create_task(slots.patrol(0.01))
    await jobs.until(lambda: jobs.done == 1)
    patrol.cancel()


@pytest.mark.usefixtures("nothing_else_is_due")
async def test_a_job_of_hours_holds_no_message_for_hours() -> None:
    jobs = Jobs(1)
    slots = LaneSlots(jobs, lambda *_: None, {SPEECH: 1})  # type: ignore[arg-type]
    looking = asyncio.run_coroutine_threadsafe(slots.look(SPEECH), asyncio.get_running_loop())
    await jobs.until(lambda: jobs.running == 1)
    await asyncio.to_thread(hold, looking, SPEECH, 0.01)
    assert jobs.running == 1, "it goes on"
    jobs.gate.set()
    await jobs.until(lambda: jobs.done == 1)


def test_a_look_that_goes_wrong_is_no_reason_to_keep_the_message() -> None:
    broken: Future[None] = Future()
    broken.set_exception(OSError("the database is away"))
    hold(broken, SPEECH)
    stopped: Future[None] = Future()
    stopped.cancel()
    stopped.set_running_or_notify_cancel()
    hold(stopped, SPEECH)


def test_queues_are_of_the_kind_that_survives_and_hold_a_bounded_number_of_messages() -> None:
    app = celery_app("amqp://nobody", {SPEECH: 3, MAIL: 1})
    queues = app.amqp.queues
    assert set(queues) == {queue_of(SPEECH), queue_of(MAIL)}
    for queue in queues.values():
        assert queue.durable
        assert queue.queue_arguments == {"x-queue-type": "quorum", "x-max-length": 1000, "x-overflow": "drop-head"}
    assert queues[queue_of(SPEECH)].slots == 3
    assert set(celery_app("amqp://nobody").amqp.queues) == {queue_of(lane) for lane in LANES}


async def test_the_beat_rings_for_what_is_due_and_two_of_them_are_no_harm(stores: Any, make_job: Any) -> None:
    class Idle:
        def __init__(self) -> None:
            self.stores = stores

        async def nothing(self) -> int:
            return 0

        recover = remove_orphans = prune_deliveries = prune_jobs = nothing

    rung: list[Collection[str]] = []
    heard = asyncio.Event()

    def ring(kinds: Collection[str]) -> None:
        rung.append(kinds)
        if len(rung) >= 4:
            heard.set()

    await make_job(kind="synthesis")
    await make_job(kind="training", status="completed")
    beats = [Beat(Idle(), ring, sweep_s=60, orphan_sweep_s=60, look_s=0.01) for _ in range(2)]  # type: ignore[arg-type]
    for beat in beats:
        beat.start()
    async with asyncio.timeout(20):
        await heard.wait()
    assert all(beat.alive for beat in beats)
    for beat in beats:
        await beat.stop()
    assert set(rung) == {LANES[SPEECH]}
