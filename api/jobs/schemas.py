from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from api.body import RequestModel, names_one
from api.fields import JsonObject, Language, Style
from api.jobs.estimates import ENDED, Standing
from audio.encode import encoded_rate
from store.models import Job
from store.models.job import TRAINING

LIST_TEXT_LENGTH = 100

Text = Annotated[str, StringConstraints(min_length=1, pattern=r"\S"), Field(examples=["Hello world, this is a test synthesis."])]
OutputFormat = Literal["wav", "mp3", "flac", "ogg", "opus"]
SampleRate = Literal[8000, 16000, 22050, 24000, 44100, 48000]
Speed = Annotated[float, Field(ge=0.5, le=3, strict=True)]
Pitch = Annotated[float, Field(ge=0.5, le=2, strict=True)]
Volume = Annotated[float, Field(ge=0, le=2, strict=True)]
LoudnessLufs = Annotated[float, Field(ge=-40, le=-10, strict=True)]
Granularity = Literal["word", "sentence"]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
NfeStep = Literal[7, 16, 32]
CfgStrength = Annotated[float, Field(ge=0, le=10, strict=True)]


class JobConfig(RequestModel):
    """How the model samples. A seed makes the sound repeatable; without one it is drawn once and kept with the job.

    `emotion` is one of the styles that the voice has. `loudness_lufs` is the integrated loudness (EBU R 128) that the sound is brought
    to, before its `volume`, instead of what the server is set to. With `include_timestamps` the job finds out when each word is said, and
    is done a little later; without it `/job/{job_id}/timestamps` does so when it is first asked. `speed`, `pitch` and `volume` may stand
    here too and count where the job itself does not say.
    """

    seed: Seed | None = None
    nfe_step: NfeStep | None = None
    cfg_strength: CfgStrength | None = None
    on_unsupported: Literal["error", "drop"] | None = None
    emotion: Style | None = None
    loudness_lufs: LoudnessLufs | None = None
    include_timestamps: Annotated[bool, Field(strict=True)] | None = None
    timestamp_granularity: Granularity | None = None
    speed: Speed | None = None
    pitch: Pitch | None = None
    volume: Volume | None = None


class _WithConfig(RequestModel):
    """What the config says of the manner of speech becomes the job's own, so that there is one place to look for it."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        config: JobConfig | None = getattr(self, "config", None)
        for name in ("speed", "pitch", "volume") if config is not None else ():
            if (value := getattr(config, name)) is not None:
                if name not in self.model_fields_set:
                    setattr(self, name, value)
                setattr(config, name, None)
        return self


class JobCreate(_WithConfig):
    text_content: Text
    voice_model_id: Annotated[str, Field(max_length=64)] | None = None
    text_language: Language | None = None
    output_format: OutputFormat = "wav"
    sample_rate: SampleRate = 24000
    speed: Speed | None = None
    pitch: Pitch = 1.0
    volume: Volume = 1.0
    config: JobConfig = JobConfig()


class JobUpdate(_WithConfig):
    """What may still be changed while nobody has begun with the job; what is left out stays. `config` is merged into that of the job."""

    model_config = ConfigDict(json_schema_extra=names_one())

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
    """The owner may cancel a job that has not ended, or put a failed or cancelled one back in the queue: `status` alone.

    A service that speaks jobs itself takes one with `status` processing, says with `progress` how far it is, and ends it with completed or
    failed. It holds the job as long as it is heard of; `lease`, from the answer that gave it the job, tells it from a later holder.
    `output_file_path` is the key of an object of this job in the object store, such as `jobs/{job_id}/speech.wav`.
    """

    model_config = ConfigDict(json_schema_extra=names_one(but=["lease"]))

    status: Literal["pending", "processing", "completed", "failed", "cancelled"] | None = None
    progress: Annotated[float, Field(ge=0, le=100, strict=True)] | None = None
    error_message: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)] | None = None
    output_file_path: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    duration: Annotated[float, Field(ge=0, le=86_400, strict=True)] | None = None
    lease: Annotated[str, Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set - {"lease"}:
            raise ValueError("must name at least one of " + ", ".join(name for name in type(self).model_fields if name != "lease"))
        return self

    @field_validator("*", mode="after")
    @classmethod
    def _no_null(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("may not be null; leave it out to keep it as it is")
        return value


class JobOut(msgspec.Struct, frozen=True, kw_only=True):
    """A synthesis job. `model` and `is_speech` are known once it has been spoken; the smoke voice does not speak.

    `queue_position` counts from 1, in the order in which jobs of all people will be begun. `eta_seconds` says how long it may take until
    the job is done, reckoned from what the newest jobs took; null while nothing has been measured. `training` is what a training has
    brought, as its sample says it too. `lease` is told to a service alone.
    """

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
    output_sample_rate: int
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
    eta_seconds: float | None
    processing_time_ms: int | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime
    training: JsonObject | None = None
    lease: str | None = None

    @classmethod
    def of(cls, row: Job, *, standing: Standing = ENDED, whole_text: bool = True, lease: str | None = None) -> JobOut:
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
            output_sample_rate=encoded_rate(row.output_format, row.sample_rate),
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
            queue_position=standing.queue_position,
            eta_seconds=standing.eta_seconds,
            processing_time_ms=processing_time_ms(row),
            created_at=row.created_at,
            started_at=row.started_at,
            completed_at=row.completed_at,
            updated_at=row.updated_at,
            training=row.result if row.kind == TRAINING else None,
            lease=lease,
        )


def processing_time_ms(row: Job) -> int | None:
    """From the first start to the end, the waits between attempts included."""
    if row.started_at is None or row.completed_at is None:
        return None
    return round((row.completed_at - row.started_at).total_seconds() * 1000)


def _cut(text: str) -> str:
    return text if len(text) <= LIST_TEXT_LENGTH else f"{text[:LIST_TEXT_LENGTH]}..."
