"""Real stores: SQLite files and a PostgreSQL brought up by the migrations, folders and buckets of objects, embedded Chroma."""

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
from store.models import Clone, Job, Sample, Turn, User
from store.objects import Bucket, Objects
from store.repositories.queue import JobQueue, Lease
from tests.conftest import emptied
from tests.engines import S3

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

# On a test of what one kind of store alone does
SQLITE_ONLY = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
POSTGRESQL_ONLY = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
FOLDER_ONLY = pytest.mark.parametrize("objects", ["folder"], indirect=True)
BUCKET_ONLY = pytest.mark.parametrize("objects", ["bucket"], indirect=True)

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


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the test has its database, one of each kind; see `SQLITE_ONLY`."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("shared_postgres"))
    shutil.copy(request.getfixturevalue("migrated"), tmp_path / "voxify.db")
    return f"sqlite+aiosqlite:///{tmp_path / 'voxify.db'}"


@pytest.fixture
def empty_url(database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A new database without a table, of the same kind as `database`."""
    if database_url.startswith("sqlite"):
        return f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}"
    return asyncio.run(request.getfixturevalue("postgres").create())


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """At the newest revision, and empty."""
    database = Database(database_url) if database_url.startswith("sqlite") else await emptied(database_url)
    yield database
    await database.close()


@pytest.fixture(params=["folder", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """An empty store of each kind; see `FOLDER_ONLY` and `BUCKET_ONLY`."""
    if request.param == "folder":
        return Objects.in_folder(tmp_path / "objects")
    s3: S3 = request.getfixturevalue("s3")
    s3.bucket("voxify")
    return Objects.in_bucket(bucket_of(s3, f"s3://voxify/{new_id('test')}"))


async def keys(objects: Objects, prefix: str | None = None) -> list[str]:
    return sorted([one.key async for one in objects.list(prefix)])


def bucket_of(s3: S3, url: str, **others: str) -> Bucket:
    return Bucket(url=url, endpoint=s3.endpoint, region=s3.region, access_key=s3.access_key, secret_key=s3.secret_key, **others)


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
            return None if job is None else Lease(job.id, owner, job.attempt, Turn.key(kinds))

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
