"""Voice embeddings and the search for similar voices, in Chroma.

The index is a copy: the embedding itself is kept in SQL with its sample or clone.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

EMBEDDING_SIZE = 256
COLLECTION = "voice-samples"

Kind = Literal["sample", "clone"]


class FolderInUseError(Exception):
    """Another process has the folder open: two would spoil it for each other."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is in use by another Voxify process; stop that one, or give this one a data folder of its own")


@dataclass(frozen=True, slots=True)
class Neighbour:
    id: str
    similarity: float  # cosine, -1 to 1


class Vectors:
    """One collection of unit vectors. Chroma's client is synchronous, so every call goes to a thread."""

    def __init__(self, client: Any, lock: IO[str] | None = None) -> None:
        self._client = client
        self._lock = lock
        self._collection = client.get_or_create_collection(COLLECTION, embedding_function=None, configuration={"hnsw": {"space": "cosine"}})

    @classmethod
    def in_folder(cls, folder: Path) -> Vectors:
        """Embedded Chroma. The folder belongs to one process at a time; raises FolderInUseError when another has it."""
        import chromadb
        from chromadb.config import Settings

        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
        try:
            # The system lets go of it when the process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise FolderInUseError(folder) from None
        return cls(chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False)), lock)

    def close(self) -> None:
        self._client.close()
        if self._lock is not None:
            self._lock.close()

    async def put(self, id_: str, owner_id: str, embedding: NDArray[np.float32], kind: Kind = "sample") -> None:
        """Keep the voice of a sample, or of a clone's reference."""
        about = {"owner_id": owner_id, "kind": kind}
        await asyncio.to_thread(self._collection.upsert, ids=[id_], embeddings=[embedding.tolist()], metadatas=[about])

    async def put_many(self, entries: Sequence[tuple[str, str, NDArray[np.float32]]], kind: Kind) -> None:
        """Keep many voices of one kind at once: id, owner and embedding of each. At most a few thousand."""
        await asyncio.to_thread(
            self._collection.upsert,
            ids=[id_ for id_, _, _ in entries],
            embeddings=[embedding.tolist() for _, _, embedding in entries],
            metadatas=[{"owner_id": owner_id, "kind": kind} for _, owner_id, _ in entries],
        )

    async def similar(self, owner_id: str, embedding: NDArray[np.float32], limit: int, kind: Kind | None = None) -> list[Neighbour]:
        """The nearest voices of this person, of both kinds or of one, nearest first."""
        where: dict[str, Any] = {"owner_id": owner_id}
        if kind is not None:
            # An entry of before clones were kept has no kind, and is a sample's.
            is_it: dict[str, Any] = {"kind": "clone"} if kind == "clone" else {"kind": {"$ne": "clone"}}
            where = {"$and": [where, is_it]}
        found = await asyncio.to_thread(self._collection.query, query_embeddings=[embedding.tolist()], n_results=limit, where=where)
        return [Neighbour(id_, 1.0 - distance) for id_, distance in zip(found["ids"][0], found["distances"][0], strict=True)]

    async def delete(self, ids: Sequence[str]) -> None:
        if ids:
            await asyncio.to_thread(self._collection.delete, ids=list(ids))

    async def ids(self) -> list[str]:
        found = await asyncio.to_thread(self._collection.get, include=[])
        return list(found["ids"])

    async def ping(self) -> None:
        """Raises when the store does not answer."""
        await asyncio.to_thread(self._collection.count)


def pack(embedding: Sequence[float]) -> bytes:
    """The form that an embedding has in SQL: little-endian float32."""
    return np.asarray(embedding, dtype="<f4").tobytes()


def unpack(blob: bytes) -> NDArray[np.float32]:
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)
