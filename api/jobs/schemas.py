from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import Field, StringConstraints, field_validator, model_validator

from api.body import RequestModel
from api.fields import JsonObject, Language
from store.models import Job

LIST_TEXT_LENGTH = 100

Text = Annotated[str, StringConstraints(min_length=1, pattern=r"\S"), Field(examples=["Hello world, this is a test synthesis."])]
OutputFormat = Literal["wav", "mp3", "flac", "ogg", "opus"]
SampleRate = Literal[8000, 16000, 22050, 24000, 44100, 48000]
Speed = Annotated[float, Field(ge=0.5, le=3, strict=True)]
Pitch = Annotated[float, Field(ge=0.5, le=2, strict=True)]
Volume = Annotated[float, Field(ge=0, le=2, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
NfeStep = Literal[7, 16, 32]
CfgStrength = Annotated[float, Field(ge=0, le=10, strict=True)]


class JobConfig(RequestModel):
    """How the model samples. A seed makes the sound repeatable; without one it is drawn once and kept with the job."""

    seed: Seed | None = None
    nfe_step: NfeStep | None = None
    cfg_strength: CfgStrength | None = None
    on_unsupported: Literal["error", "drop"] | None = None


class JobCreate(RequestModel):
    text_content: Text
    voice_model_id: Annotated[str, Field(max_length=64)] | None = None
    text_language: Language | None = None
    output_format: OutputFormat = "wav"
    sample_rate: SampleRate = 24000
    speed: Speed | None = None
    pitch: Pitch = 1.0
    volume: Volume = 1.0
    config: JobConfig = JobConfig()


class JobUpdate(RequestModel):
    """What may still be changed while nobody has begun with the job; what is left out stays. `config` is merged into that of the job."""

    text_content: Text | None = None
    output_format: OutputFormat | None = None
    sample_rate: SampleRate | None = None
    speed: Speed | None = None
    pitch: Pitch | None = None
    volume: Volume | None = None
    config: JobConfig | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must name at least one of " + ", ".join(type(self).model_fields))
        return self

    @field_validator("*", mode="after")
    @classmethod
    def _no_null(cls, value: Any) -> Any:
        # Only what was sent is checked: a field that is left out is not null.
        if value is None:
            raise ValueError("may not be null; leave it out to keep it as it is")
        return value


class JobPatch(RequestModel):
    """The owner may cancel a job that has not ended, or put a failed or cancelled one back in the queue."""

    status: Literal["cancelled", "pending"]


class JobOut(msgspec.Struct, frozen=True, kw_only=True):
    """A synthesis job. `model` and `is_speech` are known once it has been spoken; the smoke voice does not speak."""

    id: str
    user_id: str
    kind: str
    voice_model_id: str | None
    text_content: str
    text_hash: str
    text_language: str
    text_length: int
    word_count: int
    status: str
    progress: float
    message: str | None
    config: JsonObject
    output_format: str
    sample_rate: int
    speed: float
    pitch: float
    volume: float
    output_file_path: str | None
    output_path: str | None
    output_size: int | None
    duration: float | None
    model: str | None
    is_speech: bool | None
    language_support: str | None
    unsupported_characters: list[Any] | None
    error_code: str | None
    error_message: str | None
    cache_hit: bool
    attempt: int
    queue_position: int | None
    processing_time_ms: int | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime

    @classmethod
    def of(cls, row: Job, *, queue_position: int | None = None, whole_text: bool = True) -> JobOut:
        said = row.result or {}
        path = f"/api/v1/file/synthesis/{row.id}" if row.output_path else None
        return cls(
            id=row.id,
            user_id=row.user_id,
            kind=row.kind,
            voice_model_id=row.voice_model_id,
            text_content=row.text_content if whole_text else _cut(row.text_content),
            text_hash=row.text_hash,
            text_language=row.text_language,
            text_length=row.text_length,
            word_count=row.word_count,
            status=row.status,
            progress=row.progress,
            message=row.message,
            config=row.config,
            output_format=row.output_format,
            sample_rate=row.sample_rate,
            speed=row.speed,
            pitch=row.pitch,
            volume=row.volume,
            output_file_path=path,
            output_path=path,
            output_size=row.output_size,
            duration=row.duration,
            model=said.get("model"),
            is_speech=said.get("speech"),
            language_support=said.get("language_support"),
            unsupported_characters=said.get("unsupported_characters"),
            error_code=row.error_code,
            error_message=row.error_message,
            cache_hit=row.cache_hit,
            attempt=row.attempt,
            queue_position=queue_position,
            processing_time_ms=processing_time_ms(row),
            created_at=row.created_at,
            started_at=row.started_at,
            completed_at=row.completed_at,
            updated_at=row.updated_at,
        )


def processing_time_ms(row: Job) -> int | None:
    """From the first start to the end, the waits between attempts included."""
    if row.started_at is None or row.completed_at is None:
        return None
    return round((row.completed_at - row.started_at).total_seconds() * 1000)


def _cut(text: str) -> str:
    return text if len(text) <= LIST_TEXT_LENGTH else f"{text[:LIST_TEXT_LENGTH]}..."
