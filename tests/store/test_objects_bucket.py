"""What is different in a bucket: large files in parts, and addresses that it serves objects at."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from obstore.exceptions import GenericError

from store.ids import new_id
from store.objects import PART, Bucket, ObjectNotFoundError, Objects
from tests.engines import S3
from tests.servers import ROOT, free_port
from tests.store.conftest import BUCKET_ONLY, FOLDER_ONLY, bucket_of, keys

WRITE_TO_BUCKET = """
import asyncio, sys
import obstore
from store.objects import PART, Bucket

async def endless():
    for _ in range(3):
        yield bytes(PART)
    print("going", flush=True)
    await asyncio.Event().wait()

async def put():
    url, endpoint, region, access_key, secret_key, key = sys.argv[1:]
    bucket = Bucket(url=url, endpoint=endpoint, region=region, access_key=access_key, secret_key=secret_key)
    await obstore.put_async(bucket.open(endpoint), key, endless(), chunk_size=PART, max_concurrency=1)

asyncio.run(put())
"""


@BUCKET_ONLY
async def test_a_large_file_goes_to_a_bucket_in_parts_and_half_of_it_is_never_seen(s3: S3, objects: Objects, tmp_path: Path) -> None:
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(3 * PART))
    assert (await objects.put("jobs/job_1/1.wav", large)).etag.endswith("-3"), "the mark of an object that came in three parts"
    assert "-" not in (await objects.put("jobs/job_1/2.wav", b"small")).etag

    url = f"s3://uploads/{new_id('test')}"
    bucket = s3.bucket("uploads")
    there = Objects.in_bucket(bucket_of(s3, url))
    await there.put("jobs/job_2/1.wav", b"the one before")
    arguments = (url, s3.endpoint, s3.region, s3.access_key, s3.secret_key)
    for key in ("jobs/job_2/1.wav", "jobs/job_3/1.wav"):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITE_TO_BUCKET, *arguments, key, stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        assert writer.stdout is not None
        assert await writer.stdout.readline() == b"going\n"
        writer.kill()
        await writer.wait()
    begun = await asyncio.to_thread(lambda: {upload.object_key.rsplit("/", 2)[-2] for upload in bucket.multipart_uploads.all()})
    assert begun == {"job_2", "job_3"}, "they were under way"
    assert await keys(there) == ["jobs/job_2/1.wav"]
    assert await there.get("jobs/job_2/1.wav") == b"the one before"
    with pytest.raises(ObjectNotFoundError):
        await there.stat("jobs/job_3/1.wav")


@BUCKET_ONLY
async def test_a_large_file_that_fails_on_its_way_to_a_bucket_leaves_nothing(s3: S3, objects: Objects) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(PART)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await objects._put("jobs/job_1/1.wav", breaks())
    assert await keys(objects) == []
    assert list(s3.bucket("voxify").multipart_uploads.all()) == [], "it was called off"


@BUCKET_ONLY
async def test_a_bucket_s_address_serves_the_object_with_its_name_and_type(objects: Objects) -> None:
    content = bytes(range(256)) * 40_000
    assert len(content) > PART
    await objects.put("jobs/job_1/1.mp3", content)
    await objects.copy("jobs/job_1/1.mp3", "jobs/job_2/1.mp3")
    for job in ("job_1", "job_2"):
        address = await objects.address(f"jobs/{job}/1.mp3", 60)
        assert address is not None
        got = await asyncio.to_thread(httpx.get, address)
        assert got.content == content
        assert got.headers["content-type"] == "audio/mpeg"
        assert got.headers["content-disposition"] == f'attachment; filename="{job}.mp3"'
        assert "X-Amz-Expires=60&" in address


@BUCKET_ONLY
async def test_an_address_is_made_for_where_clients_are(s3: S3, objects: Objects) -> None:
    seen_from_outside = Objects.in_bucket(bucket_of(s3, "s3://voxify/there", public_endpoint="https://files.example.org"))
    await seen_from_outside.put("jobs/job_1/1.wav", b"sound")
    address = await seen_from_outside.address("jobs/job_1/1.wav", 60)
    assert address is not None
    assert address.startswith("https://files.example.org/voxify/there/jobs/job_1/1.wav?")
    assert s3.secret_key not in address


@FOLDER_ONLY
async def test_a_folder_has_no_addresses(objects: Objects) -> None:
    await objects.put("x", b"sound")
    assert await objects.address("x", 60) is None


async def test_a_store_answers(objects: Objects) -> None:
    await objects.ping()


@BUCKET_ONLY
async def test_a_bucket_that_is_not_there_does_not_answer(s3: S3, objects: Objects) -> None:
    with pytest.raises(Exception, match=r"NoSuchBucket|not found"):
        await Objects.in_bucket(bucket_of(s3, "s3://nobodys")).ping()


def test_keys_of_the_store_are_in_no_log(s3: S3) -> None:
    assert s3.secret_key not in repr(bucket_of(s3, "s3://voxify"))
    assert s3.secret_key not in repr(vars(Objects.in_bucket(bucket_of(s3, "s3://voxify"))))


def bucket_at(endpoint: str) -> Objects:
    return Objects.in_bucket(Bucket(url="s3://voxify", endpoint=endpoint, access_key="tester", secret_key="secret"))


async def test_that_nobody_is_there_is_soon_known() -> None:
    nobody = bucket_at(f"http://127.0.0.1:{free_port()}")
    async with asyncio.timeout(15):
        for ask in (nobody.get("x"), nobody.delete("x"), nobody.put("x", b"sound")):
            with pytest.raises(GenericError):
                await ask
    await nobody.delete_or_leave("x", None)


async def test_a_bucket_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.objects.SILENCE", timedelta(seconds=0.2))
    monkeypatch.setattr("store.objects.SILENCE_WRITING", timedelta(seconds=0.4))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bucket = bucket_at(f"http://127.0.0.1:{silent.getsockname()[1]}")
        async with asyncio.timeout(15):
            for ask in (bucket.get("x"), bucket.delete("x"), bucket.put("x", b"sound")):
                with pytest.raises(GenericError):
                    await ask


async def test_what_is_sent_over_a_slow_line_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than a bucket may say nothing to who reads."""
    monkeypatch.setattr("store.objects.SILENCE", timedelta(seconds=0.2))
    size, taken = 2 * 1024 * 1024, 0

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"PUT"):
            while taken < size:
                taken += len(await reader.read(size // 8))
                await asyncio.sleep(0.1)  # the line itself
            writer.write(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
        else:
            last = b"Last-Modified: Fri, 20 Nov 2026 12:00:00 GMT"
            writer.write(b'HTTP/1.1 200 OK\r\nETag: "1"\r\n' + last + b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(slowly, "127.0.0.1", 0, limit=2**16) as line:
        there = bucket_at(f"http://127.0.0.1:{line.sockets[0].getsockname()[1]}")
        assert (await there.put("x", bytes(size))).size == size
    assert taken == size


async def test_who_reads_slowly_gets_all_of_it(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far longer than a bucket may say nothing; and it is asked once."""
    s3.bucket("voxify")
    bucket = bucket_of(s3, f"s3://voxify/{new_id('test')}")
    size = 24 * 1024 * 1024
    await Objects.in_bucket(bucket).put("x", bytes(size))
    monkeypatch.setattr("store.objects.SILENCE", timedelta(seconds=1))
    monkeypatch.setattr("store.objects.RETRIES", 0)
    read = 0
    async for block in Objects.in_bucket(bucket).stream("x", 0, size):
        if read == 0:
            await asyncio.sleep(3)  # the behaviour itself
        read += len(block)
    assert read == size
