"""An inference service for tests: the wire of docs/inference.md, a tone instead of a voice, and faults on demand."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np

from audio.pcm import float_to_pcm16

FRAMES = 40
CHUNK_SAMPLES = (FRAMES - 1) * 256


class FakeInference:
    """Hand `transport` to the client. Every sentence is a chunk of 40 frames.

    `gate` holds back the answers of `/synthesize` while it is clear; `faults` answers in place of a path, or raises.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.faults: dict[str, Callable[[dict[str, Any]], httpx.Response]] = {}
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
            self.waiting.release()
            await self.gate.wait()
        if path in self.faults:
            return self.faults[path](body)
        match path:
            case "/plan":
                return httpx.Response(200, json=_plan(body))
            case "/synthesize":
                return httpx.Response(200, json=[_spoken(item) for item in body["items"]])
            case "/embed":
                return httpx.Response(200, json={"ok": True, "embedding": [1.0] + [0.0] * 255})
            case "/reference":
                return httpx.Response(200, json=_reference(body)) if body["text"] else refused("REFERENCE_TEXT_REQUIRED")
            case "/transcribe":
                return refused("TRANSCRIPTION_UNAVAILABLE")
        return httpx.Response(200, json={})


def refused(code: str, **details: Any) -> httpx.Response:
    """A failure of an item, as `/plan` gives it."""
    return httpx.Response(200, json={"ok": False, "error": {"code": code, "message": "It cannot be said", "details": details}})


def _plan(body: dict[str, Any]) -> dict[str, Any]:
    texts = [part for part in body["text"].split(".") if part.strip()] or [body["text"]]
    chunks = [{"index": i, "text": text, "start": 0, "end": len(text), "frames": FRAMES} for i, text in enumerate(texts)]
    return {
        "ok": True, "model": "tone", "language": body["language"], "support": "native", "speech": False, "sample_rate": 24000,
        "hop_length": 256, "chunks": chunks, "unsupported_characters": [],
    }  # fmt: skip


def _reference(body: dict[str, Any]) -> dict[str, Any]:
    seconds = len(base64.b64decode(body["audio"])) / 2 / 24000
    return {"ok": True, "audio": body["audio"], "text": body["text"], "seconds": seconds, "cut": False, "transcribed": False}


def _spoken(item: dict[str, Any]) -> dict[str, Any]:
    samples = 0.3 * np.sin(np.arange(CHUNK_SAMPLES, dtype=np.float32) * 0.05)
    audio = base64.b64encode(float_to_pcm16(samples)).decode()
    return {"ok": True, "audio": audio, "sample_rate": 24000, "frames": item["frames"], "model": "tone", "speech": False}
