"""When each word of a text is said in a sound: exactly where a network for it is there, else as an estimate."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from inference import align_estimate
from inference.align_ctc import UnalignableError
from inference.align_words import SpokenWord, words
from inference.errors import InvalidItemError
from inference.recognisers import LISTEN_RATE
from inference.text import EmptyTextError

Method = Literal["ctc", "estimated"]


class Aligner(Protocol):
    """What finds words exactly; ``align_ctc.CtcAligner`` is one."""

    def align(self, samples: NDArray[np.float32], said: Sequence[SpokenWord]) -> list[tuple[float, float, float]]:
        """(start, end, score) of each word in 16 kHz sound; UnalignableError where it cannot say."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of the text, in code points, and of the sound, in seconds, that belong together."""

    start: int
    end: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word of the original text (code points ``start`` to ``end``) and when it is said, in seconds.

    ``score`` is how likely the network finds the word there, in [0, 1]; None for an estimate. ``marks_end`` as in ``SpokenWord``.
    """

    start: int
    end: int
    marks_end: int
    start_s: float
    end_s: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Alignment:
    """``ctc`` where all words were found by a network; ``estimated`` where some were not."""

    method: Method
    words: list[TimedWord]


def align(
    samples: NDArray[np.float32],
    rate: int,
    text: str,
    *,
    language: str,
    chunks: Sequence[Chunk] | None = None,
    aligner: Aligner | None = None,
) -> Alignment:
    """Times of the words of ``text``.

    The times never decrease from word to word, lie within the sound, and no word begins before the one before it has ended. Each word
    lies in the sound of its chunk.

    Args:
        samples: mono sound ``[n]`` in [-1, 1] in which ``text`` is spoken.
        rate: in Hz.
        language: a BCP 47 tag.
        chunks: which part of the text is said in which part of the sound, in order; None: all in all.
        aligner: None for an estimate.

    Raises:
        EmptyTextError: nothing in the text is spoken.
        InvalidItemError: the chunks are out of order or lie outside the text or the sound.
    """
    said = words(text, language)
    if not said:
        raise EmptyTextError("The text has nothing to speak: no letter and no digit")
    seconds = len(samples) / rate
    pieces = _bounds(chunks, len(text), seconds) if chunks else [Chunk(0, len(text), 0.0, seconds)]
    # A word that begins between chunks belongs to the one before it.
    starts = [piece.start for piece in pieces]
    shares: list[list[SpokenWord]] = [[] for _ in pieces]
    for word in said:
        shares[max(0, bisect_right(starts, word.start) - 1)].append(word)
    method: Method = "ctc"
    out: list[TimedWord] = []
    done = 0.0
    for piece, share in zip(pieces, shares, strict=True):
        if not share:
            continue
        sound = samples[round(piece.start_s * rate) : round(piece.end_s * rate)]
        exact = _exact(aligner, sound, rate, share)
        if exact is None:
            method = "estimated"
        times = exact or [(start, end, None) for start, end in align_estimate.estimate(sound, rate, share)]
        for word, (start, end, score) in zip(share, times, strict=True):
            begin = min(max(done, _milliseconds(piece.start_s + start)), seconds)
            done = min(max(begin, _milliseconds(piece.start_s + end)), seconds)
            out.append(TimedWord(word.start, word.end, word.marks_end, begin, done, score))
    return Alignment(method, out)


def _exact(aligner: Aligner | None, sound: NDArray[np.float32], rate: int, said: list[SpokenWord]) -> Sequence[_Time] | None:
    if aligner is None or not len(sound):
        return None
    import soxr

    try:
        return aligner.align(soxr.resample(sound, rate, LISTEN_RATE).astype(np.float32), said)
    except UnalignableError:
        return None


_Time = tuple[float, float, float | None]


def _milliseconds(seconds: float) -> float:
    return math.floor(seconds * 1000 + 1e-6) / 1000


def _bounds(chunks: Sequence[Chunk], length: int, seconds: float) -> list[Chunk]:
    """The chunks, checked, and their sound parted in the middle where cross-fading lets two of them overlap."""
    for chunk in chunks:
        sound = 0 <= chunk.start_s <= chunk.end_s and chunk.start_s <= seconds
        if not sound or not 0 <= chunk.start <= chunk.end <= length:
            raise InvalidItemError("A chunk lies outside the text or the sound.", {"field": "chunks"})
    for one, other in itertools.pairwise(chunks):
        if other.start < one.end or other.start_s < one.start_s or other.end_s < one.end_s:
            raise InvalidItemError("The chunks are not in order.", {"field": "chunks"})
    out: list[Chunk] = []
    begin = chunks[0].start_s
    for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
        end = min(chunk.end_s, seconds)
        if following is not None and following.start_s < end:
            end = (following.start_s + end) / 2
        end = max(begin, end)
        out.append(Chunk(chunk.start, chunk.end, begin, end))
        if following is not None:
            begin = max(end, min(following.start_s, seconds))
    return out
