"""The index of voices in Qdrant."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from store.vectors import EMBEDDING_SIZE, TIMEOUT_S, Entry, Kind, Neighbour, VectorServer

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

T = TypeVar("T")

PAGE = 1000

# Qdrant takes UUIDs as ids: ours are in the payload, and a UUID made of each finds it again.
_IDS = uuid.UUID("6c0e7f4c-54b5-4f0c-9f0a-8d2f1b6f3a55")


class QdrantIndex:
    """One collection, made when it is first needed: the server need not be there before."""

    def __init__(self, client: QdrantClient, collection: str) -> None:
        self._client = client
        self._collection = collection
        self._opening = Lock()
        self._is_made = False

    @classmethod
    def at(cls, server: VectorServer) -> QdrantIndex:
        from qdrant_client import QdrantClient

        client = QdrantClient(url=server.address, api_key=server.key or None, timeout=TIMEOUT_S, check_compatibility=False)
        return cls(client, server.collection)

    def put(self, entries: Sequence[Entry]) -> None:
        from qdrant_client.models import PointStruct

        points = [
            PointStruct(
                id=_uuid(entry.id),
                vector=list(entry.embedding),
                payload={"id": entry.id, "owner_id": entry.owner_id, "kind": entry.kind},
            )
            for entry in entries
        ]
        self._do(lambda: self._client.upsert(self._collection, points))

    def similar(self, owner_id: str, embedding: Sequence[float], limit: int, kind: Kind | None) -> list[Neighbour]:
        from qdrant_client.models import FieldCondition, Filter, MatchValue

        wanted = {"owner_id": owner_id} | ({} if kind is None else {"kind": kind})
        which = Filter(must=[FieldCondition(key=key, match=MatchValue(value=value)) for key, value in wanted.items()])
        found = self._do(
            lambda: self._client.query_points(self._collection, query=list(embedding), query_filter=which, limit=limit, with_payload=["id"])
        )
        return [Neighbour(str((point.payload or {})["id"]), point.score) for point in found.points]

    def delete(self, ids: Sequence[str]) -> None:
        self._do(lambda: self._client.delete(self._collection, [_uuid(id_) for id_ in ids]))

    def ids(self) -> list[str]:
        return self._do(self._all)

    def ping(self) -> None:
        self._do(lambda: self._client.count(self._collection, exact=False))

    def close(self) -> None:
        self._client.close()

    def _all(self) -> list[str]:
        found: list[str] = []
        offset = None
        while True:
            points, offset = self._client.scroll(self._collection, limit=PAGE, offset=offset, with_payload=["id"])
            found += [str((point.payload or {})["id"]) for point in points]
            if offset is None:
                return found

    def _do(self, work: Callable[[], T]) -> T:
        from qdrant_client.http.exceptions import UnexpectedResponse

        try:
            self._make()
            return work()
        except UnexpectedResponse as refused:
            if refused.status_code != 404:
                raise
            # The server has lost its data since, or somebody has removed the collection.
            self._is_made = False
            self._make()
            return work()

    def _make(self) -> None:
        from qdrant_client.http.exceptions import UnexpectedResponse
        from qdrant_client.models import Distance, KeywordIndexParams, KeywordIndexType, VectorParams

        with self._opening:
            if not self._is_made and not self._client.collection_exists(self._collection):
                try:
                    self._client.create_collection(self._collection, VectorParams(size=EMBEDDING_SIZE, distance=Distance.COSINE))
                except UnexpectedResponse as refused:
                    if refused.status_code != 409:  # another process was quicker
                        raise
                # Every search is among the voices of one person.
                one_person = KeywordIndexParams(type=KeywordIndexType.KEYWORD, is_tenant=True)
                self._client.create_payload_index(self._collection, "owner_id", one_person)
            self._is_made = True


def _uuid(id_: str) -> str:
    return str(uuid.uuid5(_IDS, id_))
