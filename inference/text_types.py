"""What the text room hands out: errors, normalised text with its way back to the original, chunks and plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class TextError(Exception):
    """A text that cannot be spoken.

    ``code`` is one of ``EMPTY_TEXT``, ``UNSUPPORTED_CHARACTERS`` and ``REFERENCE_TOO_LONG``; ``message`` is for a person and repeats
    nothing of the text; ``details`` is ready for JSON.
    """

    code = "TEXT_ERROR"

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})


class EmptyTextError(TextError):
    """Nothing in the text can be spoken: no letter, no digit."""

    code = "EMPTY_TEXT"


class ReferenceTooLongError(TextError):
    """The reference leaves no room for generated speech. ``details``: ``reference_frames`` and ``max_frames``."""

    code = "REFERENCE_TOO_LONG"


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A character that the vocabulary lacks; ``position`` is its code point offset. A lone surrogate is written as ``U+D800``."""

    character: str
    position: int


class UnsupportedCharactersError(TextError):
    """The vocabulary lacks some of the text. ``details``: ``{"characters": [{"character", "position"}]}``, in order of position."""

    code = "UNSUPPORTED_CHARACTERS"

    def __init__(self, characters: Sequence[Unsupported]) -> None:
        noun = "character" if len(characters) == 1 else "characters"
        super().__init__(
            f"The model cannot speak {len(characters)} {noun} of the text",
            {"characters": [{"character": item.character, "position": item.position} for item in characters]},
        )
        self.characters = tuple(characters)


@dataclass(frozen=True, slots=True)
class Normalised:
    """Text ready to be spoken, and where each of its characters comes from.

    ``offsets`` has ``len(text) + 1`` entries and never decreases: ``text[i]`` comes from the original at ``offsets[i]``, and the last entry
    is the length of the original. All the characters of one expansion (``$5`` to ``five dollars``) share the offset of its start.
    """

    text: str
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One request to the sampler.

    ``text`` is normalised; ``start`` and ``end`` are code point offsets into the text as it was sent; ``frames`` is the predicted length of
    the generated part at 93.75 frames a second.
    """

    index: int
    text: str
    start: int
    end: int
    frames: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Chunks in order, whose spans part the original without gap or overlap, and the characters that were dropped on the caller's wish."""

    chunks: list[Chunk]
    unsupported: list[Unsupported] = field(default_factory=list)
