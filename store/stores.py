"""The three stores, opened and closed together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from store.database import Database
from store.objects import Objects
from store.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Stores:
    database: Database
    objects: Objects
    vectors: Vectors

    @classmethod
    def open(cls, *, database_url: str, objects_dir: Path, vectors_dir: Path) -> Stores:
        return cls(Database(database_url), Objects.in_folder(objects_dir), Vectors.in_folder(vectors_dir))

    async def close(self) -> None:
        self.vectors.close()
        await self.database.close()
