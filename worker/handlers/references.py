"""Recordings to the references of a voice: the best first, joined while the model's limit allows, one reference for each style."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.decode import decode
from audio.errors import AudioError
from audio.join import Joiner
from store.models import Clone, Sample
from store.models.voice import NEUTRAL
from store.objects import ObjectNotFoundError
from store.stores import Stores
from store.vectors import unpack
from worker.errors import JobFailedError
from worker.inference import SAMPLE_RATE, InferenceClient
from worker.voices import STORED_LIMITS

REFERENCE_LIMIT_S = 12.0
"""Longest reference that the inference service leaves whole."""

PAUSE_S = 0.1
"""Between two recordings of one reference; each has a little silence of its own at its ends."""


SAME_VOICE = 0.7
"""Least cosine of two recordings in one reference. Of the recordings that come with Voxify two speakers have 0.47 to 0.71, one has
0.77 to 0.92 in its halves; a sample that is left out wrongly costs a few seconds of reference, a second speaker the voice."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why a sample is in no reference; the message is for its owner."""

    code: str
    message: str


FULL = LeftOut("REFERENCE_FULL", f"The better samples fill the {REFERENCE_LIMIT_S:g} s that a reference may have, or leave too little room")

OTHER_VOICE = LeftOut("OTHER_VOICE", "It does not sound like the speaker of the best sample; one reference may have one speaker only")


@dataclass(frozen=True, slots=True)
class Part:
    """A sample made fit to be a reference, or part of one: 24 kHz mono sound and exactly what is said in it."""

    sample: Sample
    sound: NDArray[np.float32]
    text: str


@dataclass(frozen=True, slots=True)
class StyleReference:
    """What a voice speaks from in one style."""

    style: str
    parts: tuple[Part, ...]
    sound: NDArray[np.float32]
    text: str

    @classmethod
    def of(cls, style: str, parts: Sequence[Part]) -> StyleReference:
        return cls(style, tuple(parts), joined_sound([part.sound for part in parts]), " ".join(part.text for part in parts))

    @property
    def duration_s(self) -> float:
        return len(self.sound) / SAMPLE_RATE

    @property
    def sample_quality(self) -> float:
        """The quality scores of its samples, 0 to 1, each weighted with the seconds that it gave."""
        return float(np.average([quality(part.sample) for part in self.parts], weights=[len(part.sound) for part in self.parts]))


class ReferenceMaker:
    """Has each recording prepared by the inference service, which levels it and cuts one that is too long together with its text."""

    def __init__(self, stores: Stores, inference: InferenceClient) -> None:
        self.stores = stores
        self.inference = inference

    async def make(
        self, clone: Clone, style: str, samples: Sequence[Sample], request_id: str | None
    ) -> tuple[StyleReference | None, dict[str, LeftOut]]:
        """The reference of the samples of one style, best first, or None where none is usable; and those left out, by their ids.

        The best usable one is always in it, cut where it is longer than the limit; a further one joins only as a whole, and only if it
        sounds like the same speaker.
        """
        parts: list[Part] = []
        left_out: dict[str, LeftOut] = {}
        room = REFERENCE_LIMIT_S
        for sample in ranked(clone, samples):
            if parts and not _one_voice(parts[0].sample, sample):
                left_out[sample.id] = OTHER_VOICE
                continue
            if parts and (sample.prepared_duration or 0.0) > room:
                left_out[sample.id] = FULL
                continue
            found = await self._prepare(clone, sample, request_id)
            if isinstance(found, LeftOut):
                left_out[sample.id] = found
            elif parts and len(found.sound) / SAMPLE_RATE > room:
                left_out[sample.id] = FULL
            else:
                parts.append(found)
                room -= len(found.sound) / SAMPLE_RATE + PAUSE_S
        return StyleReference.of(style, parts) if parts else None, left_out

    async def _prepare(self, clone: Clone, sample: Sample, request_id: str | None) -> Part | LeftOut:
        if sample.status == "failed":
            return LeftOut(sample.error_code or "SAMPLE_FAILED", f"Sample {sample.id} failed: {sample.error_message}")
        try:
            stored = await self.stores.objects.get(sample.prepared_path or "")
            recording = (await asyncio.to_thread(decode, stored, STORED_LIMITS)).mono
            sound, text = await self.inference.reference(
                recording, known_text(clone, sample), language=clone.language, request_id=request_id
            )
        except ObjectNotFoundError:
            return LeftOut("FILE_NOT_FOUND", "The file of the sample is gone")
        except (AudioError, JobFailedError) as unusable:
            return LeftOut(unusable.code, unusable.message)
        return Part(sample, sound, text)


def ranked(clone: Clone, samples: Sequence[Sample]) -> list[Sample]:
    """The best by quality first; before all, the one whose text was given with the clone: its owner has chosen it."""
    return sorted(samples, key=lambda sample: (not _chosen(clone, sample), -quality(sample)))


def known_text(clone: Clone, sample: Sample) -> str | None:
    """What is spoken in the sample, if anybody said or heard it. A text given with the clone is that of its first sample."""
    return clone.ref_text if _chosen(clone, sample) else sample.ref_text


def quality(sample: Sample) -> float:
    score: float = (sample.quality_metrics or {}).get("quality_score", 0.0)
    return score


def by_style(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    styles: dict[str, list[Sample]] = {}
    for sample in samples:
        styles.setdefault(sample.style, []).append(sample)
    return styles


def default_first(clone: Clone, references: Sequence[StyleReference]) -> list[StyleReference]:
    """The one that speaks where no style is asked for first: neutral if it is there, else that of the best sample."""
    best = ranked(clone, [reference.parts[0].sample for reference in references])
    order = [sample.style for sample in best]
    return sorted(references, key=lambda reference: (reference.style != NEUTRAL, order.index(reference.style)))


def joined_sound(sounds: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The sounds (24 kHz mono) one after another, 0.1 s apart; a single one is left as it is."""
    if len(sounds) == 1:
        return sounds[0]
    joiner = Joiner(SAMPLE_RATE, gap_s=PAUSE_S)
    return np.concatenate([*(joiner.push(sound) for sound in sounds), joiner.flush()])


def _one_voice(best: Sample, other: Sample) -> bool:
    """Whether nothing speaks against it: one that has not been listened to may be."""
    if best.embedding is None or other.embedding is None:
        return True
    return float(unpack(best.embedding) @ unpack(other.embedding)) >= SAME_VOICE


def _chosen(clone: Clone, sample: Sample) -> bool:
    return clone.ref_text is not None and clone.samples[0].sample_id == sample.id
