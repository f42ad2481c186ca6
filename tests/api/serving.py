"""The app on a real socket, in a thread, for clients that are processes of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from litestar import Litestar

from tests.servers import free_port

START_S = 60


@contextmanager
def serving(app: Litestar, prepare: Callable[[httpx.AsyncClient], Awaitable[None]], **options: Any) -> Iterator[int]:
    """The port. `prepare` runs in the app's own event loop once it answers; `options` are uvicorn's."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=5, **options))
    ready = threading.Event()
    prepared = False

    async def live() -> None:
        nonlocal prepared
        serving = asyncio.create_task(server.serve())
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await prepare(client)
        prepared = True
        ready.set()
        await serving

    def run() -> None:
        try:
            asyncio.run(live())
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(START_S)
        assert prepared, "the app did not start"
        yield port
    finally:
        server.should_exit = True
        thread.join(START_S)
