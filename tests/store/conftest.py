"""Real stores: SQLite files brought up by the migrations, folders of objects, embedded Chroma."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from store.clock import utcnow
from store.database import Database
from store.ids import new_id
from store.migrations import upgrade
from store.models import Clone, Job, Sample, User
from store.objects import Objects
from store.repositories.queue import JobQueue, Lease

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

Make = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file at the newest revision, made once and copied for every test."""
    file = tmp_path_factory.mktemp("migrated") / "voxify.db"

    async def make() -> None:
        database = Database(f"sqlite+aiosqlite:///{file}")
        await upgrade(database.engine)
        await database.close()

    asyncio.run(make())
    return file


@pytest.fixture
async def database(migrated: Path, tmp_path: Path) -> AsyncIterator[Database]:
    shutil.copy(migrated, tmp_path / "voxify.db")
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'voxify.db'}")
    yield database
    await database.close()


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects.in_folder(tmp_path / "objects")


@pytest.fixture
def add(database: Database) -> Make:
    """Store rows."""

    async def add(*rows: Any) -> None:
        async with database.write() as session:
            session.add_all(rows)

    return add


@pytest.fixture
def user(add: Make) -> Make:
    async def user(**values: Any) -> User:
        id_ = values.pop("id", new_id("user"))
        made = User(**{"id": id_, "email": f"{id_}@example.org", "password_hash": "x"} | values)
        await add(made)
        return made

    return user


@pytest.fixture
def job(add: Make, user: Make) -> Make:
    """A job, due now and `age` seconds old; of a new user unless one is named."""

    async def job(*, age: float = 0, **values: Any) -> Job:
        if "user_id" not in values:
            values["user_id"] = (await user()).id
        made = Job(**{"id": new_id("job"), "available_at": utcnow(), "created_at": NOON - timedelta(seconds=age)} | values)
        await add(made)
        return made

    return job


@pytest.fixture
def sample(add: Make) -> Make:
    async def sample(user_id: str, **values: Any) -> Sample:
        sound = {"format": "wav", "duration": 5.0, "sample_rate": 24000, "channels": 1, "size": 1, "original_path": "x"}
        made = Sample(**{"id": new_id("vs"), "user_id": user_id, "name": "a voice"} | sound | values)
        await add(made)
        return made

    return sample


@pytest.fixture
def clone(add: Make) -> Make:
    async def clone(user_id: str, **values: Any) -> Clone:
        made = Clone(**{"id": new_id("vc"), "user_id": user_id, "name": "a clone", "language": "en-US"} | values)
        await add(made)
        return made

    return clone


@pytest.fixture
def claim(database: Database) -> Callable[..., Awaitable[Lease | None]]:
    """Claim the next job in a transaction of its own."""

    async def claim(owner: str = "worker", lease_s: float = 30, kinds: tuple[str, ...] = ("synthesis",), **named: Any) -> Lease | None:
        async with database.write() as session:
            job = await JobQueue(session).claim(owner, lease_s, kinds, **named)
            return None if job is None else Lease(job.id, owner, job.attempt)

    return claim


@pytest.fixture
def row(database: Database) -> Callable[[str], Awaitable[Job]]:
    """The job as it is stored."""

    async def row(job_id: str) -> Job:
        async with database.read() as session:
            found = await session.get(Job, job_id)
            assert found is not None
            return found

    return row
