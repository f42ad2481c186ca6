"""From a voice's id to what the model needs of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from audio.decode import Limits, decode
from audio.errors import AudioError
from store.objects import ObjectNotFoundError
from store.repositories.clones import CloneRepository
from store.stores import Stores
from worker.errors import JobFailedError, NotYetError
from worker.inference import Reference

STORED_LIMITS = Limits(max_bytes=64 * 1024 * 1024, min_seconds=0.0, max_seconds=120.0)


@dataclass(frozen=True, slots=True)
class Voice:
    id: str
    language: str
    reference: Reference


async def load_voice(stores: Stores, user_id: str, voice_id: str) -> Voice:
    """The voice of this person. Raises NotYetError while it is being made, JobFailedError when it never will be."""
    async with stores.database.read() as session:
        clone = await CloneRepository(session).owned(user_id, voice_id)
    if clone is None:
        raise JobFailedError("VOICE_MODEL_NOT_FOUND", f"There is no voice {voice_id}")
    if clone.status == "failed":
        raise JobFailedError("CLONE_NOT_READY", f"The clone could not be made: {clone.error_message}")
    if clone.reference_path is None or clone.reference_text is None:
        raise NotYetError("Waiting for the voice to be ready")
    try:
        stored = await stores.objects.get(clone.reference_path)
    except ObjectNotFoundError as missing:
        raise JobFailedError("VOICE_MODEL_NOT_FOUND", "The sound of this voice is gone") from missing
    try:
        reference = await asyncio.to_thread(_reference, stored, clone.reference_text)
    except AudioError as damaged:
        raise JobFailedError("VOICE_MODEL_NOT_FOUND", "The sound of this voice cannot be read") from damaged
    return Voice(clone.id, clone.language, reference)


def _reference(stored: bytes, text: str) -> Reference:
    return Reference.of(decode(stored, STORED_LIMITS).mono, text)
