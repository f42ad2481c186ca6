"""Where a long recording may be cut together with its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from audio.trim import pauses
from inference.align import Aligner, TimedWord, align
from inference.align_estimate import match, sound_spans, word_weights
from inference.align_words import Break, SpokenWord, words

MIN_CUT_S = 3.0
"""A cut before this leaves too little voice to clone."""

MIN_PAUSE_S = 0.15

_KEPT_S = 0.3
_ROOM_S = 0.1
# The estimate is trusted where every one of these views of text and sound puts the pause behind the same word, each with this certainty.
_SPREADS = (0.12, 0.25)
_CERTAINTY = 0.99
_MISFIT = 4.0
# What a doubt of one, which no candidate comes near, would weigh against the other merits of a place.
_DOUBT = 30.0
# Units of weight a second: outside, the text is not that of the sound.
_SLOWEST, _FASTEST = 5.0, 32.0
# A network is believed where it finds the letters of the text at all, and both words beside the cut.
_MEAN_SCORE, _WORD_SCORE = 0.3, 0.15
_MIN_GAP_S = 0.06


@dataclass(frozen=True, slots=True)
class Cut:
    """Samples before ``sample`` and characters before ``text_end`` belong together; ``text_end`` is 0 for a sound without a text."""

    sample: int
    text_end: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A silence from ``start`` to ``end`` seconds behind a word; ``certainty`` in [0, 1] that it is that word."""

    start: float
    end: float
    text_end: int
    after: Break
    certainty: float = 1.0

    def worth(self, limit_s: float) -> float:
        """More for more of the recording, for the end of a sentence, for a long pause; less where it is less sure."""
        return self.start / limit_s + 0.2 * int(self.after) + min(self.end - self.start, 0.5) - _DOUBT * (1 - self.certainty)

    def cut(self, rate: int, limit_s: float) -> Cut:
        keep = min((self.start + self.end) / 2, self.start + _KEPT_S, limit_s)
        return Cut(int(keep * rate), self.text_end)


def cut_sound(samples: NDArray[np.float32], rate: int, *, limit_s: float) -> Cut | None:
    """Where to cut a recording whose text is not known yet: in a good pause from 3 s to the limit. None where there is none."""
    found = [
        _Candidate(start, end, 0, Break.NONE)
        for start, end in pauses(samples, rate, MIN_PAUSE_S)
        if MIN_CUT_S <= start <= limit_s - _ROOM_S
    ]
    return _best(found, rate, limit_s)


def cut_together(
    samples: NDArray[np.float32], rate: int, text: str, *, language: str, limit_s: float, aligner: Aligner | None = None
) -> Cut | None:
    """Where to cut a recording and its text, so that what is left of both is the same words.

    With an aligner: between two words that it finds, the better at a mark and in a pause. Without one, or where the text is not what it
    hears: where a pause of the sound and a mark of the text agree beyond doubt.

    Args:
        samples: mono ``[n]``, in which ``text`` is spoken, trimmed.
        language: a BCP 47 tag.
        limit_s: the cut lies before this, and not before 3 s.

    Returns:
        None where no place is sure.
    """
    said = words(text, language)
    if len(said) < 2:
        return None
    if aligner is not None:
        exact = align(samples, rate, text, language=language, aligner=aligner)
        if exact.method == "ctc" and np.mean([word.score or 0.0 for word in exact.words]) >= _MEAN_SCORE:
            return _best(_between_words(exact.words, said, limit_s), rate, limit_s)
    return _best(_agreeing(samples, rate, said, limit_s), rate, limit_s)


def _best(found: Sequence[_Candidate], rate: int, limit_s: float) -> Cut | None:
    return max(found, key=lambda candidate: candidate.worth(limit_s)).cut(rate, limit_s) if found else None


def _between_words(timed: Sequence[TimedWord], said: Sequence[SpokenWord], limit_s: float) -> list[_Candidate]:
    found = []
    for word, following, spoken in zip(timed, timed[1:], said, strict=False):
        believed = min(word.score or 0.0, following.score or 0.0) >= _WORD_SCORE
        if believed and MIN_CUT_S <= word.end_s <= limit_s - _ROOM_S and following.start_s - word.end_s >= _MIN_GAP_S:
            found.append(_Candidate(word.end_s, following.start_s, word.marks_end, spoken.after))
    return found


def _agreeing(samples: NDArray[np.float32], rate: int, said: Sequence[SpokenWord], limit_s: float) -> list[_Candidate]:
    spans = sound_spans(samples, rate)
    weights = word_weights(said)
    speech_s = sum(end - start for start, end in spans)
    if not _SLOWEST <= weights.sum() / speech_s <= _FASTEST:
        return []
    breaks = [word.after for word in said]
    views = [match(spans, weights, breaks, spread=spread) for spread in _SPREADS]
    if views[0].misfit > _MISFIT:
        return []
    found = []
    for k, ((_, start), (end, _)) in enumerate(pairwise(spans)):
        places = {view.cuts[k + 1] for view in views}
        certainty = min(view.certainty[k] for view in views)
        place = places.pop()
        wordless = place in (views[0].cuts[k], views[0].cuts[k + 2])
        if places or certainty < _CERTAINTY or not 0 < place < len(said) or wordless:
            continue
        word = said[place - 1]
        if word.after and end - start >= MIN_PAUSE_S and MIN_CUT_S <= start <= limit_s - _ROOM_S:
            found.append(_Candidate(start, end, word.marks_end, word.after, certainty))
    return found
