"""Makes the index of voices anew from the embeddings in the rows."""

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
