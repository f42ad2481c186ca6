"""Bodies that come too slowly, and those that nobody wants any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api import bodies
from api.bodies import Bodies

UPLOAD = {"type": "http", "method": "POST", "headers": [(b"transfer-encoding", b"chunked")]}


class Line:
    """A client that sends what it is given, and waits when it has nothing more."""

    def __init__(self, *pieces: tuple[bytes, bool]) -> None:
        self.pieces = list(pieces)
        self.taken = 0
        self.answer: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        if not self.pieces:
            await asyncio.Event().wait()
        body, more = self.pieces.pop(0)
        self.taken += 1
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(self, message: dict[str, Any]) -> None:
        self.answer.append(message)

    @property
    def closes(self) -> bool:
        return (b"connection", b"close") in self.answer[0]["headers"]


async def reading(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the type of the last message that it got."""
    message = await receive()
    while message["type"] == "http.request" and message.get("more_body"):
        message = await receive()
    await answering(scope, receive, send, message["type"].encode())


async def answering(scope: Any, receive: Any, send: Any, body: bytes = b"no") -> None:
    """Answers without a look at the body."""
    await send({"type": "http.response.start", "status": 400, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def test_a_whole_body_is_left_alone() -> None:
    line = Line((b"a", True), (b"b", False))
    await Bodies(reading, 60)(UPLOAD, line.receive, line.send)  # type: ignore[arg-type]
    assert line.answer[1] == {"type": "http.response.body", "body": b"http.request", "more_body": False}
    assert not line.closes


@pytest.mark.parametrize(("silence_s", "timeout_s"), [(0.02, 60), (30, 0.02)])
async def test_a_client_that_falls_silent_counts_as_gone(monkeypatch: pytest.MonkeyPatch, silence_s: float, timeout_s: float) -> None:
    monkeypatch.setattr(bodies, "SILENCE_S", silence_s)
    monkeypatch.setattr(bodies, "LINGER_S", 0.02)
    line = Line((b"a", True))
    async with asyncio.timeout(20):
        await Bodies(reading, timeout_s)(UPLOAD, line.receive, line.send)  # type: ignore[arg-type]
    assert line.answer[1]["body"] == b"http.disconnect"
    assert line.closes


async def test_an_early_answer_goes_out_at_once_and_the_rest_is_taken_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LINGER_BYTES", 1000)
    line = Line(*[(bytes(100), True)] * 50)
    await Bodies(answering, 60)(UPLOAD, line.receive, line.send)  # type: ignore[arg-type]
    assert line.closes
    assert [message.get("body") for message in line.answer] == [None, b"no", b""]
    assert [message.get("more_body") for message in line.answer] == [None, True, False]
    assert line.taken == 10


async def test_an_early_answer_waits_for_no_silent_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LINGER_S", 0.02)
    line = Line((b"a", True))
    async with asyncio.timeout(20):
        await Bodies(answering, 60)(UPLOAD, line.receive, line.send)  # type: ignore[arg-type]
    assert line.answer[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_request_without_a_body_is_not_looked_at() -> None:
    line = Line()
    async with asyncio.timeout(20):
        await Bodies(answering, 60)({"type": "http", "headers": []}, line.receive, line.send)  # type: ignore[arg-type]
    assert not line.closes
