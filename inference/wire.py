"""The bodies of ``docs/inference.md``: types and shapes. Ranges of an item are judged per item, in ``synthesis``."""

from __future__ import annotations

import base64
import binascii
import time
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

import tracing
from inference.errors import InvalidItemError
from inference.mel import HOP_LENGTH, SAMPLE_RATE

MAX_ITEMS = 64
MAX_TEXT = 100_000
MAX_CHUNKS = 10_000
MAX_AUDIO = 40 * 1024 * 1024
"""Characters of base64: ten minutes of sound."""

Support = Literal["native", "specialised", "fallback"]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Name = Annotated[str, Field(max_length=512)]

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request whose body is being read. Within a batch there are many requests, so that each item keeps its own."""


live: ContextVar[bool] = ContextVar("live", default=False)
"""Whether somebody listens to what that request asks for while it is made."""


def _current_request() -> str:
    return request_id.get()


def _is_live() -> bool:
    return live.get()


class Body(BaseModel):
    """A request body. What was sent is not repeated in errors, which are logged: it may be a person's text or voice."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class PlanRequest(Body):
    """``POST /plan``."""

    text: Text
    language: Name = "en-US"
    model: Name | None = None
    reference_text: Text
    reference_seconds: float
    speed: float = 1.0
    first_chunk_short: bool = True
    on_unsupported: Literal["error", "drop"] = "error"


class SynthesisItem(Body):
    """One chunk. What is told of its request and of its arrival is stamped when it is read, before it waits for its batch."""

    text: Text
    language: Name = "en-US"
    model: Name | None = None
    reference_audio: Annotated[str, Field(max_length=MAX_AUDIO)]
    reference_text: Text
    frames: int
    seed: int = 0
    nfe_step: int = 16
    cfg_strength: float = 2.0
    sway_coefficient: float = -1.0
    timeout_s: float | None = None

    _arrived: float = PrivateAttr(default_factory=time.monotonic)
    _request_id: str = PrivateAttr(default_factory=_current_request)
    _live: bool = PrivateAttr(default_factory=_is_live)
    _traceparent: str | None = PrivateAttr(default_factory=tracing.traceparent)
    _preparation: Future[Any] | None = PrivateAttr(None)

    @property
    def arrived(self) -> float:
        """Time of arrival on the monotonic clock, in seconds."""
        return self._arrived

    @property
    def request_id(self) -> str:
        return self._request_id

    @property
    def live(self) -> bool:
        """Whether it comes before what nobody listens to while it is made."""
        return self._live

    @property
    def traceparent(self) -> str | None:
        """The span of the request that the item came with."""
        return self._traceparent

    @property
    def preparation(self) -> Future[Any] | None:
        """What was made ready of it while it waits; None where nobody has begun."""
        return self._preparation

    @preparation.setter
    def preparation(self, begun: Future[Any] | None) -> None:
        self._preparation = begun

    def expired(self, now: float) -> bool:
        """Whether its ``timeout_s`` has passed at ``now`` on the monotonic clock."""
        return self.timeout_s is not None and not now - self._arrived < self.timeout_s


class SynthesisRequest(Body):
    """``POST /synthesize``."""

    items: Annotated[list[SynthesisItem], Field(min_length=1, max_length=MAX_ITEMS)]


class EmbedRequest(Body):
    """``POST /embed``."""

    audio: Annotated[str, Field(max_length=MAX_AUDIO)]


class TranscribeRequest(Body):
    """``POST /transcribe``."""

    audio: Annotated[str, Field(max_length=MAX_AUDIO)]
    language: Name | None = None


class AlignChunk(Body):
    """A stretch of the text, in code points, and of the sound, in seconds, that belong together."""

    start: int
    end: int
    start_s: float
    end_s: float


class AlignRequest(Body):
    """``POST /align``."""

    audio: Annotated[str, Field(max_length=MAX_AUDIO)]
    text: Text
    language: Name = "en-US"
    chunks: Annotated[list[AlignChunk], Field(max_length=MAX_CHUNKS)] | None = None


class ReferenceRequest(Body):
    """``POST /reference``."""

    audio: Annotated[str, Field(max_length=MAX_AUDIO)]
    text: Text | None = None
    language: Name = "en-US"
    limit_s: float = 12.0


class ErrorValue(BaseModel):
    code: str
    message: str
    details: dict[str, Any] = {}


class Failure(BaseModel):
    """A failure as a value: of one item, or of a request that was well formed."""

    ok: Literal[False] = False
    error: ErrorValue


class ChunkValue(BaseModel):
    index: int
    text: str
    start: int
    end: int
    frames: int


class UnsupportedValue(BaseModel):
    character: str
    position: int


class PlanResult(BaseModel):
    """``revision`` changes when the files of the model do: the same item of the same revision gives the same sound."""

    ok: Literal[True] = True
    model: str
    revision: str
    language: str
    support: Support
    speech: bool
    sample_rate: int = SAMPLE_RATE
    hop_length: int = HOP_LENGTH
    chunks: list[ChunkValue]
    unsupported_characters: list[UnsupportedValue]


class SynthesisResult(BaseModel):
    """Sound of one chunk; ``frames`` were generated, which gives ``(frames - 1) * 256`` samples."""

    ok: Literal[True] = True
    audio: str
    sample_rate: int = SAMPLE_RATE
    frames: int
    model: str
    speech: bool


class EmbedResult(BaseModel):
    ok: Literal[True] = True
    embedding: list[float]


class TranscribeResult(BaseModel):
    ok: Literal[True] = True
    text: str
    language: str
    model: str


class WordValue(BaseModel):
    """A word of the text that was sent, and when it is said; ``score`` is null for an estimate."""

    word: str
    start: int
    end: int
    start_s: float
    end_s: float
    score: float | None


class AlignResult(BaseModel):
    ok: Literal[True] = True
    method: Literal["ctc", "estimated"]
    words: list[WordValue]


class ReferenceResult(BaseModel):
    ok: Literal[True] = True
    audio: str
    text: str
    seconds: float
    cut: bool
    transcribed: bool


class ModelValue(BaseModel):
    name: str
    languages: list[str]
    license: str
    commercial_use: bool
    available: bool
    reason: str | None
    speech: bool


class LanguageValue(BaseModel):
    code: str
    level: Literal["native", "specialised", "fallback", "unavailable"]
    model: str | None
    reason: str | None


class ModelsResult(BaseModel):
    """``GET /models``."""

    default: str
    models: list[ModelValue]
    languages: list[LanguageValue]


def decode_pcm(text: str, field: str) -> NDArray[np.float32]:
    """Base64 of 16-bit little-endian mono PCM to float32 ``[samples]`` in [-1, 1).

    Raises:
        InvalidItemError: not base64, or not whole samples. ``field`` names the value in its details.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidItemError(f"{field} is not base64.", {"field": field}) from error
    if not data or len(data) % 2:
        raise InvalidItemError(f"{field} is not 16-bit PCM.", {"field": field})
    return np.frombuffer(data, dtype="<i2").astype(np.float32) / np.float32(32768)


def encode_pcm(samples: NDArray[np.float32]) -> str:
    """Float ``[samples]`` to base64 of 16-bit little-endian PCM; what lies outside [-1, 1] is clipped."""
    clipped = np.clip(np.round(samples * 32768.0), -32768, 32767)
    return base64.b64encode(clipped.astype("<i2").tobytes()).decode("ascii")
