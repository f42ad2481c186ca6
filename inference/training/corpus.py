"""The corpus: what the teachers say, as mel frames with a symbol for each, in shards that a loop can read while more are made."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.mel import HOP_LENGTH, SAMPLE_RATE, log_mel
from inference.phonemes import INDEX, PAUSE, VOWELS
from inference.training import sentences, teachers
from inference.training.teachers import Speaker, UnknownPhonemeError, Utterance

SHARD_SIZE = 250
LEVELS = (0.07, 0.16)
"""Root mean square of the sounds: references come at least at 0.1, and some are louder."""

SPEAKERS = (
    *(Speaker("flite", voice) for voice in teachers.FLITE_VOICES for _ in range(4)),
    *(Speaker("flite", voice, warp) for voice in ("slt", "rms", "awb") for warp in (0.9, 1.1)),
    *(Speaker("flite", voice, warp) for voice, warp in (("slt", 0.82), ("rms", 1.2), ("awb", 1.22), ("kal16", 1.15))),
    *(Speaker("espeak", f"en-us+{variant}") for variant in ("male3", "male7", "female2", "female4")),
    *(Speaker("espeak", f"en-us+{variant}") for variant in ("Annie", "Michael", "Andrea", "klatt2")),
)
"""Who speaks in the corpus; one that stands here several times speaks that much oftener."""
HELD_OUT_SPEAKERS = (Speaker("flite", "awb", 0.84), Speaker("flite", "slt", 1.06), Speaker("espeak", "en-us+female3"))
HELD_OUT_SENTENCES = 1000


@dataclass(frozen=True)
class Example:
    """One utterance: log-mel frames ``[frames, 100]``, a vocabulary index for each frame, and who spoke.

    ``phones`` are the indices one by one and ``frames`` how many frames each lasts: what a model of durations learns from.
    """

    speaker: str
    mel: np.ndarray
    tokens: np.ndarray
    phones: np.ndarray
    durations: np.ndarray


def speakers() -> list[Speaker]:
    """Each speaker of the corpus once, in order."""
    return list(dict.fromkeys(SPEAKERS))


def symbols(utterance: Utterance, sentence: str) -> list[str]:
    """The symbol of each phone: its stress, and the silences by the mark that brings them."""
    last = len(utterance.phones) - 1
    named = []
    for i, phone in enumerate(utterance.phones):
        if phone.name == PAUSE:
            named.append(PAUSE if i == 0 else sentence[-1] if i == last and sentence[-1] in ".?!" else ",")
        else:
            named.append(f"{phone.name}{int(phone.stress)}" if phone.name in VOWELS else phone.name)
    return named


def example(speaker: Speaker, sentence: str, rng: random.Random) -> tuple[Example, np.ndarray]:
    """A sentence spoken once, at a tempo and a level of chance, and its sound (float32, 24 kHz)."""
    utterance = speaker.say(sentence, tempo=rng.choice((0.85, 1.0, 1.0, 1.1, 1.2)))
    level = rng.uniform(*LEVELS) / max(float(np.sqrt(np.mean(utterance.sound**2))), 1e-4)
    sound = np.clip(utterance.sound * level, -1, 1).astype(np.float32)
    mel = log_mel(sound).numpy()
    ends = np.array([phone.end_s for phone in utterance.phones]) * SAMPLE_RATE / HOP_LENGTH
    # Frame f is centred at f hops; it belongs to the first phone that ends after it.
    place = np.minimum(np.searchsorted(ends, np.arange(len(mel)), side="right"), len(ends) - 1)
    indices = np.array([INDEX[name] for name in symbols(utterance, sentence)], dtype=np.int16)
    durations = np.bincount(place, minlength=len(ends)).astype(np.int16)
    return Example(speaker.name, mel.astype(np.float16), indices[place], indices, durations), sound


def make(folder: Path, texts: Sequence[str], *, utterances: int, seed: int = 0, sounds: int = 0) -> Iterator[int]:
    """Make the corpus shard by shard and yield how many utterances there are; shards that are there already are kept.

    Args:
        sounds: in how many of the first shards the sounds are kept too, for a vocoder to learn from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(-(-utterances // SHARD_SIZE)):
        file = folder / f"shard-{shard:04}.npz"
        if not file.exists():
            rng = random.Random(f"{seed}/{shard}")
            made: list[tuple[Example, np.ndarray]] = []
            while len(made) < SHARD_SIZE:
                text = sentences.patterned(rng) if rng.random() < 0.12 else sentences.punctuated(rng.choice(texts), rng)
                with contextlib.suppress(UnknownPhonemeError):
                    made.append(example(rng.choice(SPEAKERS), text, rng))
            partial = file.with_suffix(".partial.npz")
            columns = _columns([e for e, _ in made]) | (_sounds([s for _, s in made]) if shard < sounds else {})
            np.savez(partial, allow_pickle=False, **columns)
            partial.rename(file)
        yield (shard + 1) * SHARD_SIZE


def _columns(examples: Sequence[Example]) -> dict[str, np.ndarray]:
    return {
        "speakers": np.array([e.speaker for e in examples]),
        "frames": np.array([len(e.mel) for e in examples]),
        "counts": np.array([len(e.phones) for e in examples]),
        "mel": np.concatenate([e.mel for e in examples]),
        "tokens": np.concatenate([e.tokens for e in examples]),
        "phones": np.concatenate([e.phones for e in examples]),
        "durations": np.concatenate([e.durations for e in examples]),
    }


def _sounds(sounds: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {"samples": np.array([len(s) for s in sounds]), "sound": (np.concatenate(sounds) * 32767).astype(np.int16)}


def read(file: Path) -> list[Example]:
    """The utterances of a shard."""
    with np.load(file) as columns:
        data = {name: columns[name] for name in columns.files if name not in ("sound", "samples")}
    frames, counts = np.cumsum(data["frames"])[:-1], np.cumsum(data["counts"])[:-1]
    parts = (
        data["speakers"],
        np.split(data["mel"], frames),
        np.split(data["tokens"], frames),
        np.split(data["phones"], counts),
        np.split(data["durations"], counts),
    )
    return [Example(str(s), m, t, p, d) for s, m, t, p, d in zip(*parts, strict=True)]


def read_sounds(file: Path) -> list[np.ndarray]:
    """The sounds of a shard that keeps them, float32 at 24 kHz."""
    with np.load(file) as columns:
        if "sound" not in columns.files:
            return []
        samples, sound = columns["samples"], columns["sound"]
    return [part.astype(np.float32) / 32767 for part in np.split(sound, np.cumsum(samples)[:-1])]


def shards(folder: Path) -> list[Path]:
    """The shards that are whole, in order."""
    return sorted(file for file in folder.glob("shard-*.npz") if ".partial" not in file.name)
