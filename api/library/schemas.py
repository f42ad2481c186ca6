from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from api.body import RequestModel
from api.library.capabilities import LanguageSpec, ModelSpec

VoiceType = Literal["preset", "custom"]


class LanguageSupport(msgspec.Struct, frozen=True, kw_only=True):
    """How well a voice's language is spoken here: native, specialised, fallback, unavailable, or unknown while that cannot be asked."""

    level: str
    model: str | None
    reason: str | None

    @classmethod
    def of(cls, spec: LanguageSpec) -> LanguageSupport:
        return cls(level=spec.level, model=spec.model, reason=spec.reason)


class VoiceModelOut(msgspec.Struct, frozen=True, kw_only=True):
    """A voice to speak with.

    `quality_score`, 0 to 1, was measured: of a preset on its recording, of a clone on what it speaks, as its `quality_metrics` say; null
    where nothing was measured yet. `usage_count` is how many texts it has spoken. `license` is that of the recording; a clone's is a
    matter between you and the person who speaks in it. `alias_of` names the preset that this is another name for. `user_rating` is the
    mean of what people think of it, 1 to 5, rounded to two places, null where nobody has said; `own_rating` is what you said.
    """

    voice_model_id: str
    name: str
    type: VoiceType
    tags: list[str]
    language: str
    language_support: LanguageSupport
    description: str | None
    gender: str | None
    style: str | None
    owner_id: str | None
    clone_id: str | None
    alias_of: str | None
    is_default: bool
    is_active: bool
    license: str | None
    quality_score: float | None
    usage_count: int
    is_favorite: bool
    user_rating: float | None
    rating_count: int
    own_rating: int | None
    sample_audio_url: str
    sample_duration: float | None
    preview_url: str
    preview_text: str
    created_at: datetime
    updated_at: datetime


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a job in this voice may ask for. `sample_rate`, in Hz, is the model's own; `model` the one that speaks the voice's language."""

    sample_rate: int
    supported_sample_rates: list[int]
    supported_formats: list[str]
    max_text_length: int
    supports_emotions: list[str]
    supports_speed_range: tuple[float, float]
    supports_pitch_range: tuple[float, float]
    supports_volume_range: tuple[float, float]
    supported_nfe_steps: list[int]
    cfg_strength_range: tuple[float, float]
    parameters: dict[str, Any]
    model: ModelSpec | None


class VoiceStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Measured on the jobs in this voice, deleted ones included; null where there is nothing to measure. Times in seconds.

    `average_synthesis_time` and `mean_real_time_factor` (time taken over sound made) leave out what came from the cache. `success_rate`
    is completed over completed and failed. `user_rating` and `rating_count` are those of the voice.
    """

    usage_count: int
    failed_count: int
    success_rate: float | None
    total_audio_seconds: float
    average_synthesis_time: float | None
    mean_real_time_factor: float | None
    favorites_count: int
    user_rating: float | None
    rating_count: int
    last_used_at: datetime | None


class VoiceModelDetail(VoiceModelOut, frozen=True, kw_only=True):
    model_config: ModelConfig
    statistics: VoiceStatistics


class PreviewOut(msgspec.Struct, frozen=True, kw_only=True):
    """A preview. While `status` is `processing`, `preview_audio_url`, `duration` and `size` are null: ask again after `Retry-After`."""

    voice_model_id: str
    status: Literal["ready", "processing"]
    preview_audio_url: str | None
    preview_text: str
    language: str
    duration: float | None
    format: str
    sample_rate: int
    size: int | None
    job_id: str
    progress: float
    message: str | None


class FavoriteOut(msgspec.Struct, frozen=True, kw_only=True):
    """`favorites_count`: how many people have the voice among their favourites."""

    voice_model_id: str
    is_favorite: bool
    favorites_count: int


class RatingIn(RequestModel):
    """What you think of a voice."""

    rating: Annotated[int, Field(ge=1, le=5, strict=True, description="the more the better", examples=[5])]


class RatingOut(msgspec.Struct, frozen=True, kw_only=True):
    """`own_rating` is yours, null when it has been taken back; `user_rating` the mean of everybody's, rounded to two places."""

    voice_model_id: str
    own_rating: int | None
    user_rating: float | None
    rating_count: int


class Range(msgspec.Struct, frozen=True, kw_only=True):
    min: float
    max: float
    default: float | None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Texts in characters, uploads in bytes, recordings in seconds.

    The last four, `storage_bytes` among them, are those of an account for which nothing else was set; your own: `/auth/usage`.
    """

    max_text_length: int
    max_upload_bytes: int
    min_sample_seconds: float
    max_sample_seconds: float
    max_samples_per_clone: int
    requests_per_minute: int
    samples_per_day: int
    jobs_per_day: int
    storage_bytes: int


class VoiceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What this installation can do. `status` is `available`, or `unavailable` while the speech service is not there: then `models`
    and `languages` are empty."""

    service: str
    version: str
    status: Literal["available", "unavailable"]
    default_model: str | None
    default_voice_id: str
    models: list[ModelSpec]
    languages: list[LanguageSpec]
    preset_count: int
    limits: Limits
    output_formats: list[str]
    input_formats: list[str]
    sample_rates: list[int]
    speed: Range
    pitch: Range
    volume: Range
    cfg_strength: Range
    nfe_steps: list[int]
