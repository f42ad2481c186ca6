"""Which objects the rows name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from store.models import Clone, CloneReference, Job, Sample

# First part of the keys, column with the second, columns with keys
_ROOMS: tuple[tuple[str, InstrumentedAttribute[str], tuple[InstrumentedAttribute[Any], ...]], ...] = (
    ("jobs", Job.id, (Job.output_path,)),
    ("samples", Sample.id, (Sample.original_path, Sample.prepared_path)),
    ("clones", Clone.id, (Clone.reference_path,)),
    ("clones", CloneReference.clone_id, (CloneReference.path,)),
)


def columns_with_keys() -> dict[str, tuple[str, ...]]:
    """The columns in which each table names objects."""
    return {columns[0].class_.__tablename__: tuple(each.key for each in columns) for _, _, columns in _ROOMS}


async def named_objects(session: AsyncSession, keys: Collection[str]) -> set[str]:
    """Those of the keys that a row names.

    A key begins with its table's room and the id of its row (``jobs/{job_id}/...``), so that rows are found by primary key.
    """
    named: set[str] = set()
    for room, row_id, columns in _ROOMS:
        ids = sorted({parts[1] for key in keys if len(parts := key.split("/")) == 3 and parts[0] == room})
        for start in range(0, len(ids), 500):
            rows = await session.execute(select(*columns).where(row_id.in_(ids[start : start + 500])))
            named.update(path for row in rows for path in row if path)
    return named.intersection(keys)
