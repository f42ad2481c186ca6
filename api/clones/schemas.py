from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from pydantic import Field

from api.body import RequestModel
from api.envelope import Pagination
from api.fields import Description, JsonObject, Language, Name, ReferenceText
from api.jobs.schemas import CfgStrength, NfeStep, OutputFormat, Pitch, SampleRate, Seed, Speed, Text, Volume
from store.models import Clone


class CloneCreate(RequestModel):
    """`ref_text` is what is spoken in the first sample; without it, each sample's own text is used."""

    name: Name
    sample_ids: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=20)]
    ref_text: ReferenceText | None = None
    description: Description | None = None
    language: Language = "en-US"
    speed: Speed | None = None
    nfe_step: NfeStep | None = None
    cfg_strength: CfgStrength | None = None

    @property
    def parameters(self) -> JsonObject:
        """How the voice is to speak where a request does not say."""
        return self.model_dump(include={"speed", "nfe_step", "cfg_strength"}, exclude_none=True)


class DirectSynthesis(RequestModel):
    text: Text
    language: Language | None = None
    speed: Speed | None = None
    pitch: Pitch = 1.0
    volume: Volume = 1.0
    output_format: OutputFormat = "wav"
    sample_rate: SampleRate = 24000
    seed: Seed | None = None
    nfe_step: NfeStep | None = None
    cfg_strength: CfgStrength | None = None
    stream: bool = False


class CloneOut(msgspec.Struct, frozen=True, kw_only=True):
    """A voice. `status` goes pending → processing → ready | failed; `job_id` is the job that makes it, in the answer that created it."""

    clone_id: str
    name: str
    description: str | None
    language: str
    ref_text: str | None
    status: str
    error_code: str | None
    error_message: str | None
    sample_ids: list[str]
    is_active: bool
    reference_duration: float | None
    parameters: JsonObject
    quality_metrics: JsonObject | None
    created_at: datetime
    updated_at: datetime
    job_id: str | None = None

    @classmethod
    def of(cls, row: Clone, *, active_clone_id: str | None = None, job_id: str | None = None) -> CloneOut:
        return cls(
            clone_id=row.id,
            name=row.name,
            description=row.description,
            language=row.language,
            ref_text=row.reference_text or row.ref_text,
            status=row.status,
            error_code=row.error_code,
            error_message=row.error_message,
            sample_ids=[link.sample_id for link in row.samples],
            is_active=row.id == active_clone_id,
            reference_duration=row.reference_duration,
            parameters=row.parameters,
            quality_metrics=row.quality_metrics,
            created_at=row.created_at,
            updated_at=row.updated_at,
            job_id=job_id,
        )


class CloneList(msgspec.Struct, frozen=True, kw_only=True):
    clones: list[CloneOut]
    pagination: Pagination


class CloneDeleted(msgspec.Struct, frozen=True, kw_only=True):
    clone_id: str


class Synthesised(msgspec.Struct, frozen=True, kw_only=True):
    """What a direct synthesis made; the file is kept and downloaded like that of any job."""

    job_id: str
    clone_id: str
    status: str
    output_path: str
    output_format: str
    sample_rate: int
    duration: float
    size: int
    model: str
    is_speech: bool
    processing_time_ms: int
