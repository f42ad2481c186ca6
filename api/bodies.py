"""Bodies of requests that come too slowly, and those that still come when the answer is given."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from litestar.types import ASGIApp, Message, Receive, Scope, Send

SILENCE_S = 30.0
# What a client may still send after an early answer. One that is cut off while it sends may never read the answer.
LINGER_S = 5.0
LINGER_BYTES = 32 * 1024 * 1024
_GONE: Any = {"type": "http.disconnect"}


class Bodies:
    """ASGI middleware that bounds how long a body may take, and closes the connection of one that is not wanted any more.

    A client that is silent for `SILENCE_S` seconds, or needs more than `timeout_s` for its whole body, counts as gone. Left to itself, the
    server would read a body that was refused to its end, which need not come.
    """

    def __init__(self, app: ASGIApp, timeout_s: float) -> None:
        self.app = app
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self.app(scope, receive, send)
            return
        body = _Body(receive, self.timeout_s)

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.ended:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
                body.unwanted = True
            if message["type"] == "http.response.body" and body.unwanted and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await body.linger()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        await self.app(scope, body.receive, send_and_close)


class _Body:
    def __init__(self, receive: Receive, timeout_s: float) -> None:
        self._receive = receive
        self._until = asyncio.get_running_loop().time() + timeout_s
        self.ended = False
        self.unwanted = False

    async def receive(self) -> Any:
        if self.ended:  # then this waits for the client to go, however long that takes
            return await self._receive()
        try:
            async with asyncio.timeout_at(min(self._until, asyncio.get_running_loop().time() + SILENCE_S)):
                message = await self._receive()
        except TimeoutError:
            return _GONE
        self.ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def linger(self) -> None:
        """Take what still comes and let it go, within the bounds."""
        taken = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self.ended and taken < LINGER_BYTES:
                    message: Any = await self._receive()
                    self.ended = message["type"] != "http.request" or not message.get("more_body", False)
                    taken += len(message.get("body", b""))


def _has_body(scope: Scope) -> bool:
    return any(name in {b"content-length", b"transfer-encoding"} for name, _ in scope["headers"])
