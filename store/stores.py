"""The three stores, opened and closed together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from store.database import LIMIT_S, Database
from store.objects import Bucket, Objects
from store.vectors import Vectors, VectorServer


@dataclass(frozen=True, slots=True)
class Stores:
    database: Database
    objects: Objects
    vectors: Vectors

    @classmethod
    def open(
        cls,
        *,
        database_url: str,
        objects_dir: Path,
        vectors_dir: Path,
        bucket: Bucket | None = None,
        vector_server: VectorServer | None = None,
        database_limit_s: float = LIMIT_S,
    ) -> Stores:
        """The folders are where objects and vectors are kept unless a `bucket` or a `vector_server` is given. Raises FolderInUseError."""
        objects = Objects.in_folder(objects_dir) if bucket is None else Objects.in_bucket(bucket)
        vectors = Vectors.in_folder(vectors_dir) if vector_server is None else Vectors.at(vector_server)
        return cls(Database(database_url, limit_s=database_limit_s), objects, vectors)

    async def close(self) -> None:
        self.vectors.close()
        await self.database.close()
