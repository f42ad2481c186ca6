"""The text room of the inference tier: from text as it was sent to chunks that the sampler can speak. Needs no torch.

``plan`` does it all; ``normalise`` and ``Vocabulary`` are its parts, for those who need them alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from inference import text_chunks, text_clean, text_duration
from inference.phoneme_vocabulary import PhonemeVocabulary
from inference.text_chunks import Cut
from inference.text_normalise import normalise
from inference.text_trace import Trace
from inference.text_types import (
    Chunk,
    EmptyTextError,
    Normalised,
    Plan,
    ReferenceTooLongError,
    TextError,
    Unsupported,
    UnsupportedCharactersError,
)
from inference.text_vocabulary import Vocabulary

__all__ = [
    "Chunk",
    "EmptyTextError",
    "Normalised",
    "Plan",
    "ReferenceTooLongError",
    "TextError",
    "Unsupported",
    "UnsupportedCharactersError",
    "Vocabulary",
    "normalise",
    "plan",
]

MAX_FRAMES = 2812
"""Thirty seconds, reference included: the longest that the checkpoints saw in training."""

MIN_ROOM_FRAMES = 281
"""Three seconds. With less room than this beside the reference no sentence can be spoken."""


def plan(
    text: str,
    *,
    language: str,
    vocabulary: Vocabulary,
    reference_text: str,
    reference_frames: int,
    speed: float = 1.0,
    first_chunk_short: bool = True,
    on_unsupported: Literal["error", "drop"] = "error",
    max_frames: int = MAX_FRAMES,
    max_reference_frames: int | None = None,
) -> Plan:
    """Cut ``text`` into chunks with their predicted lengths.

    ``language`` is a BCP 47 tag. ``reference_text`` is what is said in the ``reference_frames`` frames (93.75 a second) of
    the reference: its rate is the rate of the chunks, over ``speed`` (0.5 to 3). Each chunk fits beside the reference, of which at most
    ``max_reference_frames`` are given to the model, into ``max_frames``.
    With ``first_chunk_short`` the first chunk is two to four seconds where a clause ends there. The chunks' spans part the original text:
    the first starts at 0, each starts where the one before it ends, the last ends at ``len(text)``.

    Raises EmptyTextError where there is nothing to speak, ReferenceTooLongError where the reference leaves less than three seconds,
    UnsupportedCharactersError where the vocabulary lacks a character and ``on_unsupported`` is ``error``; with ``drop`` the plan names what
    was left out. ValueError for a speed or a length out of range.
    """
    low, high = text_duration.SPEED_RANGE
    if not low <= speed <= high:
        raise ValueError(f"speed is from {low} to {high}")
    if reference_frames < 1:
        raise ValueError("reference_frames is at least 1")
    room = max_frames - min(reference_frames, max_reference_frames or reference_frames)
    if room < MIN_ROOM_FRAMES:
        raise ReferenceTooLongError(
            "The reference leaves no room for speech: use a shorter one", {"reference_frames": reference_frames, "max_frames": max_frames}
        )
    normalised = normalise(text, language)
    reference_text = normalise(reference_text, language).text
    speakable, unsupported = _supported(normalised, language, vocabulary, drop=on_unsupported == "drop")
    if not any(character.isalnum() for character in speakable.text):
        raise EmptyTextError("The text has nothing to speak: no letter and no digit")
    per_unit = text_duration.frames_per_unit(reference_text, reference_frames)
    cuts = text_chunks.cut(
        speakable.text, speakable.offsets, per_unit=per_unit, speed=speed, room=room, first_chunk_short=first_chunk_short
    )
    chunks = _chunks(speakable, cuts, len(text))
    if isinstance(vocabulary, PhonemeVocabulary):
        # It knows better than letters do how long its sounds last.
        pace = vocabulary.pace(reference_text, language, reference_frames)
        chunks = [replace(c, frames=min(vocabulary.frames(c.text, language, pace=pace, speed=speed), room)) for c in chunks]
    return Plan(chunks, unsupported)


def _supported(normalised: Normalised, language: str, vocabulary: Vocabulary, *, drop: bool) -> tuple[Normalised, list[Unsupported]]:
    """The text without what the vocabulary lacks, and what that was, with positions in the original."""
    text, offsets = normalised.text, normalised.offsets
    missing = [Unsupported(item.character, offsets[item.position]) for item in vocabulary.unsupported(text, language)]
    if not missing:
        return normalised, []
    if not drop:
        raise UnsupportedCharactersError(missing)
    kept = vocabulary.repairs(text, language)
    pairs = [(character, offsets[i]) for i, original in enumerate(text) for character in kept.get(i, original)]
    trace = text_clean.spaces(Trace("".join(c for c, _ in pairs), [*(at for _, at in pairs), offsets[-1]]))
    return Normalised(trace.text, tuple(trace.offsets)), missing


def _chunks(speakable: Normalised, cuts: list[Cut], length: int) -> list[Chunk]:
    # What was cleaned away before the first and after the last character belongs to the first and the last chunk.
    starts = [0, *(speakable.offsets[cut.start] for cut in cuts[1:])]
    ends = [*starts[1:], length]
    return [
        Chunk(index=index, text=speakable.text[cut.start : cut.end].strip(), start=start, end=end, frames=cut.frames)
        for index, (cut, start, end) in enumerate(zip(cuts, starts, ends, strict=True))
    ]
