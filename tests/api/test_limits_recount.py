from __future__ import annotations

import asyncio
from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import update
from typer.testing import CliRunner

from api.cli import app as command
from api.limits.recount import recount
from settings import Settings
from store.models import Clone, CloneReference, Job, Sample
from store.repositories import sizes
from store.repositories.sizes import SizeRepository
from tests.api.rooms import Caller, recording


async def stored(who: Caller) -> int:
    return int((await who.data("GET", "/auth/usage"))["storage"]["used"])


async def test_sizes_are_put_right_and_only_those(me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "PAGE", 2)
    database, objects = me.stores.database, me.stores.objects
    sample = await me.upload()
    await me.until(f"/voice/samples/{sample['sample_id']}", "ready")
    voices = [await me.voice() for _ in range(3)]
    await objects.put("clones/more/reference.wav", b"x" * 100)
    await me.add(CloneReference(clone_id=voices[0], style="happy", path="clones/more/reference.wav", text="Words.", duration=1.0))
    spoken = [await me.job_row(output_path=f"jobs/{number}/1.wav", output_size=7) for number in range(3)]
    for number in range(2):
        await objects.put(f"jobs/{number}/1.wav", b"x" * 7)
    before = await me.row(Sample, sample["sample_id"])
    reference = len(recording(rate=24_000))

    assert await recount(database, objects) == (8, 4), "three voices of before, and a file that is gone"
    assert (await me.row(Clone, voices[0])).reference_size == reference + 100
    assert (await me.row(Job, spoken[2])).output_size == 0
    right = await stored(me)
    assert right == sum([stat.size async for stat in objects.list()])
    after = await me.row(Sample, sample["sample_id"])
    assert (after.size, after.prepared_size, after.updated_at) == (before.size, before.prepared_size, before.updated_at)

    async with database.write() as session:
        await session.execute(update(Sample).values(size=1, prepared_size=None))
        await session.execute(update(Job).where(Job.id == spoken[0]).values(output_size=10**6))
    assert await stored(me) != right
    assert await recount(database, objects) == (8, 3)
    assert await stored(me) == right
    assert await recount(database, objects) == (8, 0)


async def test_a_row_that_changes_meanwhile_is_left_as_it_is(me: Caller) -> None:
    job = await me.job_row(output_path="jobs/1/1.wav", output_size=7)
    async with me.stores.database.write() as session:
        (said,) = [each async for each in SizeRepository(session).all()]
        await session.execute(update(Job).where(Job.id == job).values(output_size=8))
        assert not await SizeRepository(session).correct(said, 9)
    assert (await me.row(Job, job)).output_size == 8


async def test_the_command(me: Caller, app: Litestar, settings: Settings, monkeypatch: pytest.MonkeyPatch, logs: Any) -> None:
    monkeypatch.chdir(settings.data_dir.parent)
    monkeypatch.setenv("VOXIFY_ENV", "dev")
    monkeypatch.setenv("VOXIFY_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("VOXIFY_DATABASE_URL", settings.database_url)
    await me.voice(reference_size=1)
    said = await asyncio.to_thread(CliRunner().invoke, command, ["db", "recount"])
    assert said.exit_code == 0, said.output
    assert "put 1 sizes right" in said.stdout
    assert await stored(me) == len(recording(rate=24_000))
