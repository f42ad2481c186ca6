from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import text, update
from typer.testing import CliRunner

from api.cli import app as command
from api.limits.recount import recount
from settings import Settings
from store.clock import utcnow
from store.database import Database
from store.models import Clone, CloneReference, Job, Sample, User
from store.objects import Objects, ObjectStat
from store.repositories import sizes
from tests.api.rooms import Caller, recording
from tests.conftest import MIGRATED, Postgres


class Looked(Objects):
    """The same store, and what happens while a file of it is looked at."""

    def __init__(self, of: Objects, meanwhile: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(of._store)
        self.meanwhile = meanwhile

    async def stat(self, key: str) -> ObjectStat:
        await self.meanwhile(key)
        return await super().stat(key)


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


async def test_a_row_that_changes_while_its_file_is_looked_at_is_left_as_it_is(me: Caller) -> None:
    changes = {"jobs/1/1.wav": {"output_size": 8}, "jobs/2/1.wav": {"output_path": "jobs/2/2.wav"}, "jobs/3/1.wav": {"output_path": None}}
    jobs = {key: await me.job_row(output_path=key, output_size=7) for key in (*changes, "jobs/4/1.wav")}
    database = me.stores.database

    async def change(key: str) -> None:
        if key in changes:
            async with database.write() as session:
                await session.execute(update(Job).where(Job.output_path == key).values(changes[key]))

    assert await recount(database, Looked(me.stores.objects, change)) == (4, 1)
    for key, job in jobs.items():
        row = await me.row(Job, job)
        expected = {"output_path": key, "output_size": 7} | changes.get(key, {"output_size": 0})
        assert {"output_path": row.output_path, "output_size": row.output_size} == expected


async def test_no_transaction_lasts_while_files_are_looked_at(postgres: Postgres, tmp_path: Path) -> None:
    """The server would end one in which nothing is asked for a minute, and thousands of files may be gone."""
    database = Database(await postgres.create(MIGRATED))
    async with database.write() as session:
        session.add(User(id="user_1", email="one@example.com", password_hash="-"))
        await session.flush()
        for number in range(3):
            key = f"jobs/job_{number}/1.wav"
            session.add(Job(id=f"job_{number}", user_id="user_1", available_at=utcnow(), output_path=key, output_size=7))
    idle = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'")
    seen: list[int] = []

    async def look(_key: str) -> None:
        async with database.unhurried.connect() as connection:
            seen.append((await connection.execute(idle)).scalar_one())

    assert await recount(database, Looked(Objects.in_folder(tmp_path), look)) == (3, 3)
    assert seen == [0, 0, 0]
    await database.close()


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
