"""The vocabulary of a voice that is written in phonemes with their times: one token for each frame."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from pathlib import Path

import numpy as np

from inference import phonemes
from inference.errors import ModelUnavailableError
from inference.phoneme_timing import TIMING_FILE, Timing, spread
from inference.text_types import Unsupported, UnsupportedCharactersError
from inference.text_vocabulary import Vocabulary

PACES = (0.75, 1.35)
"""How much slower than the corpus a reference may be taken to speak, as a factor of its lengths."""


def bare(text: str) -> str:
    """Text with the marks taken off its letters (``café`` to ``cafe``), as the lexicon spells it."""
    kept = (mark for mark in unicodedata.normalize("NFD", text) if not unicodedata.combining(mark))
    return "".join(kept).replace("\u2019", "'")


class PhonemeVocabulary(Vocabulary):
    """Phonemes of English as tokens, and how long each lasts.

    The network is given the sound of every frame, and of a reference only that it is one: nothing depends on the reference's text but
    the pace, and a reference may be cut anywhere.
    """

    def __init__(self, timing: Timing) -> None:
        super().__init__(phonemes.SYMBOLS)
        self.timing = timing

    @classmethod
    def from_folder(cls, folder: Path, vocabulary: Path) -> PhonemeVocabulary:
        """``vocab.txt`` must be the symbols of this version, and ``timing.safetensors`` be there; else ModelUnavailableError."""
        if tuple(vocabulary.read_text(encoding="utf-8").split("\n")[: len(phonemes.SYMBOLS)]) != phonemes.SYMBOLS:
            raise ModelUnavailableError(f"The vocabulary of {folder.name} is not that of this version's phonemes.")
        return cls(Timing.from_file(folder / TIMING_FILE))

    def __contains__(self, token: str) -> bool:
        return token.isascii() and token.isalpha()

    def unsupported(self, text: str, language: str) -> list[Unsupported]:  # noqa: ARG002 - English alone
        """Letters and digits of other scripts, and signs that have no reading: marks of punctuation are pauses or nothing."""
        return [
            Unsupported(f"U+{ord(character):04X}" if unicodedata.category(character) == "Cs" else character, position)
            for position, character in enumerate(text)
            if not _readable(character)
        ]

    def encode(self, text: str, language: str) -> list[int]:
        """Indices of the phonemes of normalised ``text``, each once. UnsupportedCharactersError with positions in ``text``."""
        missing = self.unsupported(text, language)
        if missing:
            raise UnsupportedCharactersError(missing)
        return [phonemes.INDEX[symbol] for symbol in phonemes.spell(phonemes.words(bare(text)))]

    def frames(self, text: str, language: str, *, pace: float, speed: float) -> int:
        """Frames that normalised ``text`` takes at a ``pace`` (see `pace`) and a speed of 0.5 to 3."""
        tokens = self.encode(text, language)
        return max(round(float(self.timing.frames(tokens).sum()) * pace / speed), len(tokens))

    def pace(self, reference_text: str, language: str, reference_frames: int) -> float:
        """How much longer the voice of a reference takes for its sounds than the corpus did, within `PACES`; 1 without its text."""
        readable = self.drop(reference_text, language)
        if not any(character.isalnum() for character in readable):
            return 1.0
        expected = float(self.timing.frames(self.encode(readable, language)).sum())
        return float(np.clip(reference_frames / expected, *PACES))

    def timed(self, text: str, language: str, *, reference_frames: int, frames: int) -> list[int]:
        """A token for each frame: `phonemes.REFERENCE` for the reference's, then the phonemes of ``text`` over ``frames`` frames."""
        tokens = np.asarray(self.encode(text, language))
        lengths = spread(self.timing.frames(tokens.tolist()), frames)
        return [phonemes.INDEX[phonemes.REFERENCE]] * reference_frames + [int(token) for token in np.repeat(tokens, lengths)]


@lru_cache(maxsize=4096)
def _readable(character: str) -> bool:
    category = unicodedata.category(character)
    if category[0] in "LN":
        return all(part.isascii() for part in bare(character))
    # Other signs and what is not assigned would vanish without a word.
    return category[0] in "PZM" or category in ("Cc", "Cf", "Sk") or character in "$+<=>^`|~"
