from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from store import backup as backups
from store.archive import BackupError
from store.backup import Contents, backup, restore
from store.database import Database
from store.ids import new_id
from store.index import rebuild_vectors
from store.models import Base, Clone, CloneReference, CloneSample, Counter, JobTimestamps, Sample, SettingOverride
from store.models.job import COMPLETED
from store.objects import Objects
from store.stores import Stores
from store.vectors import EMBEDDING_SIZE, Vectors, pack
from tests.engines import S3
from tests.store.conftest import FOLDER_ONLY, SQLITE_ONLY, bucket_of

VOICES = np.eye(3, EMBEDDING_SIZE, dtype=np.float32)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Vectors:
    """One for the module: opening it takes a second."""
    return Vectors.in_folder(tmp_path_factory.mktemp("index"))


@pytest.fixture
async def here(database: Database, objects: Objects, index: Vectors, user: Any, job: Any, add: Any) -> Stores:
    """Stores with something of all that is difficult to carry: bytes, times, JSON with and without a value, text of all kinds."""
    me = await user(first_name="Zoë\n\u2028\U0001f600", last_login_at=datetime(2026, 2, 28, 23, 30, 0, 123456, tzinfo=UTC))
    sample = Sample(
        id="vs_1", user_id=me.id, name="a voice", format="m4a", duration=5.5, sample_rate=24000, channels=1, size=3,
        original_path="samples/vs_1/original.m4a", prepared_path="samples/vs_1/prepared.wav", embedding=pack(VOICES[0]),
        quality_metrics={"snr": 1.5, "parts": [1, None, "x"]},
    )  # fmt: skip
    clone = Clone(id="vc_1", user_id=me.id, name="a clone", language="en-US", reference_path="clones/vc_1/a.wav", embedding=pack(VOICES[1]))
    await add(sample, clone)
    await add(CloneSample(clone_id="vc_1", sample_id="vs_1", position=0))
    await add(CloneReference(clone_id="vc_1", style="happy", path="clones/vc_1/b.wav", text="x", duration=1.0))
    spoken = await job(user_id=me.id, status=COMPLETED, output_path="jobs/job_1/1.wav", id="job_1", result=None, text_content="你好")
    await add(JobTimestamps(job_id=spoken.id, method="ctc", words=[[0, 1, 0.0, 0.5, None]]))
    await add(SettingOverride(name="loudness_lufs", value=None, updated_by="user_1"), Counter(key="k", count=1, ends_at_ms=2**52))
    for key in ("samples/vs_1/original.m4a", "clones/vc_1/a.wav", "clones/vc_1/b.wav", "jobs/job_1/1.wav"):
        await objects.put(key, key.encode() * 99)
    await objects.put("samples/vs_1/prepared.wav", b"")
    await objects.put("jobs/job_orphan/1.wav", b"nobody names it")
    return Stores(database, objects, index)


@pytest.fixture
async def there(empty_url: str, tmp_path: Path, index: Vectors) -> AsyncIterator[Stores]:
    """Stores in which nothing is, not even tables."""
    made = Stores(Database(empty_url), Objects.in_folder(tmp_path / "there"), index)
    yield made
    await made.database.close()


async def rows(database: Database) -> dict[str, list[dict[str, Any]]]:
    async with database.engine.connect() as connection:
        found = {}
        for table in Base.metadata.sorted_tables:
            ordered = select(table).order_by(*table.primary_key)
            found[table.name] = [dict(row) for row in (await connection.execute(ordered)).mappings()]
        return found


async def contents(objects: Objects) -> dict[str, bytes]:
    return {stat.key: await objects.get(stat.key) async for stat in objects.list()}


def beside(file: Path) -> list[str]:
    """What lies where the backup is, or would be, of it."""
    return sorted(path.name for path in file.parent.iterdir() if "backup" in path.name)


async def back_up(stores: Stores, file: Path) -> Contents:
    return await backup(stores.database, stores.objects, file)


async def test_what_is_backed_up_comes_back(here: Stores, there: Stores, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    before, sounds = await rows(here.database), await contents(here.objects)
    await here.vectors.put("vs_gone", "user_1", VOICES[2])
    written = await back_up(here, file)
    assert (written.rows, written.objects, written.gone) == (sum(map(len, before.values())), 5, 0)
    assert file.stat().st_mode & 0o777 == 0o600
    assert await restore(there, file) == written
    assert await rows(there.database) == before
    del sounds["jobs/job_orphan/1.wav"]
    assert await contents(there.objects) == sounds
    assert sorted(await there.vectors.ids()) == ["vc_1", "vs_1"], "the index is made of the rows"
    owner = before["samples"][0]["user_id"]
    assert [near.id for near in await there.vectors.similar(owner, VOICES[1], 5, "clone")] == ["vc_1"]
    assert beside(file) == ["backup.tar"], "nothing is left lying about"


@SQLITE_ONLY
@FOLDER_ONLY
async def test_from_one_machine_to_many(here: Stores, tmp_path: Path, index: Vectors, postgres: Any, s3: S3) -> None:
    """SQLite and a folder become PostgreSQL and a bucket, and the other way round."""
    file, again = tmp_path / "backup.tar", tmp_path / "again.tar"
    before = await rows(here.database)
    await back_up(here, file)
    s3.bucket("voxify")
    bucket = Objects.in_bucket(bucket_of(s3, f"s3://voxify/{new_id('test')}"))
    many = Stores(Database(await postgres.create()), bucket, index)
    try:
        await restore(many, file)
        assert await rows(many.database) == before
        written = await back_up(many, again)
        assert written.objects == 5
        await restore(here, again, force=True)
        assert await rows(here.database) == before
        assert await contents(here.objects) == await contents(bucket)
    finally:
        await many.database.close()


@SQLITE_ONLY
@FOLDER_ONLY
async def test_what_is_there_already_stays_unless_it_is_forced_out(here: Stores, there: Stores, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    await back_up(here, file)
    await there.objects.put("jobs/job_other/1.wav", b"other")
    with pytest.raises(BackupError, match="--force"):
        await restore(there, file)
    assert await contents(there.objects) == {"jobs/job_other/1.wav": b"other"}
    assert sum(map(len, (await rows(there.database)).values())) == 0
    await restore(there, file, force=True)
    assert await rows(there.database) == await rows(here.database)
    assert "jobs/job_other/1.wav" not in await contents(there.objects)
    with pytest.raises(BackupError, match="--force"):
        await restore(there, file)
    with pytest.raises(BackupError, match="there already"):
        await back_up(here, file)


async def test_a_backup_is_of_one_moment(here: Stores, there: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: Any) -> None:
    """Between two tables somebody writes to both: a row must not come without what it refers to."""
    streamed = backups._rows
    begun: list[str] = []

    async def meanwhile(connection: Any, table: Any) -> AsyncIterator[dict[str, Any]]:
        async for row in streamed(connection, table):
            yield row
        begun.append(table.name)
        if len(begun) == 1:
            late = await user()
            async with here.database.write() as session:
                session.add(Clone(id="vc_late", user_id=late.id, name="late", language="en-US"))

    before = await rows(here.database)
    monkeypatch.setattr(backups, "_rows", meanwhile)
    await back_up(here, tmp_path / "backup.tar")
    monkeypatch.undo()
    async with here.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Clone)) == 2
    await restore(there, tmp_path / "backup.tar")
    assert await rows(there.database) == before


@SQLITE_ONLY
@FOLDER_ONLY
async def test_an_object_that_is_gone_is_counted(here: Stores, there: Stores, tmp_path: Path) -> None:
    await here.objects.delete("clones/vc_1/b.wav")
    written = await back_up(here, tmp_path / "backup.tar")
    assert (written.objects, written.gone) == (4, 1)
    assert (await restore(there, tmp_path / "backup.tar")).objects == 4


def cut(raw: bytes) -> bytes:
    return raw[: len(raw) * 2 // 3]


def without_its_end(raw: bytes) -> bytes:
    return raw[: raw.index(b"end.json")]


def with_a_changed_sound(raw: bytes) -> bytes:
    assert b"jobs/job_1/1.wavjobs/job_1" in raw
    return raw.replace(b"jobs/job_1/1.wavjobs/job_1", b"jobs/job_1/1.wavXobs/job_1", 1)


def with_another_row(raw: bytes) -> bytes:
    return raw.replace(b'"name":"a clone"', b'"name":"a clown"', 1)


def _with(name: str, content: bytes, raw: bytes, *, first: bool = False) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(raw)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            if member.name == name or (first and new.getmembers() == []):
                other = tarfile.TarInfo(name)
                other.size = len(content)
                new.addfile(other, io.BytesIO(content))
            else:
                new.addfile(member, old.extractfile(member))
    return out.getvalue()


def of_another_revision(raw: bytes) -> bytes:
    return _with("manifest.json", json.dumps({"format": 1, "revision": "0001"}).encode(), raw)


def of_another_format(raw: bytes) -> bytes:
    return _with("manifest.json", b'{"format": 2}', raw)


def of_something_else(raw: bytes) -> bytes:
    return _with("holiday.jpg", b"jpg", raw, first=True)


def no_archive(raw: bytes) -> bytes:
    return b"RIFF" + bytes(2000)


@SQLITE_ONLY
@FOLDER_ONLY
@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (cut, "damaged"),
        (without_its_end, "damaged"),
        (with_a_changed_sound, "damaged"),
        (with_another_row, "damaged"),
        (of_another_revision, "revision 0001"),
        (of_another_format, "format 2"),
        (of_something_else, "no backup"),
        (no_archive, "no backup"),
    ],
)
async def test_a_backup_that_is_not_sound_leaves_nothing(
    here: Stores, there: Stores, tmp_path: Path, broken: Callable[[bytes], bytes], why: str
) -> None:
    file = tmp_path / "backup.tar"
    await back_up(here, file)
    file.write_bytes(broken(file.read_bytes()))
    with pytest.raises(BackupError, match=why):
        await restore(there, file)
    assert sum(map(len, (await rows(there.database)).values())) == 0
    assert await contents(there.objects) == {}


@SQLITE_ONLY
@FOLDER_ONLY
async def test_a_backup_that_fails_leaves_no_file(here: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> bool:
        raise OSError("the disk is full")

    monkeypatch.setattr(backups, "_add_object", broken)
    with pytest.raises(OSError, match="full"):
        await back_up(here, tmp_path / "backup.tar")
    assert beside(tmp_path / "backup.tar") == []


@SQLITE_ONLY
async def test_without_tables_there_is_no_backup(there: Stores, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="db upgrade"):
        await back_up(there, tmp_path / "backup.tar")


@SQLITE_ONLY
@FOLDER_ONLY
async def test_the_index_is_made_anew_from_the_rows(here: Stores, monkeypatch: pytest.MonkeyPatch, add: Any, user: Any) -> None:
    monkeypatch.setattr("store.index.PAGE", 2)
    me = await user()
    sound = {"format": "wav", "duration": 5.0, "sample_rate": 24000, "channels": 1, "size": 1, "original_path": "x", "name": "a"}
    await add(*(Sample(id=f"vs_x{n}", user_id=me.id, embedding=pack(VOICES[2]) if n else None, **sound) for n in range(6)))
    await here.vectors.put("vs_gone", me.id, VOICES[2])
    await here.vectors.put("vs_1", "somebody else", VOICES[2], "clone")
    assert await rebuild_vectors(here) == (7, 1)
    assert sorted(await here.vectors.ids()) == ["vc_1", "vs_1", *(f"vs_x{n}" for n in range(1, 6))]
    assert len(await here.vectors.similar(me.id, VOICES[2], 10, "sample")) == 5
    assert await here.vectors.similar("somebody else", VOICES[2], 10) == []
