"""The index of voices in Chroma."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from store.vectors import COLLECTION, TIMEOUT_S, Entry, FolderInUseError, Kind, Neighbour, VectorServer

T = TypeVar("T")

DEFAULT_PORTS = {"http": 8000, "https": 443}


class ChromaFolder:
    """Embedded: the folder belongs to one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Raises FolderInUseError."""
        import chromadb

        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
        try:
            # The system lets go of it when the process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise FolderInUseError(folder) from None
        self._lock = lock
        self._client = chromadb.PersistentClient(str(folder), settings=_settings())
        self._collection = _collection(self._client, COLLECTION)

    def put(self, entries: Sequence[Entry]) -> None:
        _put(self._collection, entries)

    def similar(self, owner_id: str, embedding: Sequence[float], limit: int, kind: Kind | None) -> list[Neighbour]:
        return _similar(self._collection, owner_id, embedding, limit, kind)

    def delete(self, ids: Sequence[str]) -> None:
        self._collection.delete(ids=list(ids))

    def ids(self) -> list[str]:
        return _ids(self._collection)

    def ping(self) -> None:
        self._collection.count()

    def close(self) -> None:
        self._client.close()
        self._lock.close()


class ChromaServer:
    """A Chroma of its own, `chroma run`, which any number of processes may use."""

    def __init__(self, server: VectorServer) -> None:
        import chromadb  # seconds, which the first request is to be spared

        self._connect_to = chromadb.HttpClient
        self._server = server
        self._opening = Lock()
        self._client: Any = None
        self._made: Any = None

    def put(self, entries: Sequence[Entry]) -> None:
        self._do(lambda collection: _put(collection, entries))

    def similar(self, owner_id: str, embedding: Sequence[float], limit: int, kind: Kind | None) -> list[Neighbour]:
        return self._do(lambda collection: _similar(collection, owner_id, embedding, limit, kind))

    def delete(self, ids: Sequence[str]) -> None:
        self._do(lambda collection: collection.delete(ids=list(ids)))

    def ids(self) -> list[str]:
        return self._do(_ids)

    def ping(self) -> None:
        self._do(lambda collection: collection.count())

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _do(self, work: Callable[[Any], T]) -> T:
        from chromadb.errors import NotFoundError

        try:
            return work(self._collection())
        except NotFoundError:
            # The server has lost its data since, or somebody has removed the collection.
            self._made = None
            return work(self._collection())

    def _collection(self) -> Any:
        """Found, or made, when it is first needed: the server need not be there before."""
        with self._opening:
            if self._client is None:
                self._client = self._connect()
            if self._made is None:
                self._made = _collection(self._client, self._server.collection)
            return self._made

    def _connect(self) -> Any:
        at = urlsplit(self._server.address)
        client: Any = self._connect_to(
            at.hostname or "",
            at.port or DEFAULT_PORTS[at.scheme],
            ssl=at.scheme == "https",
            headers={"X-Chroma-Token": self._server.key} if self._server.key else None,
            settings=_settings(),
        )
        # It waits for ever, and has no setting for that.
        client._server._session.timeout = httpx.Timeout(TIMEOUT_S)
        return client


def _settings() -> Any:
    from chromadb.config import Settings

    return Settings(anonymized_telemetry=False)


def _collection(client: Any, name: str) -> Any:
    return client.get_or_create_collection(name, embedding_function=None, configuration={"hnsw": {"space": "cosine"}})


def _put(collection: Any, entries: Sequence[Entry]) -> None:
    collection.upsert(
        ids=[entry.id for entry in entries],
        embeddings=[list(entry.embedding) for entry in entries],
        metadatas=[{"owner_id": entry.owner_id, "kind": entry.kind} for entry in entries],
    )


def _similar(collection: Any, owner_id: str, embedding: Sequence[float], limit: int, kind: Kind | None) -> list[Neighbour]:
    where: dict[str, Any] = {"owner_id": owner_id}
    if kind is not None:
        # An entry of before clones were kept has no kind, and is a sample's.
        is_it: dict[str, Any] = {"kind": "clone"} if kind == "clone" else {"kind": {"$ne": "clone"}}
        where = {"$and": [where, is_it]}
    found = collection.query(query_embeddings=[list(embedding)], n_results=limit, where=where)
    return [Neighbour(id_, 1.0 - distance) for id_, distance in zip(found["ids"][0], found["distances"][0], strict=True)]


def _ids(collection: Any) -> list[str]:
    return list(collection.get(include=[])["ids"])
