"""The load of `benchmarks.api`, in a process of its own: keep-alive connections that each ask again as soon as they are answered.

Reads what to do from standard input and writes what came of it to standard output, both JSON. A client library would cost more than
the API that it asks; requests are bytes made beforehand, and of an answer no more is read than its status and its length.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from itertools import cycle
from typing import Any, cast

import uvloop

END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length:"
PATIENCE_S = 60  # with the last answers


class Connection(asyncio.Protocol):
    """Asks until `until`, on the clock of `time.perf_counter`, then says that it is done."""

    def __init__(self, requests: Any, until: float, expected: int, seen: list[float], wrong: list[str]) -> None:
        self.requests, self.until, self.expected = requests, until, f" {expected} ".encode()
        self.seen, self.wrong = seen, wrong
        self.done = asyncio.get_running_loop().create_future()
        self._answer = bytearray()
        self._whole = 0  # bytes of the answer under way, once its head is there

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's has another class
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._whole:
            end = self._answer.find(END_OF_HEAD)
            if end < 0:
                return
            head = bytes(self._answer[:end])
            at = head.lower().index(LENGTH) + len(LENGTH)
            self._whole = end + len(END_OF_HEAD) + int(head[at:].split(b"\r\n", 1)[0])
            if self.expected not in head[:16]:
                self.wrong.append(head.split(b"\r\n", 1)[0].decode())
        if len(self._answer) < self._whole:
            return
        now = time.perf_counter()
        self.seen.append(now - self._asked)
        self._answer.clear()
        self._whole = 0
        if now < self.until:
            self._ask()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None or time.perf_counter() < self.until:
            self.wrong.append(f"connection lost: {error}")
        if not self.done.done():
            self.done.set_result(None)

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self.transport.write(next(self.requests))


async def load(port: int, requests: list[str], connections: int, seconds: float, expected: int) -> dict[str, Any]:
    """Requests a second and the times of the answers in milliseconds. `expected`: the status that every answer should have."""
    loop = asyncio.get_running_loop()
    seen: list[float] = []
    wrong: list[str] = []
    asked = cycle([request.encode() for request in requests])
    began = time.perf_counter()
    made = [
        await loop.create_connection(lambda: Connection(asked, began + seconds, expected, seen, wrong), "127.0.0.1", port)
        for _ in range(connections)
    ]
    async with asyncio.timeout(seconds + PATIENCE_S):
        await asyncio.gather(*(protocol.done for _, protocol in made))
    took = time.perf_counter() - began
    ms = sorted(second * 1000 for second in seen)
    return {
        "requests": len(ms),
        "per_s": len(ms) / took,
        "p50_ms": ms[len(ms) // 2],
        "p99_ms": ms[min(len(ms) - 1, len(ms) * 99 // 100)],
        "wrong": wrong[:3],
        "wrong_count": len(wrong),
    }


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        json.dump(uvloop.run(load(**json.load(sys.stdin))), sys.stdout)
