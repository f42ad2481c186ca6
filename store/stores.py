"""The three stores, opened and closed together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from store.database import Database
from store.objects import Bucket, Objects
from store.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Stores:
    database: Database
    objects: Objects
    vectors: Vectors

    @classmethod
    def open(cls, *, database_url: str, objects_dir: Path, vectors_dir: Path, bucket: Bucket | None = None) -> Stores:
        """`objects_dir` is where objects are kept unless a `bucket` is given. Raises FolderInUseError."""
        objects = Objects.in_folder(objects_dir) if bucket is None else Objects.in_bucket(bucket)
        return cls(Database(database_url), objects, Vectors.in_folder(vectors_dir))

    async def close(self) -> None:
        self.vectors.close()
        await self.database.close()
