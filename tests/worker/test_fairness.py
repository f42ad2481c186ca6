"""Whose turn it is, with real workers: nobody is starved, and no lane holds up another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from store.models import Job, User
from store.models.job import SYNTHESIS, TRAINING
from store.stores import Stores
from worker.claims import Claims
from worker.handlers.base import Outcome, Report
from worker.lanes import SPEECH
from worker.lanes import TRAINING as TRAINING_LANE
from worker.run import JobRunner
from worker.sweeper import Sweeper
from worker.worker import Worker

LIGHT = "user_2"


class Scripted:
    """Notes who is spoken for and how many at once; each job takes as long as `gate` is closed."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.most: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.began = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, job: Job, report: Report) -> Outcome:
        self.order.append(job.user_id)
        self.running[job.user_id] += 1
        self.most[job.user_id] = max(self.most[job.user_id], self.running[job.user_id])
        self.most["all"] = max(self.most["all"], self.running.total())
        self.began.release()
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.running[job.user_id] -= 1
        return Outcome()

    async def on_failure(self, *_: Any) -> None:
        raise AssertionError


@asynccontextmanager
async def working(stores: Stores, handlers: dict[str, Any], *, workers: int = 1, slots: int = 1, **bounds: Any) -> AsyncIterator[None]:
    made = []
    for _ in range(workers):
        runner = JobRunner(stores, handlers, lease_s=30, max_attempts=3, notify=lambda _: None)
        lanes = {SPEECH: slots, TRAINING_LANE: 1}
        sweeper = Sweeper(runner, orphan_grace_s=60)
        made.append(Worker(runner, sweeper, lanes=lanes, poll_s=0.05, sweep_s=60, orphan_sweep_s=60, claims=Claims(runner, **bounds)))
    for worker in made:
        worker.start()
    try:
        async with asyncio.timeout(60):
            yield
    finally:
        for worker in made:
            await worker.stop(5)


@pytest.fixture
async def done(stores: Stores, job_row: Callable[[str], Awaitable[Job]]) -> Callable[..., Awaitable[None]]:
    async with stores.database.write() as session:
        session.add(User(id=LIGHT, email="two@example.com", password_hash="-"))

    async def done(*jobs: Job) -> None:
        for job in jobs:
            while (await job_row(job.id)).status != "completed":
                await asyncio.sleep(0.01)

    return done


async def light_job(stores: Stores, like: Job) -> Job:
    job = Job(id=f"{like.id}-light", user_id=LIGHT, kind=SYNTHESIS, available_at=like.available_at)
    async with stores.database.write() as session:
        session.add(job)
    return job


async def test_whoever_comes_with_one_job_does_not_wait_for_all_of_a_heavy_user(stores: Stores, make_job: Any, done: Any) -> None:
    speech = Scripted()
    speech.gate.clear()
    heavy = [await make_job(priority=5) for _ in range(12)]
    async with working(stores, {SYNTHESIS: speech}, workers=2):
        for _ in range(2):
            await speech.began.acquire()
        light = await light_job(stores, heavy[0])
        speech.gate.set()
        await done(light, *heavy)
    assert speech.order.index(LIGHT) <= 3, "as soon as a slot was free"


async def test_one_user_runs_no_more_at_once_than_allowed_in_several_processes(stores: Stores, make_job: Any, done: Any) -> None:
    speech = Scripted()
    speech.gate.clear()
    heavy = [await make_job() for _ in range(6)]
    async with working(stores, {SYNTHESIS: speech}, workers=2, slots=2, user_concurrency=1):
        await speech.began.acquire()
        light = await light_job(stores, heavy[0])
        await speech.began.acquire()
        assert sorted(speech.order) == ["user_1", LIGHT], "the free slots are not given to the heavy user"
        speech.gate.set()
        await done(light, *heavy)
    assert speech.most["user_1"] == 1


async def test_a_lane_runs_no_more_at_once_than_allowed_in_several_processes(stores: Stores, make_job: Any, done: Any) -> None:
    speech = Scripted()
    jobs = [await make_job() for _ in range(12)]
    async with working(stores, {SYNTHESIS: speech}, workers=2, slots=2, lane_concurrency={SPEECH: 3}):
        await done(*jobs)
    assert speech.most["all"] <= 3


async def test_training_never_holds_up_a_sentence(stores: Stores, make_job: Any, done: Any) -> None:
    speech, training = Scripted(), Scripted()
    training.gate.clear()
    trainings = [await make_job(kind=TRAINING) for _ in range(3)]
    async with working(stores, {SYNTHESIS: speech, TRAINING: training}):
        await training.began.acquire()
        sentences = [await make_job() for _ in range(4)]
        await done(*sentences)
        assert training.order == ["user_1"]
        training.gate.set()
        await done(*trainings)
