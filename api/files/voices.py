"""The sounds of voices as files: the reference that a voice is spoken from, and its preview."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from audio.encode import Format
from store.models import Clone
from store.models.job import COMPLETED, FINAL
from store.presets import Preset, shipped
from store.repositories.clones import CloneRepository
from store.repositories.library import PreviewRepository
from worker.inference import SAMPLE_RATE

Kind = Literal["reference", "preview"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceFile:
    """A sound of a voice.

    Attributes:
        owner_id: whose it is; None: everybody's.
        key: of the object; None where there is none.
        shipped: the object is one of :func:`store.presets.recordings`.
        pending: it is being made.
        duration: seconds.
    """

    file_id: str
    owner_id: str | None
    kind: Kind
    created_at: datetime
    key: str | None = None
    shipped: bool = False
    pending: bool = False
    format: Format = "wav"
    duration: float | None = None
    sample_rate: int = SAMPLE_RATE


def voice_file_id(kind: Kind, voice_id: str) -> str:
    """The file id of a voice's sound, such as ``preview_vc_…``."""
    return f"{kind}_{voice_id}"


async def voice_file(session: AsyncSession, file_id: str) -> VoiceFile | None:
    """The sound under such an id, whoever it belongs to; None: the id is none, or the voice is gone."""
    kind, _, voice_model_id = file_id.partition("_")
    if kind not in {"reference", "preview"}:
        return None
    voice = shipped().get(voice_model_id) or await CloneRepository(session).get(voice_model_id)
    if voice is None:
        return None
    return _reference(file_id, voice) if kind == "reference" else await _preview(session, file_id, voice)


def _reference(file_id: str, voice: Preset | Clone) -> VoiceFile:
    if isinstance(voice, Preset):
        return VoiceFile(
            file_id=file_id,
            owner_id=None,
            kind="reference",
            created_at=voice.created_at,
            key=voice.recording,
            shipped=True,
            format="flac",
            duration=voice.duration,
        )
    return VoiceFile(
        file_id=file_id,
        owner_id=voice.user_id,
        kind="reference",
        created_at=voice.updated_at,
        key=voice.reference_path,
        pending=voice.status in {"pending", "processing"},
        duration=voice.reference_duration,
    )


async def _preview(session: AsyncSession, file_id: str, voice: Preset | Clone) -> VoiceFile:
    owner_id = None if isinstance(voice, Preset) else voice.user_id
    found = await PreviewRepository(session).of(shipped().voice_id(voice.id))
    if found is None:
        return VoiceFile(file_id=file_id, owner_id=owner_id, kind="preview", created_at=voice.created_at)
    job = found[1]
    return VoiceFile(
        file_id=file_id,
        owner_id=owner_id,
        kind="preview",
        created_at=job.completed_at or job.created_at,
        key=job.output_path if job.status == COMPLETED else None,
        pending=job.status not in FINAL,
        format=job.output_format,
        duration=job.duration,
        sample_rate=job.sample_rate,
    )
