"""How long a text takes to say, from how long the reference took.

Upstream takes ``reference_frames * bytes(text) / bytes(reference_text) / speed``. Bytes misjudge mixed scripts (a Chinese syllable has
three of them, three Cyrillic letters have six), so characters get a weight: how long they take in units of one Latin letter. The weights
follow the syllable rates of Pellegrino, Coupé and Marsico (Language 87, 2011) and Coupé et al. (Science Advances 5, 2019), in syllables a
second: English 6.2, Mandarin 5.2, Japanese 7.8, Korean 6.9, Thai 4.7. At about three letters a syllable English speaks 19 letters a second
between its pauses, so a Mandarin syllable takes 19 / 5.2 = 3.7 letters, a Hangul block 2.7, a Thai syllable of some three signs 4. Within
one script the weights cancel out and upstream's rule remains.
"""

# Marks and letters that look alike are what this module is about.
# ruff: noqa: RUF001

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from math import ceil

FRAMES_PER_SECOND = 24_000 / 256
"""Mel frames a second: 24 kHz, hop 256."""

SPEED_RANGE = (0.5, 3.0)

# Speech slows at the edges of an utterance (onset, final lengthening, the silence around it): a fixed part, whatever the length. Fitted on
# the reference and added to each chunk it leaves chunks as long as the reference at upstream's length, and gives short ones more time.
_EDGE_FRAMES = 0.35 * FRAMES_PER_SECOND
# Below this the sampler rushes or swallows words; upstream slows texts under ten bytes to 0.3 for the same reason.
_MIN_FRAMES = ceil(0.75 * FRAMES_PER_SECOND)
# Units a second that people speak: outside, the reference text is not the text of the reference audio, or the audio is mostly silence.
_SLOWEST, _FASTEST = 6.0, 26.0
_TYPICAL = 14.0
# The text encoder cuts tokens past the number of frames, and Chinese has two tokens a character.
_FRAMES_PER_CHARACTER = 2

_PAUSE = dict.fromkeys(".!?。！？…।؟။", 3.0)
_CLAUSE_PAUSE = dict.fromkeys(",;:，、；：،؛—–", 2.0)
_SMALL_KANA = dict.fromkeys("ぁぃぅぇぉゃゅょゎァィゥェォャュョヮ", 0.4)
# One word each when they are read out.
_SPOKEN_SYMBOLS = dict.fromkeys("%&+=@#$€£¥₹°§©±×÷<>≤≥≈≠→√∞^|\\~*/", 5.0)
_MARKS = _PAUSE | _CLAUSE_PAUSE | _SMALL_KANA | _SPOKEN_SYMBOLS
# Marks on a letter, vowel signs beside one, digits that nobody spelled out.
_CATEGORIES = {"Mn": 0.0, "Mc": 0.8, "Nd": 4.0}

# Letters whose names are said one by one: capitals alone, and capitals in a row without a vowel.
_SPELLED = re.compile(r"(?<![^\W_])(?:[B-HJ-Z](?![\w'])|(?=[A-Z]{2,5}(?![A-Za-z]))[B-DF-HJ-NP-TV-XZ]{2,5})(?![^\W_])")
_SPELLED_WEIGHT = 2.5

_RANGES = (
    (0x0E00, 0x0EFF, 1.3),  # Thai and Lao: some three signs a syllable
    (0x1100, 0x11FF, 1.0),  # Hangul jamo
    (0x3040, 0x30FF, 2.0),  # kana: a mora each
    (0x3100, 0x312F, 1.5),  # bopomofo
    (0x3130, 0x318F, 1.0),
    (0x3400, 0x9FFF, 3.7),  # Han
    (0xAC00, 0xD7A3, 2.7),  # Hangul syllables
    (0xF900, 0xFAFF, 3.7),
    (0x20000, 0x3FFFF, 3.7),
    (0x0400, 0x052F, 1.1),  # Cyrillic
    (0x0590, 0x08FF, 1.6),  # Hebrew and Arabic leave short vowels unwritten
    (0x0900, 0x0DFF, 2.0),  # Brahmic consonants carry a vowel
    (0x1000, 0x109F, 2.0),
    (0x1200, 0x139F, 2.7),  # Ethiopic syllables
)


@lru_cache(maxsize=4096)
def weight(character: str) -> float:
    """How long ``character`` takes, in Latin letters; between 0 (a combining mark) and 5 (a symbol read as a word)."""
    if character in _MARKS:
        return _MARKS[character]
    if character.isspace():
        return 0.2
    category = unicodedata.category(character)
    if category in _CATEGORIES:
        return _CATEGORIES[category]
    if category[0] != "L":
        return 0.3 if category[0] == "P" else 3.0
    code = ord(character)
    return next((value for first, last, value in _RANGES if first <= code <= last), 1.0)


def weights(text: str) -> list[float]:
    """The weight of each character of normalised ``text``, spelled-out capitals counted by their names."""
    out = [weight(character) for character in text]
    for match in _SPELLED.finditer(text):
        out[match.start() : match.end()] = [_SPELLED_WEIGHT] * len(match[0])
    return out


def frames_per_unit(reference_text: str, reference_frames: int) -> float:
    """How many frames the voice of the reference takes for one unit of weight, kept to rates that people speak at.

    ``reference_text`` is normalised. Without a letter in it the rate is that of ordinary English, 14 units a second.
    """
    units = sum(weights(reference_text)) if any(character.isalnum() for character in reference_text) else 0.0
    if units <= 0:
        return FRAMES_PER_SECOND / _TYPICAL
    spoken = max(reference_frames - _EDGE_FRAMES, reference_frames / 2)
    return min(max(spoken / units, FRAMES_PER_SECOND / _FASTEST), FRAMES_PER_SECOND / _SLOWEST)


def frames(units: float, characters: int, *, per_unit: float, speed: float) -> int:
    """Predicted frames of speech of weight ``units``: the edges and a rate, never under 0.75 s, all over ``speed``.

    ``characters`` is the length of the text: the frames are at least two for each.
    """
    predicted = max(_EDGE_FRAMES + units * per_unit, _MIN_FRAMES) / speed
    return max(round(predicted), _FRAMES_PER_CHARACTER * characters, 1)
