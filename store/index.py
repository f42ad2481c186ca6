"""Makes the index of voices anew from the embeddings in the rows, and puts right what it lacks or has too much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import select

from store.models import Clone, Sample
from store.stores import Stores
from store.vectors import Kind, unpack

PAGE = 500

_KINDS: tuple[tuple[Any, Kind], ...] = ((Sample, "sample"), (Clone, "clone"))


async def rebuild_vectors(stores: Stores) -> tuple[int, int]:
    """Put every embedding into the index, and take out what no row knows. How many there are, and how many were taken out.

    What is searched for meanwhile is found.
    """
    there: set[str] = set()
    for model, kind in _KINDS:
        async for page in _pages(stores, model):
            await stores.vectors.put_many([(id_, user_id, unpack(embedding)) for id_, user_id, embedding in page], kind)
            there.update(id_ for id_, _, _ in page)
    lost = sorted(set(await stores.vectors.ids()) - there)
    await stores.vectors.delete(lost)
    return len(there), len(lost)


async def mend_vectors(stores: Stores) -> tuple[int, int]:
    """Put the embeddings into the index that it lacks, and take out what no row knows: what could not be written while it was away, or
    was put there by a process that died. How many were put, and how many taken out.
    """
    there = set(await stores.vectors.ids())
    known: set[str] = set()
    lacking = 0
    for model, kind in _KINDS:
        async with stores.database.read() as session:
            # Also those without an embedding: one that is just being listened to is in the index before it is in the row.
            rows = dict((await session.execute(select(model.id, model.embedding.is_not(None)))).tuples().all())
        known.update(rows)
        wanted = sorted(id_ for id_, listened in rows.items() if listened and id_ not in there)
        for start in range(0, len(wanted), PAGE):
            which = select(model.id, model.user_id, model.embedding).where(model.id.in_(wanted[start : start + PAGE]))
            async with stores.database.read() as session:
                page = [row for row in await session.execute(which) if row.embedding is not None]
            await stores.vectors.put_many([(id_, user_id, unpack(embedding)) for id_, user_id, embedding in page], kind)
            lacking += len(page)
    lost = sorted(there - known)
    await stores.vectors.delete(lost)
    return lacking, len(lost)


async def _pages(stores: Stores, model: Any) -> AsyncIterator[list[tuple[str, str, bytes]]]:
    last = ""
    while True:
        page = (
            select(model.id, model.user_id, model.embedding)
            .where(model.embedding.is_not(None), model.id > last)
            .order_by(model.id)
            .limit(PAGE)
        )
        async with stores.database.read() as session:
            rows = [(id_, user_id, embedding) for id_, user_id, embedding in await session.execute(page)]
        if rows:
            yield rows
        if len(rows) < PAGE:
            return
        last = rows[-1][0]
