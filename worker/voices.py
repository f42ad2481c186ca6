"""From a voice's id to what the model needs of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from audio.decode import Limits, decode
from audio.errors import AudioError
from store.objects import ObjectNotFoundError
from store.presets import recordings, shipped
from store.repositories.clones import CloneRepository
from store.stores import Stores
from worker.errors import JobFailedError, NotYetError
from worker.inference import Reference
from worker.training import tuned_model

STORED_LIMITS = Limits(max_bytes=64 * 1024 * 1024, min_seconds=0.0, max_seconds=120.0)


@dataclass(frozen=True, slots=True)
class Voice:
    id: str
    language: str
    reference: Reference
    training_job_id: str | None = None  # whose voice it speaks with, instead of the model that everybody has

    @property
    def model(self) -> str | None:
        """The model to speak with; None leaves the choice to the speech service."""
        return tuned_model(self.training_job_id) if self.training_job_id is not None else None


async def load_voice(stores: Stores, user_id: str, voice_id: str, style: str | None = None) -> Voice:
    """The preset, or the voice of this person, in a style or its default one.

    Raises NotYetError while it is being made, JobFailedError when it never will be, or has not got the style.
    """
    preset = shipped().get(voice_id)
    if preset is not None:
        _require_style(preset.styles, style)
        recording = await recordings().get(preset.recording)
        return Voice(preset.id, preset.language, await asyncio.to_thread(_reference, recording, preset.text))
    async with stores.database.read() as session:
        clone = await CloneRepository(session).owned(user_id, voice_id)
    if clone is None:
        raise JobFailedError("VOICE_MODEL_NOT_FOUND", f"There is no voice {voice_id}")
    if clone.status == "failed":
        raise JobFailedError("CLONE_NOT_READY", f"The clone could not be made: {clone.error_message}")
    if clone.reference_path is None or clone.reference_text is None:
        raise NotYetError("Waiting for the voice to be ready")
    _require_style(clone.styles, style)
    path, text = clone.reference_in(style) or (clone.reference_path, clone.reference_text)
    try:
        stored = await stores.objects.get(path)
    except ObjectNotFoundError as missing:
        raise JobFailedError("VOICE_MODEL_NOT_FOUND", "The sound of this voice is gone") from missing
    try:
        reference = await asyncio.to_thread(_reference, stored, text)
    except AudioError as damaged:
        raise JobFailedError("VOICE_MODEL_NOT_FOUND", "The sound of this voice cannot be read") from damaged
    return Voice(clone.id, clone.language, reference, clone.training_job_id)


def _require_style(there: Sequence[str], style: str | None) -> None:
    if style is not None and style not in there:
        raise JobFailedError("EMOTION_UNAVAILABLE", f"The voice has no style {style}; it has {', '.join(there)}")


def _reference(stored: bytes, text: str) -> Reference:
    return Reference.of(decode(stored, STORED_LIMITS).mono, text)
