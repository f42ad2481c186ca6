"""Presets and clones as one kind of thing: a voice to choose."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from api.errors import ConflictError, found
from api.files.schemas import audio_path
from api.files.voices import voice_file_id
from api.library.capabilities import Models, support
from api.library.schemas import LanguageSupport, VoiceModelOut, VoiceType
from store.models import Clone, VoiceUsage
from store.models.voice import NEUTRAL
from store.presets import Preset, shipped
from store.repositories.base import Window
from store.repositories.clones import CloneRepository
from store.repositories.library import Rated
from worker.sentences import trial_sentence

CUSTOM_TAGS = ("custom", "personal")
PATH = "/api/v1/voice/models"
FALLBACK_LANGUAGE = "en-US"


@dataclass(frozen=True, slots=True)
class VoiceFilter:
    """Which voices are wanted. `language` without a region takes every region of it; a voice must have all of `tags`.

    `owner` is ``me`` or a person's id for clones, ``system`` for presets.
    """

    tags: Collection[str] = ()
    language: str | None = None
    type: VoiceType | None = None
    owner: str | None = None
    search: str | None = None
    is_favorite: bool | None = None

    def takes(self, voice: VoiceModelOut, user_id: str) -> bool:
        language = voice.language.lower()
        owner = {"me": user_id, "system": None}.get(self.owner or "", self.owner)
        return (
            {tag.lower() for tag in self.tags} <= {tag.lower() for tag in voice.tags}
            and (self.language is None or language == self.language.lower() or language.startswith(f"{self.language.lower()}-"))
            and self.type in {None, voice.type}
            and (self.owner is None or voice.owner_id == owner)
            and (self.search is None or self.search.lower() in f"{voice.name}\n{voice.description or ''}".lower())
            and self.is_favorite in {None, voice.is_favorite}
        )


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is said of a voice beyond what it is: the person's choices, what was counted and measured, what can be spoken."""

    favorites: Collection[str]
    usage: Mapping[str, VoiceUsage]
    ratings: Mapping[str, Rated]
    active_id: str | None
    measured: Mapping[str, float]  # quality scores of presets, by voice id
    models: Models | None


async def any_voice(clones: CloneRepository, user_id: str, voice_model_id: str) -> Preset | Clone:
    """The preset, or the person's own clone. Raises NotFoundError."""
    return shipped().get(voice_model_id) or found(await clones.owned(user_id, voice_model_id), "voice model")


async def one_voice(clones: CloneRepository, user_id: str, voice_model_id: str) -> Preset | Clone:
    """As `any_voice`, but one that can speak. Raises ConflictError too."""
    voice = await any_voice(clones, user_id, voice_model_id)
    if isinstance(voice, Clone) and voice.status != "ready":
        raise ConflictError(f"The clone is {voice.status}; it is a voice when it is ready", code="CLONE_NOT_READY")
    return voice


def described(voice: Preset | Clone, around: Surroundings) -> VoiceModelOut:
    """The voice as its person sees it."""
    voice_id = shipped().voice_id(voice.id)
    usage = around.usage.get(voice_id)
    rated = around.ratings.get(voice_id, Rated())
    own = _preset(voice, around) if isinstance(voice, Preset) else _clone(voice, around)
    return VoiceModelOut(
        voice_model_id=voice.id,
        name=voice.name,
        language=voice.language,
        language_support=LanguageSupport.of(support(around.models, voice.language)),
        description=voice.description,
        is_default=voice.id == shipped().default_id,
        usage_count=usage.completed if usage else 0,
        is_favorite=voice_id in around.favorites,
        user_rating=mean_of(rated),
        rating_count=rated.count,
        own_rating=rated.own,
        sample_audio_url=audio_path(voice_file_id("reference", voice.id)),
        preview_url=f"{PATH}/{voice.id}/preview",
        preview_text=preview_of(voice.language)[0],
        created_at=voice.created_at,
        **own,
    )


def mean_of(rated: Rated) -> float | None:
    """The mean rating as it is shown."""
    return None if rated.mean is None else round(rated.mean, 2)


def preview_of(language: str) -> tuple[str, str]:
    """What a voice of this language says in its preview, and the language of that: English where there is no sentence in its own."""
    sentence = trial_sentence(language, "")
    return (sentence, language) if sentence else (trial_sentence(FALLBACK_LANGUAGE, ""), FALLBACK_LANGUAGE)


def _preset(preset: Preset, around: Surroundings) -> dict[str, Any]:
    return {
        "type": "preset",
        "tags": list(preset.tags),
        "gender": preset.gender,
        "style": preset.style,
        "owner_id": None,
        "clone_id": None,
        "alias_of": preset.voice_id if preset.voice_id != preset.id else None,
        "is_active": False,
        "license": preset.license,
        "quality_score": around.measured.get(preset.voice_id),
        "sample_duration": preset.duration,
        "updated_at": preset.created_at,
    }


def _clone(clone: Clone, around: Surroundings) -> dict[str, Any]:
    return {
        "type": "custom",
        "tags": [*CUSTOM_TAGS, *(style for style in clone.styles if style != NEUTRAL)],
        "gender": None,
        "style": None,
        "owner_id": clone.user_id,
        "clone_id": clone.id,
        "alias_of": None,
        "is_active": clone.id == around.active_id,
        "license": None,
        "quality_score": (clone.quality_metrics or {}).get("quality_score"),
        "sample_duration": clone.reference_duration,
        "updated_at": clone.updated_at,
    }


def in_order(voices: Collection[VoiceModelOut], window: Window) -> list[VoiceModelOut]:
    """Sorted as asked for; those without a value come last either way, ties are broken by id."""
    key = window.sort_by
    known = [voice for voice in voices if getattr(voice, key) is not None]
    known.sort(key=lambda voice: (_comparable(getattr(voice, key)), voice.voice_model_id), reverse=window.sort_order == "desc")
    return known + sorted((voice for voice in voices if getattr(voice, key) is None), key=lambda voice: voice.voice_model_id)


def _comparable(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value
