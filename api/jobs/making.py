"""From a request to speak to the row of a job, whichever endpoint it came through."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from api.errors import ValidationFailedError
from api.fields import JsonObject
from audio.encode import Format
from store.clock import utcnow
from store.ids import new_id
from store.models import Clone, Job
from store.models.job import SYNTHESIS
from store.presets import Preset


def synthesis_job(
    user_id: str,
    voice: Clone | Preset,
    *,
    text: str,
    language: str | None,
    speed: float | None,
    pitch: float,
    volume: float,
    output_format: Format,
    sample_rate: int,
    config: JsonObject,
    request_id: str,
) -> Job:
    """A new job for a voice. What the request leaves open is taken from the voice, and the seed is drawn here once and for all."""
    sampling = {key: voice.parameters[key] for key in ("nfe_step", "cfg_strength") if key in voice.parameters}
    return Job(
        id=new_id("job"),
        user_id=user_id,
        kind=SYNTHESIS,
        voice_model_id=voice.id,
        text_language=language or voice.language,
        **text_columns(text),
        config={"seed": secrets.randbelow(2**31), **sampling, **config},
        output_format=output_format,
        sample_rate=sample_rate,
        speed=speed if speed is not None else voice.parameters.get("speed", 1.0),
        pitch=pitch,
        volume=volume,
        available_at=utcnow(),
        request_id=request_id,
    )


def check_emotion(voice: Clone | Preset, emotion: str | None, field: str) -> None:
    """Raises ValidationFailedError where the voice has no such style. That of a clone in the making is looked for among its samples."""
    there = voice.styles
    if isinstance(voice, Clone) and not there:
        there = sorted({link.style for link in voice.samples if link.style})
    if emotion is not None and emotion not in there:
        details = {field: f"is no style of this voice, which has {', '.join(there)}", "available_styles": there}
        raise ValidationFailedError(details, "The voice has no such style", code="EMOTION_UNAVAILABLE")


def text_columns(text: str) -> dict[str, Any]:
    """The columns of a job that follow from its text."""
    return {
        "text_content": text,
        "text_hash": hashlib.sha256(text.encode()).hexdigest(),
        "text_length": len(text),
        "word_count": len(text.split()),
    }


def check_length(text: str, field: str, limit: int) -> None:
    if len(text) > limit:
        raise ValidationFailedError({field: f"has {len(text)} characters; at most {limit} are allowed"}, code="TEXT_TOO_LONG")
