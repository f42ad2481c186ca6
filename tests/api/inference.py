"""An inference service for tests: the wire of docs/inference.md, a tone instead of a voice, and faults on demand."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import uvicorn

from audio.pcm import float_to_pcm16
from tests.servers import free_port

FRAMES = 40
CHUNK_SAMPLES = (FRAMES - 1) * 256

MODELS: dict[str, Any] = {
    "default": "tone",
    "models": [
        {
            "name": "tone", "languages": ["en"], "license": "Apache-2.0", "commercial_use": True, "available": True, "reason": None,
            "speech": False,
        },
        {
            "name": "far", "languages": ["fr"], "license": "CC-BY-NC-4.0", "commercial_use": False, "available": False,
            "reason": "Not fetched", "speech": True,
        },
    ],
    "languages": [
        {"code": "en-US", "level": "native", "model": "tone", "reason": None},
        {"code": "fr-FR", "level": "fallback", "model": "tone", "reason": "No model for fr-FR is here"},
        {"code": "xx-XX", "level": "unavailable", "model": None, "reason": "No letters for it"},
    ],
}  # fmt: skip


class FakeInference:
    """Hand `transport` to the client. Every sentence is a chunk of 40 frames.

    `gate` holds back the answers of `/synthesize` while it is clear; `faults` answers in place of a path, or raises.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.priorities: list[str] = []  # of the chunks, as asked for
        self.faults: dict[str, Callable[[dict[str, Any]], httpx.Response]] = {}
        self.revision = "1"  # of the model
        self.training: Callable[[httpx.Request, dict[str, Any]], httpx.Response] | None = None  # answers below `/train`
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Semaphore(0)  # released for every chunk that is asked for
        self.transport = httpx.MockTransport(self._answer)

    def asked(self, path: str) -> list[dict[str, Any]]:
        return [body for called, body in self.calls if called == path]

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        body = json.loads(await request.aread() or b"{}")
        self.calls.append((path, body))
        if path == "/synthesize":
            self.priorities.append(request.headers.get("Priority", ""))
            self.waiting.release()
            await self.gate.wait()
        if path in self.faults:
            return self.faults[path](body)
        if path.startswith("/train") and self.training is not None:
            return self.training(request, body)
        match path:
            case "/plan":
                return httpx.Response(200, json=_plan(body, self.revision))
            case "/synthesize":
                return httpx.Response(200, json=[_spoken(item) for item in body["items"]])
            case "/embed":
                return httpx.Response(200, json={"ok": True, "embedding": [1.0] + [0.0] * 255})
            case "/reference":
                return httpx.Response(200, json=_reference(body)) if body["text"] else refused("REFERENCE_TEXT_REQUIRED")
            case "/models":
                return httpx.Response(200, json=MODELS)
            case "/align":
                return httpx.Response(200, json=_aligned(body))
            case "/transcribe":
                return refused("TRANSCRIPTION_UNAVAILABLE")
        return httpx.Response(200, json={})


@asynccontextmanager
async def served(inference: FakeInference) -> AsyncIterator[str]:
    """Its address, for other processes; it answers in the caller's loop."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        answer = await inference.transport.handle_async_request(httpx.Request(scope["method"], f"http://i{scope['path']}", content=body))
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": head})
        await send({"type": "http.response.body", "body": await answer.aread()})

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server._serve())  # the public way would take over the test's signals
    try:
        async with asyncio.timeout(20):
            while not server.started:
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


def refused(code: str, **details: Any) -> httpx.Response:
    """A failure of an item, as `/plan` gives it."""
    return httpx.Response(200, json={"ok": False, "error": {"code": code, "message": "It cannot be said", "details": details}})


def _plan(body: dict[str, Any], revision: str) -> dict[str, Any]:
    parts = [part for part in re.finditer(r"[^.]+", body["text"]) if part[0].strip()]
    spans = [(part[0], *part.span()) for part in parts] or [(body["text"], 0, len(body["text"]))]
    chunks = [{"index": i, "text": text, "start": start, "end": end, "frames": FRAMES} for i, (text, start, end) in enumerate(spans)]
    return {
        "ok": True, "model": "tone", "revision": revision, "language": body["language"], "support": "native", "speech": False,
        "sample_rate": 24000, "hop_length": 256, "chunks": chunks, "unsupported_characters": [],
    }  # fmt: skip


def _aligned(body: dict[str, Any]) -> dict[str, Any]:
    """The words of each chunk, evenly over its sound."""
    seconds = len(base64.b64decode(body["audio"])) / 2 / 24000
    words, before = [], (0, 0.0, 0.0)
    for chunk in body["chunks"]:
        start, end, start_s, end_s = chunk["start"], chunk["end"], chunk["start_s"], chunk["end_s"]
        assert before <= (start, start_s, end_s), "the service refuses chunks that are out of order"
        assert 0 <= start <= end <= len(body["text"]), "or outside the text"
        assert 0 <= start_s <= min(end_s, seconds), "or outside the sound"
        before = (end, start_s, end_s)
        found = list(re.finditer(r"\w+", body["text"][start:end]))
        step = (end_s - start_s) / max(1, len(found))
        words += [
            {"word": word[0], "start": start + word.start(), "end": start + word.end(), "start_s": start_s + n * step,
             "end_s": start_s + (n + 1) * step, "score": None}
            for n, word in enumerate(found)
        ]  # fmt: skip
    return {"ok": True, "method": "estimated", "words": words} if words else refused("EMPTY_TEXT").json()


def _reference(body: dict[str, Any]) -> dict[str, Any]:
    seconds = len(base64.b64decode(body["audio"])) / 2 / 24000
    return {"ok": True, "audio": body["audio"], "text": body["text"], "seconds": seconds, "cut": False, "transcribed": False}


def _spoken(item: dict[str, Any]) -> dict[str, Any]:
    samples = 0.3 * np.sin(np.arange(CHUNK_SAMPLES, dtype=np.float32) * 0.05)
    audio = base64.b64encode(float_to_pcm16(samples)).decode()
    return {"ok": True, "audio": audio, "sample_rate": 24000, "frames": item["frames"], "model": "tone", "speech": False}
