"""Work in threads is not left alone with what it works on."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audio.encode import Encoder
from worker.threads import encoding, in_thread


async def test_a_cancellation_waits_for_the_thread() -> None:
    begun, go, over = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        go.wait(10)
        over.set()

    task = asyncio.create_task(in_thread(work))
    await begun.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert over.is_set()


async def test_results_and_errors_come_through() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 1, 0)


async def test_an_encoder_is_not_closed_while_a_thread_writes_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libsndfile closed under a writing thread takes the process down."""
    begun, go = asyncio.Event(), threading.Event()
    loop, order = asyncio.get_running_loop(), list[str]()
    encoder = Encoder(tmp_path / "a.mp3", "mp3", 24_000)
    leave = encoder.__exit__

    def slow(_block: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        go.wait(10)
        order.append("written")

    def closed(self: Encoder, *why: Any) -> None:
        order.append("closed")
        leave(*why)

    monkeypatch.setattr(encoder, "write", slow)
    monkeypatch.setattr(Encoder, "__exit__", closed)

    async def work() -> None:
        async with encoding(encoder) as encoded:
            await encoded.write(np.zeros(10, np.float32))

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert order == ["written", "closed"]
    assert not [*tmp_path.glob("*")]  # noqa: ASYNC240 - a folder of the test's own


async def test_what_ends_well_is_there(tmp_path: Path) -> None:
    async with encoding(Encoder(tmp_path / "a.flac", "flac", 24_000)) as encoded:
        await encoded.write(np.zeros(2400, np.float32))
    assert soundfile.info(tmp_path / "a.flac").frames == 2400
