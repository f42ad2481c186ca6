"""Puts right what the rows say of the sizes of files, by looking at the files."""

from __future__ import annotations

from collections.abc import Sequence

from store.database import Database
from store.objects import ObjectNotFoundError, Objects
from store.repositories.sizes import SAYINGS, Said, Saying, SizeRepository


async def recount(database: Database, objects: Objects) -> tuple[int, int]:
    """How many rows named files, and how many of them were wrong about their size. A file that is gone has 0 bytes.

    May run beside everything else: a row that changes meanwhile is left as it is.
    """
    sizes = {stat.key: stat.size async for stat in objects.list()}
    looked_at = corrected = 0
    for saying in SAYINGS:
        after = ""
        # No transaction is open while files are looked at, which may take longer than one may last. What comes or changes in between has
        # its size from who writes it, with the name of the file, which is another for every writing: `correct` leaves such a row alone.
        while page := await _page(database, saying, after):
            for said in page:
                size = sum([sizes[key] if key in sizes else await _size(objects, key) for key in said.keys])
                if size != said.size:
                    async with database.write() as session:
                        corrected += await SizeRepository(session).correct(said, size)
            looked_at += len(page)
            after = page[-1].row_id
    return looked_at, corrected


async def _page(database: Database, saying: Saying, after: str) -> Sequence[Said]:
    async with database.read() as session:
        return await SizeRepository(session).page(saying, after)


async def _size(objects: Objects, key: str) -> int:
    # Stored since the list was made, or gone.
    try:
        return (await objects.stat(key)).size
    except ObjectNotFoundError:
        return 0
