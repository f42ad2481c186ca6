"""A way to PostgreSQL that can be cut, and on which commits get lost."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqlalchemy.engine import make_url

SOCKET = ".s.PGSQL.5432"
COMMIT = b"COMMIT;"

Fate = Literal["on the way there", "on the way back"]


@dataclass
class Wire:
    """`url`: the address of the database at its end.

    `fates`: where the next commits get lost, and their connections with them: before the server hears of one, or when it has been made and
    nobody hears of that. Those after them get through.
    """

    url: str
    fates: list[Fate] = field(default_factory=list)
    is_cut: bool = False
    _ends: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Break all connections off, and every new one."""
        self.is_cut = True
        for end in self._ends:
            end.close()

    def mend(self) -> None:
        self.is_cut = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: str) -> None:
        """One connection, until either end is closed."""
        if self.is_cut:
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_unix_connection(server)
        ends = {writer, there_writer}
        self._ends |= ends
        made = asyncio.Event()

        async def there() -> None:
            while data := await reader.read(65536):
                if COMMIT in data and self.fates:
                    if self.fates.pop(0) == "on the way there":
                        return
                    made.set()
                there_writer.write(data)

        async def back() -> None:
            while (data := await there_reader.read(65536)) and not made.is_set():
                writer.write(data)

        ways = [asyncio.create_task(there()), asyncio.create_task(back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ends -= ends
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in ends:
                end.close()


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """A wire to the database of PostgreSQL at this address, which is one with a folder of sockets as its host."""
    target = make_url(url)
    server = str(Path(str(target.query["host"])) / SOCKET)
    folder = Path(tempfile.mkdtemp(prefix="voxify-wire-"))  # the paths of sockets must be short
    made = Wire(target.set(query={"host": str(folder)}).render_as_string(hide_password=False))
    listening = await asyncio.start_unix_server(lambda reader, writer: made.carry(reader, writer, server), folder / SOCKET)
    try:
        yield made
    finally:
        made.cut()
        listening.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await listening.wait_closed()
        shutil.rmtree(folder)
