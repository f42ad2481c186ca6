from __future__ import annotations

import asyncio
import random
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.clock import utcnow
from store.objects import READ_CHUNK, ObjectNotFoundError, Objects
from tests.store.conftest import FOLDER_ONLY, keys

SHARED = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def read(objects: Objects, key: str, start: int, end: int) -> bytes:
    return b"".join([block async for block in objects.stream(key, start, end)])


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("content", [b"", b"sound", bytes(range(256)) * 5])
async def test_what_is_put_is_got(objects: Objects, content: bytes) -> None:
    before = utcnow()
    put = await objects.put("jobs/job_1/1.wav", content)
    assert await objects.get("jobs/job_1/1.wav") == content
    assert put == await objects.stat("jobs/job_1/1.wav")
    assert (put.key, put.size) == ("jobs/job_1/1.wav", len(content))
    assert abs(put.modified_at - before) < timedelta(seconds=60)
    assert put.etag
    assert '"' not in put.etag


async def test_a_file_of_many_parts_is_put_by_its_path(objects: Objects, tmp_path: Path) -> None:
    size = 24 * 1024 * 1024 + 7
    source = tmp_path / "source.wav"
    source.write_bytes(random.Random(0).randbytes(size))
    assert (await objects.put("jobs/big.wav", source)).size == size
    assert await objects.get("jobs/big.wav") == source.read_bytes()
    assert source.exists()
    blocks = [len(block) async for block in objects.stream("jobs/big.wav", 0, size)]
    assert sum(blocks) == size
    assert max(blocks) < 8 * READ_CHUNK  # it is streamed, not read at once


@SHARED
@given(data=st.data())
async def test_a_range_is_the_slice(objects: Objects, data: st.DataObject) -> None:
    content = bytes(range(256)) * 3000  # three read chunks
    await objects.put("x", content)
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(0, len(content) + 10))
    assert await read(objects, "x", start, end) == content[start:end]


async def test_a_new_object_takes_the_place_of_the_old_with_another_etag(objects: Objects) -> None:
    old = await objects.put("x", b"old")
    new = await objects.put("x", b"newer")
    assert await objects.get("x") == b"newer"
    assert new.etag != old.etag
    assert await keys(objects) == ["x"]


async def test_who_reads_the_old_object_goes_on_reading_it(objects: Objects) -> None:
    old, new = b"o" * 8 * READ_CHUNK, b"n" * 8 * READ_CHUNK
    await objects.put("x", old)
    reading = objects.stream("x", 0, len(old))
    got = await anext(reading)
    await objects.put("x", new)
    got += b"".join([block async for block in reading])
    assert got == old


async def test_missing_keys_are_told_with_the_key(objects: Objects) -> None:
    await objects.put("jobs/job_1/1.wav", b"x")
    for key in ("none", "jobs", "jobs/job_1", "jobs/job_1/2.wav"):
        for call in (objects.get(key), objects.stat(key), read(objects, key, 0, 1)):
            with pytest.raises(ObjectNotFoundError) as caught:
                await call
            assert caught.value.key == key


async def test_delete_passes_over_what_is_not_there(objects: Objects, tmp_path: Path) -> None:
    for key in ("a/1", "a/2", "b/1"):
        await objects.put(key, b"x")
    await objects.delete("a/1", None, "none", "b/1", "a/1")
    assert await keys(objects) == ["a/2"]
    await objects.delete("a/2")
    assert not (tmp_path / "objects").exists() or list((tmp_path / "objects").iterdir()) == []  # no empty folders are left
    await objects.put("a/1", b"again")
    assert await keys(objects) == ["a/1"]


async def test_list_goes_by_whole_folders(objects: Objects) -> None:
    made = [f"jobs/job_{number:04}/1.wav" for number in range(120)] + ["jobs2/x", "samples/jobs/x"]
    for key in made:
        await objects.put(key, b"abc")
    assert await keys(objects) == sorted(made)
    assert await keys(objects, "jobs") == sorted(made[:120])
    assert await keys(objects, "jobs/job_0003") == ["jobs/job_0003/1.wav"]
    assert await keys(objects, "none") == []
    [listed] = [one async for one in objects.list("jobs2")]
    assert listed == await objects.stat("jobs2/x")


@FOLDER_ONLY
@pytest.mark.parametrize("key", ["../x", "..", "jobs/../../x", "jobs/..", "./x", "jobs//x", "jobs/x\0y", ""])
async def test_keys_that_are_no_keys_are_refused(objects: Objects, tmp_path: Path, key: str) -> None:
    (tmp_path / "x").write_bytes(b"outside")
    for call in (objects.put(key, b"evil"), objects.get(key), objects.stat(key), read(objects, key, 0, 4), objects.delete(key)):
        with pytest.raises(Exception, match=r"path|Filenames"):
            await call
    assert files(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"outside"


@FOLDER_ONLY
@pytest.mark.parametrize("key", ["/x", "/etc/voxify", "%2e%2e/x", "..%2fx", "..\\x", "~/x", "..."])
async def test_keys_that_look_like_paths_stay_in_the_folder(objects: Objects, tmp_path: Path, key: str) -> None:
    (tmp_path / "x").write_bytes(b"outside")
    await objects.put(key, b"inside")
    assert await objects.get(key) == b"inside"
    assert (tmp_path / "x").read_bytes() == b"outside"
    outside = [file for file in files(tmp_path) if not file.startswith("objects/")]
    assert outside == ["x"]
    await objects.delete(key)
    assert files(tmp_path) == ["x"]


@FOLDER_ONLY
@pytest.mark.parametrize("source", ["no file", "a folder"])
async def test_a_put_that_fails_leaves_nothing(objects: Objects, tmp_path: Path, source: str) -> None:
    """A folder can be opened like a file, so that it is the reading that fails, after the writing has begun."""
    broken = tmp_path / "none" if source == "no file" else tmp_path
    for key, kept in (("jobs/new.wav", []), ("jobs/old.wav", ["jobs/old.wav"])):
        if kept:
            await objects.put(key, b"old")
        with pytest.raises(OSError, match=r"\(os error"):
            await objects.put(key, broken)
        assert files(tmp_path / "objects") == kept
        assert await keys(objects) == kept
    assert await objects.get("jobs/old.wav") == b"old"


async def test_half_an_object_is_never_seen(objects: Objects, tmp_path: Path) -> None:
    sources = [bytes([number]) * (6 * 1024 * 1024) for number in range(2)]
    paths = [tmp_path / str(number) for number in range(2)]
    for path, content in zip(paths, sources, strict=True):
        path.write_bytes(content)
    await objects.put("x", paths[0])

    async def write() -> None:
        for number in range(6):
            await objects.put("x", paths[number % 2])

    writing = asyncio.create_task(write())
    while not writing.done():
        assert await objects.get("x") in sources
        assert await keys(objects) == ["x"]
    await writing


async def test_neighbours_come_and_go_without_disturbing_each_other(objects: Objects) -> None:
    """Deleting the last object of a folder removes the folder, in which another one may be arriving."""

    async def churn(name: int) -> None:
        for _ in range(30):
            await objects.put(f"jobs/{name}", b"x")
            await objects.delete(f"jobs/{name}")

    await asyncio.gather(*(churn(name) for name in range(8)))
    assert await keys(objects) == []


@pytest.mark.parametrize("content", [b"sound", bytes(READ_CHUNK * 3 + 1)])
async def test_a_copy_stands_alone(objects: Objects, content: bytes) -> None:
    await objects.put("jobs/job_1/1.wav", content)
    copied = await objects.copy("jobs/job_1/1.wav", "jobs/job_2/1.wav")
    assert (copied.key, copied.size) == ("jobs/job_2/1.wav", len(content))
    await objects.delete("jobs/job_1/1.wav")
    assert await objects.get("jobs/job_2/1.wav") == content
    with pytest.raises(ObjectNotFoundError, match="jobs/job_1"):
        await objects.copy("jobs/job_1/1.wav", "jobs/job_3/1.wav")
    assert await keys(objects) == ["jobs/job_2/1.wav"]


@FOLDER_ONLY
async def test_what_a_crash_left_half_written_is_removed_after_a_while(objects: Objects, tmp_path: Path) -> None:
    """The names are obstore's; the test with the killed process holds it to them."""
    folder = tmp_path / "objects"
    await objects.put("jobs/job_1/1.wav", b"whole")
    for name in ("jobs/job_1/1.wav#1", "jobs/job_2/1.wav#12"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"half")
    assert await objects.remove_unfinished(utcnow() - timedelta(hours=1)) == 0, "it may still be written"
    assert await objects.remove_unfinished(utcnow() + timedelta(seconds=1)) == 2
    assert files(folder) == ["jobs/job_1/1.wav"]
    assert not (folder / "jobs/job_2").exists()


WRITE = """
import asyncio, sys
from pathlib import Path
import obstore
from obstore.store import LocalStore

async def endless():
    while True:
        yield bytes(1 << 20)
        print("going", flush=True)

async def put():
    await obstore.put_async(LocalStore(Path(sys.argv[1])), "jobs/job_1/1.wav", endless(), chunk_size=1 << 20, max_concurrency=1)

asyncio.run(put())
"""


@FOLDER_ONLY
async def test_a_process_that_is_killed_while_it_writes_leaves_what_can_be_removed(objects: Objects, tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITE, str(folder), stdout=asyncio.subprocess.PIPE)
    assert writer.stdout is not None
    for _ in range(4):
        assert await writer.stdout.readline() == b"going\n"
    writer.kill()
    await writer.wait()
    assert files(folder), "there is something to remove"
    assert await keys(objects) == []
    assert await objects.remove_unfinished(utcnow() + timedelta(seconds=1)) == 1
    assert files(folder) == []
