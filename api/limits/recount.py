"""Puts right what the rows say of the sizes of files, by looking at the files."""

from __future__ import annotations

from store.database import Database
from store.objects import ObjectNotFoundError, Objects
from store.repositories.sizes import Said, SizeRepository


async def recount(database: Database, objects: Objects) -> tuple[int, int]:
    """How many rows named files, and how many of them were wrong about their size. A file that is gone has 0 bytes.

    May run beside everything else: a row that changes meanwhile is left as it is.
    """
    sizes = {stat.key: stat.size async for stat in objects.list()}
    looked_at, wrong = 0, list[tuple[Said, int]]()
    async with database.read() as session:
        async for said in SizeRepository(session).all():
            looked_at += 1
            size = sum([sizes[key] if key in sizes else await _size(objects, key) for key in said.keys])
            if size != said.size:
                wrong.append((said, size))
    corrected = 0
    for said, size in wrong:
        async with database.write() as session:
            corrected += await SizeRepository(session).correct(said, size)
    return looked_at, corrected


async def _size(objects: Objects, key: str) -> int:
    # Stored since the list was made, or gone.
    try:
        return (await objects.stat(key)).size
    except ObjectNotFoundError:
        return 0
