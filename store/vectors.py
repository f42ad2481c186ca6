"""Voice embeddings and the search for similar voices: in Chroma, embedded or as a server, or in Qdrant.

The index is a copy: the embedding itself is kept in SQL with its sample or clone. So what could not be written while the index was away is
put right later (:func:`store.index.mend_vectors`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar
from urllib.parse import urlsplit

import numpy as np
import structlog
from numpy.typing import NDArray

EMBEDDING_SIZE = 256
COLLECTION = "voice-samples"
TIMEOUT_S = 5
"""For one answer of a server."""
THREADS = 4

Kind = Literal["sample", "clone"]
T = TypeVar("T")

log = structlog.get_logger(__name__)


class FolderInUseError(Exception):
    """Another process has the folder open: two would spoil it for each other."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is in use by another Voxify process; stop that one, or give this one a data folder of its own")


class VectorsUnavailableError(Exception):
    """The index cannot be reached, or cannot do what is asked."""

    def __init__(self) -> None:
        super().__init__("The index of voices cannot be reached")


@dataclass(frozen=True, slots=True)
class VectorServer:
    """Where the index is, when it is no folder.

    `url`: ``http://host:port/collection`` of Chroma, or ``qdrant+http://…`` of Qdrant; both with ``https`` too. Without a collection it
    is `COLLECTION`. `key`: sent with every request unless empty.
    """

    url: str
    key: str = ""

    @property
    def is_qdrant(self) -> bool:
        return self.url.startswith("qdrant+")

    @property
    def address(self) -> str:
        """Without the collection."""
        parts = urlsplit(self.url.removeprefix("qdrant+"))
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def collection(self) -> str:
        return urlsplit(self.url).path.strip("/") or COLLECTION


@dataclass(frozen=True, slots=True)
class Entry:
    """The voice of a sample, or of a clone's reference: a unit vector of `EMBEDDING_SIZE` numbers."""

    id: str
    owner_id: str
    kind: Kind
    embedding: Sequence[float]


@dataclass(frozen=True, slots=True)
class Neighbour:
    id: str
    similarity: float  # cosine, -1 to 1


class Index(Protocol):
    """One collection of unit vectors. Its calls block and may come from several threads at once; they may raise anything."""

    def put(self, entries: Sequence[Entry]) -> None: ...

    def similar(self, owner_id: str, embedding: Sequence[float], limit: int, kind: Kind | None) -> list[Neighbour]: ...

    def delete(self, ids: Sequence[str]) -> None: ...

    def ids(self) -> list[str]: ...

    def ping(self) -> None: ...

    def close(self) -> None: ...


class Vectors:
    """An index whose calls go to threads, a few of their own: one that hangs must not hold up other work.

    Raises:
        VectorsUnavailableError: from every method but `close`, `put_or_leave` and `delete_or_leave`.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="vectors")
        self._away = False

    @classmethod
    def in_folder(cls, folder: Path) -> Vectors:
        """Embedded Chroma. The folder belongs to one process at a time; raises FolderInUseError when another has it."""
        from store.vectors_chroma import ChromaFolder

        return cls(ChromaFolder(folder))

    @classmethod
    def at(cls, server: VectorServer) -> Vectors:
        """A server, which need not be there yet."""
        if server.is_qdrant:
            from store.vectors_qdrant import QdrantIndex

            return cls(QdrantIndex.at(server))
        from store.vectors_chroma import ChromaServer

        return cls(ChromaServer(server))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._index.close()

    async def put(self, id_: str, owner_id: str, embedding: NDArray[np.float32], kind: Kind = "sample") -> None:
        """Keep the voice of a sample, or of a clone's reference."""
        await self.put_many([(id_, owner_id, embedding)], kind)

    async def put_or_leave(self, id_: str, owner_id: str, embedding: NDArray[np.float32], kind: Kind = "sample") -> None:
        """As `put`; when the index is away it is left to the sweep, which finds the embedding in the row."""
        try:
            await self.put(id_, owner_id, embedding, kind)
        except VectorsUnavailableError:
            log.info("vector left to the sweep", id=id_)

    async def put_many(self, entries: Sequence[tuple[str, str, NDArray[np.float32]]], kind: Kind) -> None:
        """Keep many voices of one kind at once: id, owner and embedding of each. At most a few thousand."""
        given = [Entry(id_, owner_id, kind, embedding.tolist()) for id_, owner_id, embedding in entries]
        await self._in_thread(lambda: self._index.put(given))

    async def similar(self, owner_id: str, embedding: NDArray[np.float32], limit: int, kind: Kind | None = None) -> list[Neighbour]:
        """The nearest voices of this person, of both kinds or of one, nearest first."""
        return await self._in_thread(lambda: self._index.similar(owner_id, embedding.tolist(), limit, kind))

    async def delete(self, ids: Sequence[str]) -> None:
        if ids:
            await self._in_thread(lambda: self._index.delete(ids))

    async def delete_or_leave(self, ids: Sequence[str]) -> None:
        """As `delete`; when the index is away it is left to the sweep, which finds that no row has these ids."""
        try:
            await self.delete(ids)
        except VectorsUnavailableError:
            log.info("vectors left to the sweep", ids=list(ids))

    async def ids(self) -> list[str]:
        return await self._in_thread(self._index.ids)

    async def ping(self) -> None:
        """Raises when the index does not answer."""
        await self._in_thread(self._index.ping)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except Exception as failed:
            # The clients raise what they and the libraries below them like: whatever it is, the index is of no use now.
            if not self._away:
                self._away = True
                log.warning("vectors away", reason=f"{type(failed).__name__}: {failed}")
            raise VectorsUnavailableError from failed
        if self._away:
            self._away = False
            log.info("vectors back")
        return found


def pack(embedding: Sequence[float]) -> bytes:
    """The form that an embedding has in SQL: little-endian float32."""
    return np.asarray(embedding, dtype="<f4").tobytes()


def unpack(blob: bytes) -> NDArray[np.float32]:
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)
