"""The fake inference service of the API's tests, beside tests that have no event loop of their own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future

from tests.api.inference import FakeInference, served

START_S = 30


class Stub:
    """`hold` and `let_go`: its answers to `/synthesize`; `asked`: how often that was asked."""

    def __init__(self) -> None:
        self.fake = FakeInference()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()

    def hold(self) -> None:
        self._loop.call_soon_threadsafe(self.fake.gate.clear)

    def let_go(self) -> None:
        self._loop.call_soon_threadsafe(self.fake.gate.set)

    @property
    def asked(self) -> int:
        return len(self.fake.asked("/synthesize"))

    def run(self, started: Future[str]) -> None:
        async def run() -> None:
            async with served(self.fake) as url:
                started.set_result(url)
                await self._over.wait()

        self._loop.run_until_complete(run())

    def end(self) -> None:
        self.let_go()
        self._loop.call_soon_threadsafe(self._over.set)


@contextlib.contextmanager
def stub_inference() -> Iterator[Stub]:
    stub, started = Stub(), Future[str]()
    thread = threading.Thread(target=stub.run, args=(started,), daemon=True)
    thread.start()
    stub.url = started.result(START_S)
    try:
        yield stub
    finally:
        stub.end()
        thread.join(START_S)
