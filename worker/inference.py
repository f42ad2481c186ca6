"""The client of the inference service. Its wire is described in docs/inference.md."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import httpx
import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from audio.errors import AudioError
from audio.pcm import float_to_pcm16, pcm16_to_float
from worker.errors import AttemptFailedError, InferenceUnavailableError, JobFailedError

SAMPLE_RATE = 24_000
HOP_LENGTH = 256

# What a person can mend; anything else that the service says of an item is our own fault or a passing one.
OWNERS_ERRORS = {
    "UNSUPPORTED_CHARACTERS",
    "EMPTY_TEXT",
    "LANGUAGE_UNAVAILABLE",
    "MODEL_UNAVAILABLE",
    "REFERENCE_TOO_LONG",
    "REFERENCE_TEXT_REQUIRED",
    "AUDIO_TOO_SHORT",
    "AUDIO_TOO_LONG",
    "TRANSCRIPTION_UNAVAILABLE",
}
# Why there may be no transcript, none of which is the recording's fault.
UNWRITTEN = {"TRANSCRIPTION_UNAVAILABLE", "LANGUAGE_UNAVAILABLE", "AUDIO_TOO_LONG"}
BUSY = {429, 502, 503, 504}

log = structlog.get_logger(__name__)


Embedding = Annotated[list[float], msgspec.Meta(min_length=256, max_length=256)]


class PlannedChunk(msgspec.Struct, frozen=True):
    """One request to `/synthesize`: `text` is normalised, `start` and `end` are offsets into the text as it was given."""

    index: int
    text: str
    start: int
    end: int
    frames: int


class UnsupportedCharacter(msgspec.Struct, frozen=True):
    character: str
    position: int


class SpeechPlan(msgspec.Struct, frozen=True):
    model: str
    language: str
    support: str
    speech: bool
    chunks: list[PlannedChunk]
    unsupported_characters: list[UnsupportedCharacter] = []
    revision: str = ""


class TextSpan(msgspec.Struct, frozen=True):
    """Which part of the text, in characters, is said in which part of the sound, in seconds."""

    start: int
    end: int
    start_s: float
    end_s: float


class AlignedWord(TextSpan, frozen=True):
    """`score` is how likely the word is said there, 0 to 1; None for an estimate."""

    score: float | None


class Alignment(msgspec.Struct, frozen=True):
    """`ctc` where a network has found all words, else `estimated`."""

    method: Literal["ctc", "estimated"]
    words: list[AlignedWord]


class _Failure(msgspec.Struct, frozen=True):
    code: str
    message: str
    details: dict[str, Any] | None = None


class _Spoken(msgspec.Struct, frozen=True):
    ok: bool
    audio: str = ""
    frames: int = 0
    error: _Failure | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """The voice as the model is given it: 24 kHz mono sound and the words spoken in it."""

    pcm: bytes = field(repr=False)
    text: str = field(repr=False)
    seconds: float

    @classmethod
    def of(cls, samples: NDArray[np.float32], text: str) -> Reference:
        return cls(float_to_pcm16(samples), text, len(samples) / SAMPLE_RATE)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the model samples; None leaves the choice to the service."""

    seed: int
    nfe_step: int | None = None
    cfg_strength: float | None = None


class InferenceClient:
    """Speaks to the inference service over HTTP. Retries only what is safe: refused, overloaded or never connected."""

    def __init__(self, base_url: str, *, timeout_s: float, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._timeout_s = timeout_s
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=20)
        self._http = httpx.AsyncClient(
            base_url=base_url, timeout=httpx.Timeout(timeout_s, connect=3), limits=limits, transport=transport, trust_env=False
        )

    async def close(self) -> None:
        await self._http.aclose()

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
        answer = await self._post(
            "/plan",
            {
                "text": text,
                "language": language,
                "model": model,
                "reference_text": reference.text,
                "reference_seconds": reference.seconds,
                "speed": speed,
                "first_chunk_short": first_chunk_short,
                "on_unsupported": on_unsupported,
            },
            request_id,
        )
        with _understood():
            plan = msgspec.convert(_value(msgspec.json.decode(answer)), SpeechPlan)
        if not plan.chunks:
            raise AttemptFailedError("SYNTHESIS_FAILED", "The speech service planned nothing to say")
        return plan

    async def synthesize(
        self, chunk: PlannedChunk, *, plan: SpeechPlan, reference: Reference, sampling: Sampling, request_id: str | None = None
    ) -> NDArray[np.float32]:
        """The sound of one chunk: mono, 24 kHz, at least ``(chunk.frames - 1) * 256`` samples."""
        item = {
            "text": chunk.text,
            "language": plan.language,
            "model": plan.model,
            "reference_audio": base64.b64encode(reference.pcm).decode(),
            "reference_text": reference.text,
            "frames": chunk.frames,
            "seed": sampling.seed,
            "timeout_s": self._timeout_s,
        }
        if sampling.nfe_step is not None:
            item["nfe_step"] = sampling.nfe_step
        if sampling.cfg_strength is not None:
            item["cfg_strength"] = sampling.cfg_strength
        answer = await self._post("/synthesize", {"items": [item]}, request_id)
        with _understood():
            results = msgspec.json.decode(answer, type=list[_Spoken])
        if len(results) != 1:
            raise AttemptFailedError("SYNTHESIS_FAILED", "The speech service answered with another number of chunks than it was asked for")
        if results[0].error is not None:
            raise _failure(results[0].error)
        with _understood():
            samples, frames = pcm16_to_float(base64.b64decode(results[0].audio, validate=True)), results[0].frames
        if frames < chunk.frames or len(samples) != (frames - 1) * HOP_LENGTH:
            raise AttemptFailedError("SYNTHESIS_FAILED", f"The speech service sent {len(samples)} samples for {chunk.frames} frames")
        return samples

    async def embed(self, samples: NDArray[np.float32], *, request_id: str | None = None) -> list[float]:
        """The speaker embedding of 24 kHz mono sound: 256 numbers, unit length."""
        answer = await self._post("/embed", {"audio": base64.b64encode(float_to_pcm16(samples)).decode()}, request_id)
        with _understood():
            return msgspec.convert(_value(msgspec.json.decode(answer))["embedding"], Embedding)

    async def reference(
        self, samples: NDArray[np.float32], text: str | None, *, language: str, request_id: str | None = None
    ) -> tuple[NDArray[np.float32], str]:
        """A recording made fit to clone from: level, trimmed, within the model's limit, and exactly what is spoken in it.

        samples: mono, 24 kHz. Without a text it is written down where there is a recogniser. Raises JobFailedError when the recording
        or its text will not do.
        """
        asked = {"audio": base64.b64encode(float_to_pcm16(samples)).decode(), "text": text, "language": language}
        answer = await self._post("/reference", asked, request_id)
        with _understood():
            value = _value(msgspec.json.decode(answer))
            return pcm16_to_float(base64.b64decode(value["audio"], validate=True)), str(value["text"])

    async def transcribe(self, samples: NDArray[np.float32], *, language: str | None, request_id: str | None = None) -> str | None:
        """What is spoken in 24 kHz mono sound; None where nobody can write it down."""
        asked = {"audio": base64.b64encode(float_to_pcm16(samples)).decode(), "language": language}
        answer = await self._post("/transcribe", asked, request_id)
        try:
            with _understood():
                return str(_value(msgspec.json.decode(answer))["text"]) or None
        except JobFailedError as failure:
            if failure.code in UNWRITTEN:
                return None
            raise

    async def align(
        self, samples: NDArray[np.float32], text: str, *, language: str, chunks: Sequence[TextSpan], request_id: str | None = None
    ) -> Alignment:
        """When each word of `text` is said in 24 kHz mono sound of at most ten minutes. Raises JobFailedError where nothing is spoken."""
        asked = {
            "audio": base64.b64encode(float_to_pcm16(samples)).decode(),
            "text": text,
            "language": language,
            "chunks": [msgspec.structs.asdict(chunk) for chunk in chunks],
        }
        answer = await self._post("/align", asked, request_id)
        with _understood():
            return msgspec.convert(_value(msgspec.json.decode(answer)), Alignment)

    async def models(self) -> dict[str, Any]:
        """What `GET /models` says. Raises InferenceUnavailableError."""
        try:
            answer = await self._http.get("/models", timeout=5)
            answer.raise_for_status()
        except httpx.HTTPError as unreachable:
            raise InferenceUnavailableError from unreachable
        models: dict[str, Any] = answer.json()
        return models

    async def ready(self) -> bool:
        try:
            return (await self._http.get("/readyz", timeout=3)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, request_id: str | None = None) -> Any:
        """The value that an endpoint answers whose form the caller knows. It must not matter whether it is asked once or twice."""
        answer = await self._send(method, path, body, request_id)
        with _understood():
            return _value(msgspec.json.decode(answer))

    async def _post(self, path: str, body: Mapping[str, Any], request_id: str | None) -> bytes:
        return await self._send("POST", path, body, request_id)

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None, request_id: str | None) -> bytes:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if request_id:
            headers["X-Request-ID"] = request_id
        content = msgspec.json.encode(body) if body is not None else None
        for attempt in range(RETRIES + 1):
            wait = min(8.0, 0.25 * 2**attempt) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
            try:
                answer = await self._http.request(method, path, content=content, headers=headers)
            except httpx.ReadTimeout as slow:
                # Counted as an attempt: what the service cannot do in its time would otherwise be asked of it for ever.
                raise AttemptFailedError("INFERENCE_TIMEOUT", "The speech service did not answer in time") from slow
            except httpx.TransportError as unreachable:
                # Synthesis has no effect but its answer, so that a connection lost half-way may be tried again.
                reason = type(unreachable).__name__
            else:
                if answer.is_success:
                    return answer.content
                if answer.status_code not in BUSY:
                    log.error("inference refused", path=path, status=answer.status_code)
                    raise AttemptFailedError("SYNTHESIS_FAILED", f"The speech service refused the request (status {answer.status_code})")
                reason = str(answer.status_code)
                wait = max(wait, _retry_after(answer))
            if attempt < RETRIES:
                log.info("inference retry", path=path, reason=reason, attempt=attempt + 1, wait_s=round(wait, 2))
                await asyncio.sleep(wait)
        raise InferenceUnavailableError


RETRIES = 3


def _retry_after(answer: httpx.Response) -> float:
    value = answer.headers.get("Retry-After", "")
    return min(8.0, float(value)) if value.isdecimal() else 0.0


@contextmanager
def _understood() -> Iterator[None]:
    """What is not in the form that docs/inference.md gives it is a passing fault: a proxy's page, a service of another version."""
    try:
        yield
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AudioError) as strange:
        log.warning("inference answer not understood", kind=type(strange).__name__)
        raise AttemptFailedError("SYNTHESIS_FAILED", "The speech service gave an answer that could not be understood") from strange


def _value(answer: Any) -> Any:
    if not answer["ok"]:
        raise _failure(msgspec.convert(answer["error"], _Failure))
    return answer


def _failure(failure: _Failure) -> Exception:
    if failure.code in OWNERS_ERRORS:
        return JobFailedError(failure.code, failure.message, failure.details)
    if failure.code == "DEADLINE_EXCEEDED":
        return InferenceUnavailableError()
    return AttemptFailedError("SYNTHESIS_FAILED", failure.message)
