"""What the workers ask of the inference service."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray

from worker.errors import AttemptFailedError, InferenceUnavailableError, JobFailedError
from worker.inference.replicas import Lookup, look_up
from worker.inference.tier import Tier
from worker.inference.wire import (
    Alignment,
    Embedding,
    PlannedChunk,
    Reference,
    Sampling,
    SpeechPlan,
    TextSpan,
    decoded,
    encoded,
    sound_of,
    understood,
    value_of,
)

# Why there may be no transcript, none of which is the recording's fault.
UNWRITTEN = {"TRANSCRIPTION_UNAVAILABLE", "LANGUAGE_UNAVAILABLE", "AUDIO_TOO_LONG"}


class InferenceClient:
    """Speaks to the inference service over HTTP, whichever replica of it. What is tried again, see `Tier`.

    Args:
        addresses: base address, or several with commas between.
        timeout_s: for each answer, repeats and the pauses before them included.
        connections: most requests to one replica at a time.
        transport: in the place of the network; names are not looked up then.
        clock: seconds, monotonic.
        lookup: how names become addresses.
    """

    def __init__(
        self,
        addresses: str,
        *,
        timeout_s: float,
        connections: int = 64,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        lookup: Lookup | None = look_up,
    ) -> None:
        self._timeout_s = timeout_s
        self._tier = Tier(addresses, connections=connections, transport=transport, clock=clock, lookup=lookup)

    async def close(self) -> None:
        await self._tier.close()

    async def plan(
        self,
        text: str,
        *,
        language: str,
        reference: Reference,
        speed: float = 1.0,
        model: str | None = None,
        first_chunk_short: bool = True,
        on_unsupported: str = "error",
        request_id: str | None = None,
    ) -> SpeechPlan:
        """Chunks with their lengths. Raises JobFailedError when the text cannot be spoken."""
        asked = {
            "text": text,
            "language": language,
            "model": model,
            "reference_text": reference.text,
            "reference_seconds": reference.seconds,
            "speed": speed,
            "first_chunk_short": first_chunk_short,
            "on_unsupported": on_unsupported,
        }
        plan: SpeechPlan = await self._post("/plan", asked, lambda value: msgspec.convert(value, SpeechPlan), request_id)
        if not plan.chunks:
            raise AttemptFailedError("SYNTHESIS_FAILED", "The speech service planned nothing to say")
        return plan

    async def synthesize(
        self,
        chunk: PlannedChunk,
        *,
        plan: SpeechPlan,
        reference: Reference,
        sampling: Sampling,
        request_id: str | None = None,
        live: bool = False,
    ) -> NDArray[np.float32]:
        """The sound of one chunk: mono, 24 kHz, at least ``(chunk.frames - 1) * 256`` samples. A `live` one comes before others."""
        item = {
            "text": chunk.text,
            "language": plan.language,
            "model": plan.model,
            "reference_audio": reference.encoded,
            "reference_text": reference.text,
            "frames": chunk.frames,
            "seed": sampling.seed,
        }
        if sampling.nfe_step is not None:
            item["nfe_step"] = sampling.nfe_step
        if sampling.cfg_strength is not None:
            item["cfg_strength"] = sampling.cfg_strength
        return await self._tier.send(
            "POST",
            "/synthesize",
            # The service drops what nobody waits for any more.
            lambda seconds: {"items": [item | {"timeout_s": seconds}]},
            lambda answer: sound_of(answer, chunk),
            timeout_s=self._timeout_s,
            request_id=request_id,
            live=live,
        )

    async def embed(self, samples: NDArray[np.float32], *, request_id: str | None = None) -> list[float]:
        """The speaker embedding of 24 kHz mono sound: 256 numbers, unit length."""
        embedding: list[float] = await self._post(
            "/embed", {"audio": encoded(samples)}, lambda value: msgspec.convert(value["embedding"], Embedding), request_id
        )
        return embedding

    async def reference(
        self, samples: NDArray[np.float32], text: str | None, *, language: str, request_id: str | None = None
    ) -> tuple[NDArray[np.float32], str]:
        """A recording made fit to clone from: level, trimmed, within the model's limit, and exactly what is spoken in it.

        samples: mono, 24 kHz. Without a text it is written down where there is a recogniser. Raises JobFailedError when the recording
        or its text will not do.
        """
        asked = {"audio": encoded(samples), "text": text, "language": language}
        made: tuple[NDArray[np.float32], str] = await self._post(
            "/reference", asked, lambda value: (decoded(value["audio"]), str(value["text"])), request_id
        )
        return made

    async def transcribe(self, samples: NDArray[np.float32], *, language: str | None, request_id: str | None = None) -> str | None:
        """What is spoken in 24 kHz mono sound; None where nobody can write it down."""
        asked = {"audio": encoded(samples), "language": language}
        try:
            written: str | None = await self._post("/transcribe", asked, lambda value: str(value["text"]) or None, request_id)
        except JobFailedError as failure:
            if failure.code in UNWRITTEN:
                return None
            raise
        return written

    async def align(
        self, samples: NDArray[np.float32], text: str, *, language: str, chunks: Sequence[TextSpan], request_id: str | None = None
    ) -> Alignment:
        """When each word of `text` is said in 24 kHz mono sound of at most ten minutes. Raises JobFailedError where nothing is spoken."""
        asked = {
            "audio": encoded(samples),
            "text": text,
            "language": language,
            "chunks": [msgspec.structs.asdict(chunk) for chunk in chunks],
        }
        aligned: Alignment = await self._post("/align", asked, lambda value: msgspec.convert(value, Alignment), request_id)
        return aligned

    async def models(self) -> dict[str, Any]:
        """What `GET /models` says. Raises InferenceUnavailableError."""

        def read(answer: bytes) -> dict[str, Any]:
            with understood():
                return msgspec.json.decode(answer, type=dict[str, Any])

        try:
            return await self._tier.send("GET", "/models", None, read, timeout_s=5, retries=0)
        except AttemptFailedError as failure:
            raise InferenceUnavailableError from failure

    async def ready(self) -> bool:
        """Whether a replica can speak."""
        return await self._tier.ready(timeout_s=3)

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        request_id: str | None = None,
        affinity: str | None = None,
    ) -> Any:
        """The value that an endpoint answers whose form the caller knows. It must not matter whether it is asked once or twice.

        Requests with the same `affinity` reach the same replica.
        """
        told = (lambda _: body) if body is not None else None
        return await self._tier.send(method, path, told, value_of, timeout_s=self._timeout_s, request_id=request_id, affinity=affinity)

    async def _post(self, path: str, body: Mapping[str, Any], convert: Callable[[Any], Any], request_id: str | None) -> Any:
        def read(answer: bytes) -> Any:
            value = value_of(answer)
            with understood():
                return convert(value)

        return await self._tier.send("POST", path, lambda _: body, read, timeout_s=self._timeout_s, request_id=request_id)
