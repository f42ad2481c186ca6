"""Inference services on real sockets that do not do as they should, and a clock for their client."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from audio.pcm import float_to_pcm16


class Clock:
    """Stands still but for the pauses between attempts, which are not waited for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@dataclass
class Asked:
    """One request, as it came over the wire to the address `server`."""

    server: str
    path: str
    headers: dict[str, str]
    body: Any


Manner = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Answers one request; the connection is closed behind one that raises ConnectionError."""


@dataclass
class Unruly:
    """What several servers were asked, in the order in which it came, and the manners left, of which the last is for ever."""

    manners: list[Manner]
    asked: list[Asked] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    connections: int = 0
    came: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("sockname")[:2]
        self.connections += 1
        try:
            while request := await _request(reader):
                self.asked.append(Asked(f"{host}:{port}", *request))
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                self.came.release()
                manner = self.manners.pop(0) if len(self.manners) > 1 else self.manners[0]
                try:
                    await manner(reader, writer)
                    await writer.drain()
                finally:
                    self.under_way -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def asked_of(self, server: str) -> int:
        return sum(asked.server == server for asked in self.asked)


@asynccontextmanager
async def unruly(*manners: Manner, hosts: tuple[str, ...] = ("127.0.0.1",), port: int = 0) -> AsyncIterator[tuple[Unruly, list[str]]]:
    """A server on each host, all with the same list of manners; the second value names them as host and port."""
    serving, names, servers = Unruly(list(manners)), list[str](), list[asyncio.Server]()
    try:
        for host in hosts:
            server = await asyncio.start_server(serving.serve, host, port)
            servers.append(server)
            names.append("{}:{}".format(*server.sockets[0].getsockname()[:2]))
        yield serving, names
    finally:
        for server in servers:
            server.close()


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], Any] | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return first.split()[1], headers, json.loads(body or b"null")


def answers(body: Any, status: int = 200, **headers: str) -> Manner:
    """In full and in good order; `body` as JSON, or as it is where it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def manner(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(len(content), status, **headers) + content)

    return manner


def speaks(frames: int = 10, *, samples: int | None = None, level: float = 0.3) -> Manner:
    """A chunk of so many frames."""
    sound = level * np.sin(np.arange((frames - 1) * 256 if samples is None else samples, dtype=np.float32) * 0.05)
    return answers([{"ok": True, "audio": base64.b64encode(float_to_pcm16(sound)).decode(), "frames": frames}])


def cut_after(content: bytes = b"") -> Manner:
    """Closes the connection behind the first bytes of an answer."""

    async def manner(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        raise ConnectionError

    return manner


half_a_body = cut_after(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"[" * 500)


async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Answers nothing for as long as somebody waits."""
    await reader.read()


async def drips(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte now and then, for ever: no pause is long enough to be noticed."""
    writer.write(_head(1_000_000, 200))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


def held(gate: asyncio.Event, then: Manner) -> Manner:
    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await then(reader, writer)

    return manner


def _head(length: int, status: int, **headers: str) -> bytes:
    told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Whatever\r\nContent-Length: {length}\r\n{told}\r\n".encode()
