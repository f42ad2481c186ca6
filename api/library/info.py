"""What this installation can do, said from its settings, its types and its speech service."""

from __future__ import annotations

from typing import Any, get_args

from annotated_types import MaxLen

from api.clones.schemas import CloneCreate
from api.jobs.schemas import CfgStrength, JobCreate, NfeStep, OutputFormat, Pitch, SampleRate, Speed, Volume
from api.library.capabilities import Capabilities
from api.library.ranges import bounds
from api.library.schemas import Limits, Range, VoiceInfo
from api.openapi import VERSION
from audio.containers import FLAC, M4A, MP3, OGG, WAV, WEBM
from settings import Settings
from store.presets import shipped


class VoiceInfoService:
    def __init__(self, settings: Settings, capabilities: Capabilities) -> None:
        self.settings = settings
        self.capabilities = capabilities

    async def get(self) -> VoiceInfo:
        models = await self.capabilities.models()
        return VoiceInfo(
            service="voxify",
            version=VERSION,
            status="available" if models else "unavailable",
            default_model=models.default if models else None,
            default_voice_id=shipped().default_id,
            models=models.models if models else [],
            languages=models.languages if models else [],
            preset_count=len({preset.voice_id for preset in shipped().listed}),
            limits=self._limits(),
            output_formats=list(get_args(OutputFormat)),
            input_formats=[container.name for container in (WAV, MP3, FLAC, OGG, M4A, WEBM)],
            sample_rates=list(get_args(SampleRate)),
            speed=_range(Speed, 1.0),
            pitch=_range(Pitch, JobCreate.model_fields["pitch"].default),
            volume=_range(Volume, JobCreate.model_fields["volume"].default),
            cfg_strength=_range(CfgStrength, None),
            nfe_steps=list(get_args(NfeStep)),
        )

    def _limits(self) -> Limits:
        samples = next(limit.max_length for limit in CloneCreate.model_fields["sample_ids"].metadata if isinstance(limit, MaxLen))
        return Limits(
            max_text_length=self.settings.max_text_length,
            max_upload_bytes=self.settings.max_upload_bytes,
            min_sample_seconds=self.settings.min_sample_s,
            max_sample_seconds=self.settings.max_sample_s,
            max_samples_per_clone=samples,
            requests_per_minute=self.settings.requests_per_minute,
            samples_per_day=self.settings.samples_per_day,
            jobs_per_day=self.settings.jobs_per_day,
            storage_bytes=self.settings.storage_bytes,
        )


def _range(annotated: Any, default: float | None) -> Range:
    least, greatest = bounds(annotated)
    return Range(min=least, max=greatest, default=default)
