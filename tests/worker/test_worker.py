"""A bell that rings while a slot looks at the queue is heard when it has looked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from worker.lanes import LANES, SPEECH, VOICE, slots_of
from worker.worker import Worker


class SlowQueue:
    """A database in which the first look for speech takes until `go`, and nothing is ever found."""

    def __init__(self) -> None:
        self.looking, self.go, self.again = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.voice_looks = asyncio.Semaphore(0)
        self.looks = 0

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Any]:
        yield self

    def get_bind(self) -> Any:
        return SimpleNamespace(dialect=SimpleNamespace(name="sqlite"))

    async def scalar(self, statement: Any) -> None:
        # Both of what waits and of what runs; a lane looks at no other's.
        (kinds,) = {frozenset(value) for value in statement.compile().params.values() if isinstance(value, list | tuple)}
        if kinds == frozenset(LANES[VOICE]):
            self.voice_looks.release()
        if kinds != frozenset(LANES[SPEECH]):
            return
        self.looks += 1
        if self.looks == 1:
            self.looking.set()
            await self.go.wait()
        else:
            self.again.set()


def worker_on(queue: SlowQueue) -> Worker:
    """One slot in each lane, which the bell alone wakes, and nothing to sweep."""
    runner: Any = SimpleNamespace(stores=SimpleNamespace(database=queue), new_owner=lambda: "w-1", lease_s=30)
    nothing: Any = SimpleNamespace(
        recover=lambda: asyncio.sleep(0, 0),
        remove_orphans=lambda: asyncio.sleep(0, 0),
        prune_deliveries=lambda: asyncio.sleep(0, 0),
        prune_jobs=lambda: asyncio.sleep(0, 0),
    )
    return Worker(runner, nothing, lanes=slots_of(1), poll_s=600, sweep_s=600, orphan_sweep_s=600)


async def test_no_slot_silences_the_bell_of_another() -> None:
    queue = SlowQueue()
    worker = worker_on(queue)
    worker.start()
    async with asyncio.timeout(60):
        await queue.looking.wait()
        await queue.voice_looks.acquire()
        worker.ring()  # a job was written after the speech slot had begun to look
        await queue.voice_looks.acquire()  # the other slot has heard it, and gone back to wait
        queue.go.set()
        await queue.again.wait()
    await worker.stop(grace_s=1)


async def test_a_bell_for_one_lane_wakes_no_other() -> None:
    queue = SlowQueue()
    queue.go.set()
    worker = worker_on(queue)
    worker.start()
    async with asyncio.timeout(60):
        await queue.looking.wait()
        await queue.voice_looks.acquire()
        worker.ring(LANES[SPEECH])
        await queue.again.wait()
        assert queue.voice_looks.locked(), "the voices' slot has not looked again"
        worker.ring(LANES[VOICE])
        await queue.voice_looks.acquire()
    assert queue.looks == 2
    await worker.stop(grace_s=1)
