"""The sizes of files as the rows say them, for comparing them with the files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from store.models import Base, Clone, CloneReference, Job, Sample

PAGE = 500


@dataclass(frozen=True, slots=True)
class Saying:
    """A column that names a file, and the one that says how large it is."""

    model: type[Base]
    path: InstrumentedAttribute[Any]
    size: InstrumentedAttribute[Any]


SAYINGS = (
    Saying(Sample, Sample.original_path, Sample.size),
    Saying(Sample, Sample.prepared_path, Sample.prepared_size),
    Saying(Job, Job.output_path, Job.output_size),
    Saying(Clone, Clone.reference_path, Clone.reference_size),
)


@dataclass(frozen=True, slots=True)
class Said:
    """That the objects under `keys`, the first of which is the one in the row itself, have `size` bytes together; None: nothing is said."""

    saying: Saying
    row_id: str
    keys: tuple[str, ...]
    size: int | None


class SizeRepository:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def page(self, saying: Saying, after: str) -> Sequence[Said]:
        """What the next rows say that name a file, by their ids, behind this one: at most `PAGE`; none: there are no more."""
        model: Any = saying.model
        page = select(model.id, saying.path, saying.size).where(saying.path.is_not(None), model.id > after).order_by(model.id).limit(PAGE)
        rows = (await self.session.execute(page)).all()
        others = await self._others([row_id for row_id, _, _ in rows]) if saying.model is Clone else {}
        return [Said(saying, row_id, (key, *others.get(row_id, ())), size) for row_id, key, size in rows]

    async def correct(self, said: Said, size: int) -> bool:
        """Write the right size, unless the row names another file or says something else by now. Whether it was written."""
        model: Any = said.saying.model
        column = said.saying.size
        same = (model.id == said.row_id, said.saying.path == said.keys[0], column.is_(None) if said.size is None else column == said.size)
        # `updated_at` stays: nothing about what the row stands for has changed.
        values = {column.key: size, "updated_at": model.updated_at}
        corrected = await self.session.execute(update(model).where(*same).values(values).returning(model.id))
        return corrected.first() is not None

    async def _others(self, clone_ids: Sequence[str]) -> dict[str, list[str]]:
        """The files of the further styles of these clones."""
        rows = await self.session.execute(
            select(CloneReference.clone_id, CloneReference.path).where(CloneReference.clone_id.in_(clone_ids))
        )
        found = defaultdict[str, list[str]](list)
        for clone_id, path in rows:
            found[clone_id].append(path)
        return found
