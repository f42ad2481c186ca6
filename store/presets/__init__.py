"""The voices that come with Voxify: recordings in this folder, described by ``presets.toml``. Nothing is fetched, nothing is copied."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from obstore.store import LocalStore

from store.models.voice import NEUTRAL
from store.objects import Objects

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Preset:
    """A voice that everybody has. Like a clone it has an id, a language and parameters, and is spoken with in the same way.

    Attributes:
        voice_id: the preset's own id, which `id` is not where this is an alias.
        recording: the key of its recording (FLAC, 24 kHz, mono) in :func:`recordings`, of `duration` seconds.
        text: exactly what is spoken in it.
        listed: False for the former ids of a preset.
    """

    id: str
    voice_id: str
    name: str
    description: str
    language: str
    gender: str
    style: str
    tags: tuple[str, ...]
    license: str
    recording: str
    duration: float
    text: str = field(repr=False)
    created_at: datetime
    listed: bool = True

    @property
    def parameters(self) -> Mapping[str, Any]:
        """How it is to speak where a request does not say: as the model does."""
        return {}

    @property
    def styles(self) -> list[str]:
        """The styles that it speaks in: its one recording has no mood of its own."""
        return [NEUTRAL]


@dataclass(frozen=True, slots=True)
class Presets:
    """All presets, under their ids and their aliases. `default_id` is that of the voice which speaks where none is named."""

    default_id: str
    by_id: Mapping[str, Preset]

    @property
    def default(self) -> Preset:
        return self.by_id[self.default_id]

    @property
    def listed(self) -> list[Preset]:
        return [preset for preset in self.by_id.values() if preset.listed]

    def get(self, voice_id: str) -> Preset | None:
        return self.by_id.get(voice_id)

    def voice_id(self, voice_model_id: str) -> str:
        """The id under which things are kept about a voice: that of the preset for an alias, any other as it is."""
        preset = self.by_id.get(voice_model_id)
        return preset.voice_id if preset is not None else voice_model_id


@cache
def shipped() -> Presets:
    """The presets of this package, read once."""
    table = tomllib.loads((FOLDER / "presets.toml").read_text(encoding="utf-8"))
    by_id: dict[str, Preset] = {}
    for id_, row in table["presets"].items():
        aliases = row.pop("aliases", [])
        preset = Preset(id=id_, voice_id=id_, **row | {"tags": tuple(row["tags"])})
        by_id[id_] = preset
        by_id.update({alias: replace(preset, id=alias, listed=False) for alias in aliases})
    default = table["default"]
    by_id[default["id"]] = replace(by_id[default["preset"]], id=default["id"], name=default["name"])
    return Presets(default["id"], by_id)


@cache
def embeddings() -> Mapping[str, NDArray[np.float32]]:
    """How each preset's recording sounds, by voice id: a unit vector of 256 numbers, such as the inference service makes of samples.

    They lie beside the recordings, so that nobody has to listen to them, and not in the index of voices, which is of what people have.
    """
    of = {preset.voice_id: preset.recording for preset in shipped().listed}
    return {voice_id: np.load((FOLDER / recording).with_suffix(".npy"), allow_pickle=False) for voice_id, recording in of.items()}


@cache
def recordings() -> Objects:
    """The recordings, to be read and served like any other object."""
    return Objects(LocalStore(FOLDER))
