"""Blocking work outside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from audio.encode import Encoder
from audio.level import LevelledEncoder

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`, but a cancellation is raised only when the thread has let go of what it works on.

    An encoder that is closed while a thread still writes to it takes the whole process down.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                continue
        if not running.cancelled():
            running.exception()  # looked at, or the loop would report it as lost
        raise


class EncoderInThread:
    """An encoder whose blocks are written in a thread."""

    def __init__(self, encoder: Encoder | LevelledEncoder) -> None:
        self._encoder = encoder

    async def write(self, block: NDArray[np.float32]) -> None:
        await in_thread(self._encoder.write, block)


@asynccontextmanager
async def encoding(encoder: Encoder | LevelledEncoder) -> AsyncIterator[EncoderInThread]:
    """Open, write and close the encoder in threads: closing waits for the disk."""
    try:
        await in_thread(encoder.__enter__)
        yield EncoderInThread(encoder)
    except BaseException as error:
        encoder.__exit__(type(error), error, error.__traceback__)
        raise
    await in_thread(encoder.__exit__, None, None, None)
