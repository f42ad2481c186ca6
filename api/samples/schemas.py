from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

import msgspec
from pydantic import ConfigDict, field_validator, model_validator

from api.body import RequestModel, names_one, without_null
from api.envelope import Pagination
from api.fields import Description, JsonObject, Language, Name, ReferenceText, Style, Upload
from api.samples.training import TrainingOut
from api.samples.validation import Validation, validate
from store.models import Job, Sample
from store.models.voice import NEUTRAL


class SampleUpload(RequestModel):
    """The parts of the multipart form."""

    model_config = ConfigDict(arbitrary_types_allowed=True, json_schema_extra=without_null())

    file: Upload
    name: Name
    description: Description | None = None
    language: Language | None = None
    ref_text: ReferenceText | None = None
    style: Style = NEUTRAL


class SamplePatch(RequestModel):
    """What a person says of a recording; what is left out stays. `null` takes away what need not be there."""

    model_config = ConfigDict(json_schema_extra=names_one(nullable=["description", "language", "ref_text"]))

    name: Name | None = None
    description: Description | None = None
    language: Language | None = None
    ref_text: ReferenceText | None = None
    style: Style | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must name at least one of " + ", ".join(type(self).model_fields))
        return self

    @field_validator("name", "style", mode="after")
    @classmethod
    def _no_null(cls, value: Any) -> Any:
        # Only what was sent is checked: a field that is left out is not null.
        if value is None:
            raise ValueError("may not be null")
        return value


class SampleOut(msgspec.Struct, frozen=True, kw_only=True):
    """A recording of a voice. `status` goes uploaded → processing → ready | failed; metrics are there when it is ready."""

    sample_id: str
    name: str
    description: str | None
    language: str | None
    ref_text: str | None
    style: str
    status: str
    error_code: str | None
    error_message: str | None
    format: str
    duration: float
    sample_rate: int
    channels: int
    size: int
    quality_metrics: JsonObject | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Sample) -> SampleOut:
        return cls(
            sample_id=row.id,
            name=row.name,
            description=row.description,
            language=row.language,
            ref_text=row.ref_text,
            style=row.style,
            status=row.status,
            error_code=row.error_code,
            error_message=row.error_message,
            format=row.format,
            duration=row.duration,
            sample_rate=row.sample_rate,
            channels=row.channels,
            size=row.size,
            quality_metrics=row.quality_metrics,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class SimilarSample(msgspec.Struct, frozen=True, kw_only=True):
    """Another recording of yours that sounds alike. `similarity` is the cosine of the two voices, -1 to 1."""

    sample_id: str
    name: str
    similarity: float


class SampleDetail(SampleOut, frozen=True, kw_only=True):
    """`similar_samples`, the most similar first, are known once the recording is ready, and null while the index of voices is away;
    `training` is the newest one on it, if any.
    """

    validation_results: Validation
    similar_samples: list[SimilarSample] | None
    training: TrainingOut | None

    @classmethod
    def with_similar(cls, row: Sample, similar: Sequence[SimilarSample] | None, training: Job | None = None) -> SampleDetail:
        return cls(
            **msgspec.structs.asdict(SampleOut.of(row)),
            validation_results=validate(row),
            similar_samples=None if similar is None else list(similar),
            training=TrainingOut.of(training) if training is not None else None,
        )


class ProcessingStarted(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is that of the job, which `/job/{job_id}` and its progress show; `sample_status` that of the recording."""

    job_id: str
    sample_id: str
    status: str
    sample_status: str
    created_at: datetime

    @classmethod
    def of(cls, job: Job, sample: Sample) -> ProcessingStarted:
        return cls(job_id=job.id, sample_id=sample.id, status=job.status, sample_status=sample.status, created_at=job.created_at)


class Waveform(msgspec.Struct, frozen=True, kw_only=True):
    """`peaks`, 0 to 1: the largest magnitude in each of as many equal stretches of the sound, whose `duration` is in seconds."""

    sample_id: str
    duration: float
    points: int
    peaks: list[float]


class SampleList(msgspec.Struct, frozen=True, kw_only=True):
    samples: list[SampleOut]
    pagination: Pagination


class SampleDeleted(msgspec.Struct, frozen=True, kw_only=True):
    sample_id: str
    deleted_clones: list[str]
