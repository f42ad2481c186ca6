"""Sound files under keys such as ``jobs/{job_id}/1.wav``: a folder here, and any store that obstore speaks to the same way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import obstore
from obstore.exceptions import NotFoundError
from obstore.store import LocalStore, MemoryStore

READ_CHUNK = 256 * 1024


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


class Objects:
    """Whole files in, whole files or ranges out. A key is made of our own ids, never of what a client sent."""

    def __init__(self, store: LocalStore | MemoryStore) -> None:
        self._store = store

    @classmethod
    def in_folder(cls, folder: Path) -> Objects:
        folder.mkdir(parents=True, exist_ok=True)
        return cls(LocalStore(folder, automatic_cleanup=True))

    async def put(self, key: str, source: bytes | Path) -> ObjectStat:
        """Store under `key`, whole or not at all."""
        await obstore.put_async(self._store, key, source)
        return await self.stat(key)

    async def copy(self, source: str, key: str) -> ObjectStat:
        """Store what `source` holds under `key` too; neither then depends on the other. Raises ObjectNotFoundError."""
        try:
            await obstore.copy_async(self._store, source, key)
        except (NotFoundError, FileNotFoundError) as missing:
            raise ObjectNotFoundError(source) from missing
        return await self.stat(key)

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

    async def list(self, prefix: str | None = None) -> AsyncIterator[ObjectStat]:
        async for page in obstore.list(self._store, prefix):
            for meta in page:
                yield ObjectStat(
                    key=meta["path"], size=meta["size"], etag=(meta["e_tag"] or "").strip('"'), modified_at=meta["last_modified"]
                )
