from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from store.clock import utcnow
from store.ids import new_id
from store.migrations import upgrade
from store.models import Job, User
from store.repositories.jobs import JobRepository
from store.stores import Stores
from tests.worker.unruly import Clock

MakeJob = Callable[..., Awaitable[Job]]


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    opened = Stores.open(
        database_url=f"sqlite+aiosqlite:///{tmp_path / 'voxify.db'}", objects_dir=tmp_path / "objects", vectors_dir=tmp_path / "vectors"
    )
    await upgrade(opened.database.engine)
    async with opened.database.write() as session:
        session.add(User(id="user_1", email="one@example.com", password_hash="-"))
    yield opened
    await opened.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """For a client of the inference service: its pauses take no time, and are the longest that may be drawn."""
    ticking = Clock()
    monkeypatch.setattr("worker.inference.tier.pause", ticking.pause)
    monkeypatch.setattr("worker.inference.tier.random.uniform", lambda _, longest: longest)
    return ticking


@pytest.fixture
def make_job(stores: Stores) -> MakeJob:
    async def make(kind: str = "synthesis", **columns: Any) -> Job:
        job = Job(id=new_id("job"), user_id="user_1", kind=kind, available_at=utcnow(), **columns)
        async with stores.database.write() as session:
            session.add(job)
        return job

    return make


@pytest.fixture
def job_row(stores: Stores) -> Callable[[str], Awaitable[Job]]:
    async def read(job_id: str) -> Job:
        async with stores.database.read() as session:
            job = await JobRepository(session).get(job_id)
        assert job is not None
        return job

    return read
