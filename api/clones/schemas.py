from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import Field, StringConstraints

from api.body import RequestModel
from api.envelope import Pagination
from api.errors import ValidationFailedError
from api.fields import Description, JsonObject, Language, Name, ReferenceText, Style
from api.jobs.schemas import CfgStrength, NfeStep, OutputFormat, Pitch, SampleRate, Seed, Speed, Text, Volume
from store.models import Clone, CloneConsent, CloneSample, Job

CONSENT_REQUIRED = "CONSENT_REQUIRED"


class Consent(RequestModel):
    """What whoever makes a clone says about the consent of the person who speaks in the samples.

    `relation`: the voice is one's `self`, the speaker has given `permission`, or it is `synthetic` and nobody's.
    """

    who: Annotated[Name, Field(description="the speaker's name", examples=["Ada Lovelace"])]
    relation: Literal["self", "permission", "synthetic"]
    statement: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=2000),
        Field(examples=["I am the speaker and agree to a clone of my voice."]),
    ]
    accepted: Annotated[Literal[True], Field(description="that the statement is true")]


class CloneCreate(RequestModel):
    """`ref_text` is what is spoken in the first sample; without it, each sample's own text is used."""

    name: Name
    sample_ids: Annotated[
        list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=20, json_schema_extra={"uniqueItems": True})
    ]
    ref_text: ReferenceText | None = None
    description: Description | None = None
    language: Language = "en-US"
    consent: Consent | None = None
    speed: Speed | None = None
    nfe_step: NfeStep | None = None
    cfg_strength: CfgStrength | None = None

    @property
    def parameters(self) -> JsonObject:
        """How the voice is to speak where a request does not say."""
        return self.model_dump(include={"speed", "nfe_step", "cfg_strength"}, exclude_none=True)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """As in the base. A consent with something missing is none, and if nothing else is wrong the code says so."""
        try:
            return super().model_validate(obj, **options)
        except ValidationFailedError as invalid:
            if all(field.split(".")[0] == "consent" for field in invalid.details or ()):
                invalid.code = CONSENT_REQUIRED
            raise


class ClonePatch(RequestModel):
    """`training_job_id` is a training of yours that has completed and offers its voice; null is the model that everybody has."""

    training_job_id: Annotated[str, Field(max_length=64)] | None


class DirectSynthesis(RequestModel):
    """`emotion` is one of the styles that the voice has."""

    text: Text
    language: Language | None = None
    speed: Speed | None = None
    pitch: Pitch = 1.0
    volume: Volume = 1.0
    output_format: OutputFormat = "wav"
    sample_rate: SampleRate = 24000
    seed: Seed | None = None
    emotion: Style | None = None
    nfe_step: NfeStep | None = None
    cfg_strength: CfgStrength | None = None
    stream: bool = False

    @property
    def config(self) -> JsonObject:
        """What the job keeps of it, beside its columns."""
        return self.model_dump(include={"seed", "emotion", "nfe_step", "cfg_strength"}, exclude_none=True)


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """`code` is for programs, `message` for people."""

    code: str
    message: str


class SampleReference(msgspec.Struct, frozen=True, kw_only=True):
    """A sample of a voice: whether it is `used` in a reference, null until the voice has been made, and if not, why."""

    sample_id: str
    style: str | None
    quality_score: float | None
    used: bool | None
    reason: Reason | None

    @classmethod
    def of(cls, link: CloneSample) -> SampleReference:
        return cls(
            sample_id=link.sample_id,
            style=link.style,
            quality_score=link.quality_score,
            used=link.used,
            reason=Reason(code=link.reason_code, message=link.reason or "") if link.reason_code else None,
        )


class CloneQuality(msgspec.Struct, frozen=True, kw_only=True):
    """How good a voice is, from its recordings and from what it says: the same sentence, `test_text`, spoken once with each of `seeds`.

    `sample_quality`, 0 to 1, is that of the samples in the reference, each weighted with its seconds. `speaker_similarity` is the mean
    cosine of the takes' voices and the reference's, `similarities` each of them; `stability` is the mean cosine of any two takes. The
    `quality_score`, 0 to 1, is the geometric mean of the three. What has not been measured is null; `reason` says why, or why
    there is nothing newer.
    """

    quality_score: float | None = None
    sample_quality: float | None = None
    speaker_similarity: float | None = None
    stability: float | None = None
    similarities: list[float] = []
    seeds: list[int] = []
    model: str | None = None
    is_speech: bool | None = None
    test_text: str | None = None
    measured_at: datetime | None = None
    reason: Reason | None = None


NOT_MEASURED = Reason(code="QUALITY_NOT_MEASURED", message="Nobody has measured this voice yet")


class CloneOut(msgspec.Struct, frozen=True, kw_only=True):
    """A voice. `status` goes pending → processing → ready | failed; `job_id` is the job that makes it, in the answer that created it.

    `available_styles` are those that `emotion` may ask for, `default_style` the one that speaks otherwise; both are known once it is ready.
    """

    clone_id: str
    name: str
    description: str | None
    language: str
    ref_text: str | None
    status: str
    error_code: str | None
    error_message: str | None
    sample_ids: list[str]
    sample_references: list[SampleReference]
    is_active: bool
    reference_duration: float | None
    available_styles: list[str]
    default_style: str | None
    parameters: JsonObject
    training_job_id: str | None
    quality_metrics: CloneQuality | None
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
            sample_references=[SampleReference.of(link) for link in row.samples],
            is_active=row.id == active_clone_id,
            reference_duration=row.reference_duration,
            available_styles=row.styles,
            default_style=row.styles[0] if row.styles else None,
            parameters=row.parameters,
            training_job_id=row.training_job_id,
            quality_metrics=_quality(row),
            created_at=row.created_at,
            updated_at=row.updated_at,
            job_id=job_id,
        )


def _quality(row: Clone) -> CloneQuality | None:
    if row.status != "ready":
        return None
    found = msgspec.convert(row.quality_metrics or {}, CloneQuality)
    return found if found.measured_at or found.reason else msgspec.structs.replace(found, reason=NOT_MEASURED)


class ConsentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of the speaker's consent: by whom, when by the server's clock, and from which address. It is never changed."""

    who: str
    relation: str
    statement: str
    accepted: bool
    user_id: str
    recorded_at: datetime
    client_address: str | None


class CloneDetail(CloneOut, frozen=True, kw_only=True):
    """`consent` is null where none was asked for and none given."""

    consent: ConsentRecord | None

    @classmethod
    def with_consent(cls, clone: CloneOut, record: CloneConsent | None) -> CloneDetail:
        return cls(
            **msgspec.structs.asdict(clone), consent=msgspec.convert(record, ConsentRecord, from_attributes=True) if record else None
        )


class MeasuringStarted(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is that of the job, which `/job/{job_id}` shows; the voice stays ready meanwhile."""

    job_id: str
    clone_id: str
    status: str
    created_at: datetime

    @classmethod
    def of(cls, job: Job) -> MeasuringStarted:
        return cls(job_id=job.id, clone_id=job.subject_id or "", status=job.status, created_at=job.created_at)


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
