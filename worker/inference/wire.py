"""The bodies of docs/inference.md as the workers know them, and what is made of answers that are not as they should be."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from audio.errors import AudioError
from audio.pcm import float_to_pcm16, pcm16_to_float
from worker.errors import AttemptFailedError, InferenceUnavailableError, JobFailedError

SAMPLE_RATE = 24_000
HOP_LENGTH = 256
SILENCE_RMS = 1e-4
"""-80 dBFS, three steps of 16 bits. The quietest reference speaks far above it."""

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

Embedding = Annotated[list[float], msgspec.Meta(min_length=256, max_length=256)]

log = structlog.get_logger(__name__)


class UnusableAnswerError(AttemptFailedError):
    """An answer in another form than docs/inference.md gives it, or sound that cannot be right. Another replica may do better."""


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

    @property
    def encoded(self) -> str:
        """Its sound as the wire has it."""
        return base64.b64encode(self.pcm).decode()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the model samples; None leaves the choice to the service."""

    seed: int
    nfe_step: int | None = None
    cfg_strength: float | None = None


def encoded(samples: NDArray[np.float32]) -> str:
    """Mono sound at 24 kHz as the wire has it."""
    return base64.b64encode(float_to_pcm16(samples)).decode()


def decoded(audio: str) -> NDArray[np.float32]:
    """The opposite of `encoded`. Raises ValueError or AudioError."""
    return pcm16_to_float(base64.b64decode(audio, validate=True))


def value_of(answer: bytes) -> Any:
    """The value of an endpoint that answers one. Raises its failure, and UnusableAnswerError."""
    with understood():
        value = msgspec.json.decode(answer)
        if not value["ok"]:
            raise _error_of(msgspec.convert(value["error"], _Failure))
    return value


def sound_of(answer: bytes, chunk: PlannedChunk) -> NDArray[np.float32]:
    """The sound of the one chunk that was asked for: mono, 24 kHz.

    Sixteen bits know no infinity, so that sound which is as long as it says and is not silence where there is something to say is all
    that can be judged here. Raises its failure, and UnusableAnswerError.
    """
    with understood():
        results = msgspec.json.decode(answer, type=list[_Spoken])
    if len(results) != 1:
        raise UnusableAnswerError("INVALID_SPEECH", f"The speech service answered with {len(results)} chunks instead of one")
    spoken = results[0]
    if spoken.error is not None:
        raise _error_of(spoken.error)
    with understood():
        samples = decoded(spoken.audio)
    if spoken.frames < chunk.frames or len(samples) != (spoken.frames - 1) * HOP_LENGTH:
        raise UnusableAnswerError("INVALID_SPEECH", f"The speech service sent {len(samples)} samples for {chunk.frames} frames")
    if any(map(str.isalnum, chunk.text)) and float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) < SILENCE_RMS:
        raise UnusableAnswerError("INVALID_SPEECH", "The speech service sent silence instead of speech")
    return samples


@contextmanager
def understood() -> Iterator[None]:
    """What is not in the form that docs/inference.md gives it is a passing fault: a proxy's page, a service of another version."""
    try:
        yield
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AudioError) as strange:
        log.warning("inference answer not understood", kind=type(strange).__name__)
        raise UnusableAnswerError("SYNTHESIS_FAILED", "The speech service gave an answer that could not be understood") from strange


def _error_of(failure: _Failure) -> Exception:
    if failure.code in OWNERS_ERRORS:
        return JobFailedError(failure.code, failure.message, failure.details)
    if failure.code == "DEADLINE_EXCEEDED":
        return InferenceUnavailableError()
    return AttemptFailedError("SYNTHESIS_FAILED", failure.message)
