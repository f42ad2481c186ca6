"""What is removed after its time, and what never is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from store.clock import utcnow
from store.models import Job
from store.models.job import CLONE_BUILD, MAIL, PREVIEW, SAMPLE_PROCESSING, TRAINING, WEBHOOK_DELIVERY
from store.stores import Stores
from worker import sweeper as sweeper_module
from worker.run import JobRunner
from worker.sweeper import Sweeper


@pytest.fixture
def runner(stores: Stores) -> JobRunner:
    return JobRunner(stores, {}, lease_s=30, max_attempts=3, notify=lambda _: None)


async def left(stores: Stores) -> set[str]:
    async with stores.database.read() as session:
        return set(await session.scalars(select(Job.id)))


def ended(days_ago: float, status: str = "completed") -> dict[str, Any]:
    return {"status": status, "completed_at": utcnow() - timedelta(days=days_ago)}


async def test_jobs_that_ended_long_ago_go_with_their_sound(
    stores: Stores, runner: JobRunner, make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper_module, "PRUNE_BATCH", 2)
    old = [await make_job(**ended(8, status)) for status in ("completed", "failed", "cancelled")]
    old += [await make_job(kind, **ended(8)) for kind in (SAMPLE_PROCESSING, CLONE_BUILD)]
    spoken, young = await make_job(output_path="jobs/old/1.wav", **ended(8)), await make_job(output_path="jobs/young/1.wav", **ended(6))
    for job in (spoken, young):
        await stores.objects.put(job.output_path, b"sound")
    kept = [young, await make_job(), await make_job(status="processing", lease_until=utcnow())]
    kept += [await make_job(kind, **ended(999)) for kind in (PREVIEW, TRAINING, WEBHOOK_DELIVERY)]
    assert await Sweeper(runner, orphan_grace_s=60, job_keep_days=7).prune_jobs() == len(old) + 1
    assert await left(stores) == {job.id for job in kept}
    assert [stat.key async for stat in stores.objects.list()] == [young.output_path]


async def test_without_a_limit_jobs_stay_and_only_mail_goes(stores: Stores, runner: JobRunner, make_job: Any) -> None:
    old = await make_job(**ended(9999))
    mail, new_mail, waiting = await make_job(MAIL, **ended(1.1)), await make_job(MAIL, **ended(0.9)), await make_job(MAIL)
    assert await Sweeper(runner, orphan_grace_s=60).prune_jobs() == 1
    assert await left(stores) == {old.id, new_mail.id, waiting.id}
    assert mail.id not in await left(stores)
