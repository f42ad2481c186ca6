"""The side of fine-tuning that speaks with the inference service. Its wire is described in docs/inference.md."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from audio.pcm import float_to_pcm16
from worker.errors import AttemptFailedError
from worker.inference import InferenceClient

MAX_SOUND_S = 840.0
"""More does not fit into one request."""


class TrainingError(msgspec.Struct, frozen=True):
    code: str
    message: str
    details: dict[str, Any] | None = None


class TrainingState(msgspec.Struct, frozen=True):
    """How a training stands: `progress` in percent, `seconds_left` where it is known."""

    status: Literal["running", "waiting", "stopped", "done", "failed", "unknown"]
    message: str = ""
    progress: float = 0.0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    seconds_left: float | None = None
    result: dict[str, Any] | None = None
    error: TrainingError | None = None


class TrainingEstimate(msgspec.Struct, frozen=True):
    """Steps of a training, and how many seconds it will take; None where nothing could be measured yet."""

    model: str
    steps: int
    seconds: float | None


def tuned_model(training_id: str) -> str:
    """The name of the model that a training has made."""
    return f"tuned-{training_id}"


class TrainingClient:
    """Trainings of the inference service, each named by the job that it is for. Whatever is asked may be asked again."""

    def __init__(self, inference: InferenceClient) -> None:
        self.inference = inference

    async def estimate(self, seconds: float, *, language: str, manner: Mapping[str, Any], request_id: str | None) -> TrainingEstimate:
        """`seconds` of speech in all. Raises JobFailedError where no model can be trained, WorkError where none answers."""
        asked = {"seconds": seconds, "language": language, **{name: manner.get(name) for name in ("epochs", "batch_size")}}
        return _converted(await self.inference.ask("POST", "/train/estimate", asked, request_id=request_id), TrainingEstimate)

    async def start(
        self,
        training_id: str,
        recordings: Sequence[tuple[NDArray[np.float32], str]],
        *,
        language: str,
        manner: Mapping[str, Any],
        request_id: str | None,
    ) -> TrainingState:
        """Begin, or go on with what was begun. Recordings are 24 kHz mono with exactly what is said in them."""
        asked = {
            "id": training_id,
            "language": language,
            "samples": [{"audio": base64.b64encode(float_to_pcm16(sound)).decode(), "text": text} for sound, text in recordings],
            **{name: manner.get(name) for name in ("epochs", "batch_size", "learning_rate")},
            "align": manner.get("enable_timestamp_alignment", True),
        }
        return _converted(await self.inference.ask("POST", "/train", asked, request_id=request_id, affinity=training_id), TrainingState)

    async def look(self, training_id: str) -> TrainingState:
        """How it stands. One that nobody looks at for a while stops."""
        return _converted(await self.inference.ask("GET", f"/train/{training_id}", affinity=training_id), TrainingState)

    async def remove(self, training_id: str) -> None:
        """Stop it and leave nothing of it."""
        await self.inference.ask("DELETE", f"/train/{training_id}", affinity=training_id)


def _converted(value: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as strange:
        raise AttemptFailedError("TRAINING_FAILED", "The speech service gave an answer that could not be understood") from strange
