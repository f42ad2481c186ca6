"""The sizes of files as the rows say them, for comparing them with the files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from store.models import Base, Clone, CloneReference, Job, Sample

PAGE = 500


@dataclass(frozen=True, slots=True)
class Said:
    """That the objects under `keys` have `size` bytes together; None: nothing is said of it."""

    model: type[Base]
    row_id: str
    column: str
    keys: tuple[str, ...]
    size: int | None


_ONE_FILE: tuple[tuple[Any, InstrumentedAttribute[Any], InstrumentedAttribute[Any]], ...] = (
    (Sample, Sample.original_path, Sample.size),
    (Sample, Sample.prepared_path, Sample.prepared_size),
    (Job, Job.output_path, Job.output_size),
)


class SizeRepository:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def all(self) -> AsyncIterator[Said]:
        """What every row says that names a file."""
        for model, path, size in _ONE_FILE:
            async for row_id, key, said in self._pages(model, path, size):
                yield Said(model, row_id, size.key, (key,), said)
        async for row_id, key, said in self._pages(Clone, Clone.reference_path, Clone.reference_size):
            others = await self.session.scalars(select(CloneReference.path).where(CloneReference.clone_id == row_id))
            yield Said(Clone, row_id, "reference_size", (key, *others), said)

    async def correct(self, said: Said, size: int) -> bool:
        """Write the right size, unless the row says something else by now. Whether it was written."""
        model: Any = said.model
        column = getattr(model, said.column)
        same = column.is_(None) if said.size is None else column == said.size
        # `updated_at` stays: nothing about what the row stands for has changed.
        values = {said.column: size, "updated_at": model.updated_at}
        corrected = await self.session.execute(update(model).where(model.id == said.row_id, same).values(values).returning(model.id))
        return corrected.first() is not None

    async def _pages(
        self, model: Any, path: InstrumentedAttribute[Any], size: InstrumentedAttribute[Any]
    ) -> AsyncIterator[tuple[str, str, int | None]]:
        last = ""
        while True:
            page = select(model.id, path, size).where(path.is_not(None), model.id > last).order_by(model.id).limit(PAGE)
            rows = (await self.session.execute(page)).all()
            for row_id, key, said in rows:
                yield row_id, key, said
            if len(rows) < PAGE:
                return
            last = rows[-1][0]
