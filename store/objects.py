"""Sound files under keys such as ``jobs/{job_id}/1.wav``: in a folder here, or in a bucket of an S3-compatible store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, MemoryStore, S3Store

from audio.encode import FORMATS, content_type
from store.faults import part_away, require_room

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

READ_CHUNK = 256 * 1024
# What is larger is sent to a bucket in parts of this size, at most so many of them at once.
PART = 8 * 1024 * 1024
PARTS_AT_ONCE = 2
# How long a bucket may say nothing, and how often it is asked again. That it is away is known at once where nobody is there; where somebody
# says nothing, to who reads after 40 s and to who writes after 120 s, for the time in which a part is sent counts too. The whole of an
# answer has no limit, because who listens to a long sound may read it slowly.
SILENCE, SILENCE_WRITING = timedelta(seconds=10), timedelta(seconds=60)
RETRIES, RETRIES_WRITING = 3, 1
CONNECTING = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(seconds=1)
NO_LIMIT = timedelta(days=7)

# What `audio.decode` finds and `audio.encode` does not write.
_OTHER_TYPES = {"m4a": "audio/mp4", "webm": "audio/webm"}
# Where a folder keeps what is still being written; a listing hides it.
_UNFINISHED = re.compile(r".+#\d+")

log = structlog.get_logger(__name__)


def media_type(format: str) -> str:
    """The MIME type of a sound in a format that is taken or made."""
    return _OTHER_TYPES.get(format) or content_type(format)  # type: ignore[arg-type] # which raises for any other


class ObjectNotFoundError(Exception):
    """No object has this key."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True, slots=True)
class ObjectStat:
    key: str
    size: int
    etag: str
    modified_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A place in an S3-compatible store.

    Attributes:
        url: ``s3://bucket`` or ``s3://bucket/prefix``.
        endpoint: address of the service; empty: Amazon's own in the region.
        public_endpoint: the same service as clients reach it, for download addresses; empty: as `endpoint`.
        access_key: with `secret_key`; both empty: what the machine offers, such as the role of an instance.
    """

    url: str
    endpoint: str = ""
    public_endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)

    def open(self, endpoint: str, *, writing: bool = False) -> S3Store:
        """`writing`: for what sends more than it gets."""
        where = urlsplit(self.url)
        config: S3Config = {
            "region": self.region,
            "virtual_hosted_style_request": False,
            "disable_bulk_delete": True,  # not every S3-compatible store knows it, and nothing here deletes many at once
        }
        if endpoint:
            config["endpoint"] = endpoint.rstrip("/")
        if self.access_key:
            config["access_key_id"], config["secret_access_key"] = self.access_key, self.secret_key
        options: ClientConfig = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": CONNECTING,
            "read_timeout": SILENCE_WRITING if writing else SILENCE,
            "timeout": NO_LIMIT,
        }
        again: RetryConfig = {"max_retries": RETRIES_WRITING if writing else RETRIES, "backoff": {"max_backoff": LONGEST_PAUSE}}
        prefix = where.path.strip("/") or None
        return S3Store(where.netloc, prefix=prefix, config=config, client_options=options, retry_config=again)


class Objects:
    """Whole files in, whole files or ranges out. A key is made of our own ids, never of what a client sent."""

    def __init__(self, store: LocalStore | MemoryStore | S3Store, *, writer: S3Store | None = None, signer: S3Store | None = None) -> None:
        """`writer`: the same store, with more patience."""
        self._store = store
        self._writer = writer or store
        self._signer = signer

    @classmethod
    def in_folder(cls, folder: Path) -> Objects:
        folder.mkdir(parents=True, exist_ok=True)
        return cls(LocalStore(folder, automatic_cleanup=True))

    @classmethod
    def in_bucket(cls, bucket: Bucket) -> Objects:
        reader, writer = bucket.open(bucket.endpoint), bucket.open(bucket.endpoint, writing=True)
        return cls(reader, writer=writer, signer=bucket.open(bucket.public_endpoint or bucket.endpoint))

    async def put(self, key: str, source: bytes | Path) -> ObjectStat:
        """Store under `key`, whole or not at all."""
        await self._put(key, source)
        return await self.stat(key)

    async def copy(self, source: str, key: str) -> ObjectStat:
        """Store what `source` holds under `key` too; neither then depends on the other. Raises ObjectNotFoundError."""
        try:
            if self._signer is None:
                await obstore.copy_async(self._store, source, key)
            else:
                # A bucket would copy the name for downloads along, which is made of the key.
                result = await obstore.get_async(self._store, source)
                await self._put(key, result.stream(min_chunk_size=READ_CHUNK))
        except (NotFoundError, FileNotFoundError) as missing:
            raise ObjectNotFoundError(source) from missing
        return await self.stat(key)

    async def _put(self, key: str, source: bytes | Path | AsyncIterator[bytes]) -> None:
        # A folder keeps nothing but the bytes.
        attributes = _described(key) if self._signer is not None else None
        await obstore.put_async(self._writer, key, source, attributes=attributes, chunk_size=PART, max_concurrency=PARTS_AT_ONCE)

    async def get(self, key: str) -> bytes:
        try:
            result = await obstore.get_async(self._store, key)
            return bytes(await result.bytes_async())
        except (NotFoundError, FileNotFoundError) as missing:
            raise ObjectNotFoundError(key) from missing

    async def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`."""
        if start >= end:
            return
        try:
            result = await obstore.get_async(self._store, key, options={"range": (start, end)})
        except (NotFoundError, FileNotFoundError) as missing:
            raise ObjectNotFoundError(key) from missing
        async for block in result.stream(min_chunk_size=READ_CHUNK):
            yield bytes(block)

    async def stat(self, key: str) -> ObjectStat:
        try:
            meta = await obstore.head_async(self._store, key)
        except (NotFoundError, FileNotFoundError) as missing:
            raise ObjectNotFoundError(key) from missing
        etag = (meta["e_tag"] or f"{meta['size']}-{meta['last_modified'].timestamp()}").strip('"')
        return ObjectStat(key=key, size=meta["size"], etag=etag, modified_at=meta["last_modified"])

    async def delete(self, *keys: str | None) -> None:
        """Remove the objects; those that are not there (or None) are passed over."""
        for key in keys:
            if key is None:
                continue
            try:
                await obstore.delete_async(self._store, key)
            except (NotFoundError, FileNotFoundError):
                continue

    async def delete_or_leave(self, *keys: str | None) -> None:
        """As `delete`, of what no row names any more; when the store is away it is left to the sweep, which finds that."""
        try:
            await self.delete(*keys)
        except (BaseError, OSError) as failure:
            if part_away(failure) is None:
                raise
            log.info("objects left to the sweep", count=len([key for key in keys if key is not None]))

    async def address(self, key: str, ttl_s: int) -> str | None:
        """An address at which the object can be had for `ttl_s` seconds without asking us, or None where it lies in a folder.

        Whether there is such an object is not looked at.
        """
        if self._signer is None:
            return None
        return await obstore.sign_async(self._signer, "GET", key, timedelta(seconds=ttl_s))

    async def ping(self) -> None:
        """Raises when the store does not answer, has no such bucket, or is a folder that has no room or may not be written to."""
        if isinstance(self._store, LocalStore) and self._store.prefix is not None:
            await asyncio.to_thread(require_room, Path(self._store.prefix))
        async for _ in self.list("none"):
            return

    async def remove_unfinished(self, before: datetime) -> int:
        """Remove what a process left half written when it died before that time; how many files there were.

        A bucket does that itself, if it has a lifecycle rule for incomplete uploads.
        """
        if not isinstance(self._store, LocalStore) or self._store.prefix is None:
            return 0
        return await asyncio.to_thread(_remove_unfinished, Path(self._store.prefix), before)

    async def list(self, prefix: str | None = None) -> AsyncIterator[ObjectStat]:
        async for page in obstore.list(self._store, prefix):
            for meta in page:
                yield ObjectStat(
                    key=meta["path"], size=meta["size"], etag=(meta["e_tag"] or "").strip('"'), modified_at=meta["last_modified"]
                )


def _described(key: str) -> dict[str, str]:
    """What a bucket is to say of the object to those who download it there."""
    path = PurePosixPath(key)
    # ``jobs/{job_id}/1.wav`` is a job's sound, and is called so.
    name = f"{path.parts[1]}{path.suffix}" if len(path.parts) == 3 else path.name
    format = path.suffix.removeprefix(".")
    known = format in FORMATS or format in _OTHER_TYPES
    return {
        "Content-Type": media_type(format) if known else "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{name}"',
    }


def _remove_unfinished(folder: Path, before: datetime) -> int:
    removed = 0
    # Not Path.rglob, which fails when a folder goes meanwhile.
    for file in (Path(parent, name) for parent, _, names in os.walk(folder) for name in names if _UNFINISHED.fullmatch(name)):
        # It may be finished, and get its own name, at any time.
        with contextlib.suppress(FileNotFoundError):
            if datetime.fromtimestamp(file.stat().st_mtime, UTC) < before:
                file.unlink()
                removed += 1
                with contextlib.suppress(OSError):
                    file.parent.rmdir()  # unless there is something else in it
    return removed
