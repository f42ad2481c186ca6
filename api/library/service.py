"""The library of voices: what there is to speak with, and what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import NotFoundError
from api.jobs.schemas import CfgStrength, NfeStep, OutputFormat, Pitch, SampleRate, Speed, Volume
from api.library.capabilities import Capabilities, Models, support
from api.library.ranges import bounds
from api.library.schemas import FavoriteOut, ModelConfig, RatingOut, VoiceModelDetail, VoiceModelOut, VoiceStatistics
from api.library.voices import Surroundings, VoiceFilter, any_voice, described, in_order, mean_of, one_voice
from audio.decode import decode
from audio.inspect import inspect
from store.models import Clone, VoiceUsage
from store.presets import Preset, recordings, shipped
from store.repositories.base import Window
from store.repositories.clones import CloneRepository
from store.repositories.library import FavoriteRepository, LibraryRepository, Rated, RatingRepository, VoiceUsageRepository
from store.repositories.users import UserRepository
from store.stores import Stores
from worker.inference import SAMPLE_RATE as MODEL_RATE
from worker.voices import STORED_LIMITS


@dataclass(frozen=True, slots=True)
class _Said:
    models: Models | None
    measured: Mapping[str, float]


class LibraryService:
    def __init__(self, stores: Stores, capabilities: Capabilities, *, max_text_length: int) -> None:
        self.stores = stores
        self.capabilities = capabilities
        self.max_text_length = max_text_length
        self._measuring = asyncio.Lock()
        self._measured: dict[str, float] = {}

    async def list(self, user_id: str, window: Window, wanted: VoiceFilter) -> tuple[list[VoiceModelOut], int, dict[str, Any]]:
        """The window of the voices that are wanted, how many there are, and what all voices could be filtered by.

        Presets come from the package and clones from the database, so that they are put together here: a person has few of either.
        """
        said = await self._said()
        async with self.stores.database.read() as session:
            voices: list[Preset | Clone] = [*shipped().listed, *await LibraryRepository(session).ready(user_id)]
            around = await _around(session, user_id, voices, said)
        everything = [described(voice, around) for voice in voices]
        taken = in_order([voice for voice in everything if wanted.takes(voice, user_id)], window)
        return taken[window.offset : window.offset + window.limit], len(taken), _filters(everything)

    async def get(self, user_id: str, voice_model_id: str) -> VoiceModelDetail:
        said = await self._said()
        async with self.stores.database.read() as session:
            voice = await one_voice(CloneRepository(session), user_id, voice_model_id)
            around = await _around(session, user_id, [voice], said)
            voice_id = shipped().voice_id(voice.id)
            favorites = await FavoriteRepository(session).count(voice_id)
        return VoiceModelDetail(
            **msgspec.structs.asdict(described(voice, around)),
            model_config=self._config(voice, around.models),
            statistics=_statistics(around.usage.get(voice_id), favorites, around.ratings.get(voice_id, Rated())),
        )

    async def set_favorite(self, user_id: str, voice_model_id: str, *, wanted: bool) -> FavoriteOut:
        """Make the voice one of the person's favourites, or no longer; either may be repeated."""
        try:
            async with self.stores.database.write() as session:
                voice = await any_voice(CloneRepository(session), user_id, voice_model_id)
                voice_id = shipped().voice_id(voice.id)
                favorites = FavoriteRepository(session)
                if wanted:
                    await favorites.put(user_id, voice_id, voice.id if isinstance(voice, Clone) else None)
                else:
                    await favorites.remove(user_id, voice_id)
                count = await favorites.count(voice_id)
        except IntegrityError:
            # The clone, or the person, went at the same time.
            raise NotFoundError("voice model") from None
        return FavoriteOut(voice_model_id=voice_model_id, is_favorite=wanted, favorites_count=count)

    async def set_rating(self, user_id: str, voice_model_id: str, rating: int | None) -> RatingOut:
        """Let the person think this of the voice, 1 to 5, or None: nothing any more. Either may be repeated.

        Raises:
            NotFoundError, ConflictError: there is no such voice, or it cannot speak yet, so that nobody can think anything of it.
        """
        try:
            async with self.stores.database.write() as session:
                clones, ratings = CloneRepository(session), RatingRepository(session)
                voice = await (any_voice if rating is None else one_voice)(clones, user_id, voice_model_id)
                voice_id = shipped().voice_id(voice.id)
                if rating is None:
                    await ratings.remove(user_id, voice_id)
                else:
                    await ratings.put(user_id, voice_id, voice.id if isinstance(voice, Clone) else None, rating)
                rated = (await ratings.of(user_id, [voice_id])).get(voice_id, Rated())
        except IntegrityError:
            # The clone, or the person, went at the same time.
            raise NotFoundError("voice model") from None
        return RatingOut(voice_model_id=voice_model_id, own_rating=rated.own, user_rating=mean_of(rated), rating_count=rated.count)

    async def _said(self) -> _Said:
        """What no database is needed for, and none is to be held for: the speech service may take its time."""
        return _Said(await self.capabilities.models(), await self._presets_measured())

    async def _presets_measured(self) -> Mapping[str, float]:
        """The quality scores of the presets, measured once in the life of the process."""
        async with self._measuring:
            for preset in shipped().listed:
                if preset.voice_id not in self._measured:
                    content = await recordings().get(preset.recording)
                    self._measured[preset.voice_id] = await asyncio.to_thread(_score, content)
        return self._measured

    def _config(self, voice: Preset | Clone, models: Models | None) -> ModelConfig:
        return ModelConfig(
            sample_rate=MODEL_RATE,
            supported_sample_rates=list(get_args(SampleRate)),
            supported_formats=list(get_args(OutputFormat)),
            max_text_length=self.max_text_length,
            supports_emotions=voice.styles,
            supports_speed_range=bounds(Speed),
            supports_pitch_range=bounds(Pitch),
            supports_volume_range=bounds(Volume),
            supported_nfe_steps=list(get_args(NfeStep)),
            cfg_strength_range=bounds(CfgStrength),
            parameters=dict(voice.parameters),
            model=models.spec(support(models, voice.language).model) if models else None,
        )


async def _around(session: AsyncSession, user_id: str, voices: Sequence[Preset | Clone], said: _Said) -> Surroundings:
    user = await UserRepository(session).get(user_id)
    voice_ids = {shipped().voice_id(voice.id) for voice in voices}
    return Surroundings(
        favorites=await FavoriteRepository(session).voice_ids(user_id),
        usage=await VoiceUsageRepository(session).of(voice_ids),
        ratings=await RatingRepository(session).of(user_id, voice_ids),
        active_id=user.active_clone_id if user else None,
        measured=said.measured,
        models=said.models,
    )


def _score(recording: bytes) -> float:
    decoded = decode(recording, STORED_LIMITS)
    return round(inspect(decoded.mono, decoded.sample_rate).quality_score, 3)


def _filters(voices: list[VoiceModelOut]) -> dict[str, Any]:
    """What there is to filter by."""
    return {
        "available_tags": sorted({tag for voice in voices for tag in voice.tags}),
        "available_languages": sorted({voice.language for voice in voices}),
        "available_types": sorted({voice.type for voice in voices}, reverse=True),
        "available_owners": ["system", "me"] if any(voice.owner_id for voice in voices) else ["system"],
    }


def _statistics(usage: VoiceUsage | None, favorites: int, rated: Rated) -> VoiceStatistics:
    ended = usage.completed + usage.failed if usage else 0
    timed = usage if usage is not None and usage.timed else None
    return VoiceStatistics(
        usage_count=usage.completed if usage else 0,
        failed_count=usage.failed if usage else 0,
        success_rate=round(usage.completed / ended, 4) if usage and ended else None,
        total_audio_seconds=round(usage.audio_s, 3) if usage else 0.0,
        average_synthesis_time=round(timed.synthesis_s / timed.timed, 3) if timed else None,
        mean_real_time_factor=round(timed.synthesis_s / timed.timed_audio_s, 4) if timed and timed.timed_audio_s else None,
        favorites_count=favorites,
        user_rating=mean_of(rated),
        rating_count=rated.count,
        last_used_at=usage.last_used_at if usage else None,
    )
