"""Where words lie in a sound when no acoustic model says so: by its pauses, the marks of the text and the weight of the letters.

The spans of sound between pauses are matched with runs of words by a hidden semi-Markov model. A run of words takes a time in proportion
to the weight of its letters (``text_duration``); a pause likes a full stop more than a comma, and a comma more than no mark at all. The
forward and the backward sums also say how sure the place of each pause is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.activity import active_spans
from inference import text_duration
from inference.align_words import Break, SpokenWord

PAUSE_S = 0.1
"""Silence that parts spans. Shorter ones are the closures of stops as often as pauses."""

Floats = NDArray[np.float64]

# How often people pause behind a word by what follows it.
_PAUSES = {Break.NONE: 0.04, Break.CLAUSE: 0.6, Break.SENTENCE: 0.95}
# A span of sound without words is a breath or a noise, and short.
_WORDLESS = -5.0
_WORDLESS_S = 0.15
# Edges of a span take time whatever is said: onset, final lengthening, and the frames of the detector.
_EDGE_S = 0.06
_SPREAD_S = 0.08
_BAND = 100
_NEVER = -1e9
# Units of weight that a word takes beyond its letters, and more where it ends a span.
_WORD = 0.7
_FINAL = 2.0


@dataclass(frozen=True)
class Matching:
    """Which words are said in which span of sound.

    Attributes:
        cuts: ``[spans + 1]`` indices of words; span k says the words from ``cuts[k]`` to ``cuts[k + 1]`` (not included).
        certainty: ``[spans - 1]``, probability in [0, 1] that the pause behind span k lies before word ``cuts[k + 1]``.
        misfit: mean squared deviation of the spans' lengths from what their words should take, in standard deviations.
    """

    cuts: list[int]
    certainty: list[float]
    misfit: float


def word_weights(said: Sequence[SpokenWord]) -> Floats:
    """How long each word takes, in Latin letters; at least 0.5. Shape ``[words]``."""
    return np.array([max(0.5, sum(text_duration.weights(word.spoken)) + _WORD) for word in said])


def sound_spans(samples: NDArray[np.float32], rate: int) -> list[tuple[float, float]]:
    """Spans of sound in seconds, parted by pauses of 0.1 s and more; the whole sound where nothing stands out."""
    spans = active_spans(samples, rate, closure_s=PAUSE_S)
    return [(start / rate, end / rate) for start, end in spans] or [(0.0, len(samples) / rate)]


def match(spans: Sequence[tuple[float, float]], weights: Floats, breaks: Sequence[Break], *, spread: float = 0.12) -> Matching:
    """Match spans of sound with the words of a text.

    Args:
        spans: seconds, in order, at least one.
        weights: ``[words]``, positive, at least one.
        breaks: what follows each word.
        spread: standard deviation of the time that words take, as a share of it.
    """
    durations = np.array([end - start for start, end in spans])
    before = np.concatenate([[0.0], np.cumsum(weights)])
    net = np.maximum(durations - _EDGE_S, 0.2 * durations)
    per_unit = max(float(net.sum()), 1e-6) / before[-1]
    chances = np.array([_PAUSES[kind] for kind in breaks])
    # Every inner place between words either has a pause or has none.
    paused = np.concatenate([[_NEVER], np.log(chances)])
    unpaused = np.concatenate([[0.0], np.cumsum(np.log1p(-chances))])
    windows = _windows(durations, before)

    def likelihood(k: int) -> Floats:
        """Log of the density that span k says the words from i to j, ``[i, j]`` in the windows before and behind it."""
        i, j = np.arange(*windows[k])[:, None], np.arange(*windows[k + 1])[None, :]
        expected = per_unit * (before[j] - before[i])
        deviation = np.sqrt(_SPREAD_S**2 + (spread * expected) ** 2)
        density = -0.5 * np.square((net[k] - expected) / deviation) - np.log(deviation)
        density = density + unpaused[np.maximum(j - 1, 0)] - unpaused[np.minimum(i, np.maximum(j - 1, 0))]
        wordless = _WORDLESS - durations[k] / _WORDLESS_S
        # The place behind a span without words is that before it, whose pause has been counted.
        return np.where(j > i, density, np.where(j == i, wordless, _NEVER))

    def ends(k: int) -> Floats:
        """Log of the chance of the pause behind span k, by the place of the text that it is in."""
        j = np.arange(*windows[k + 1])
        return np.where((j > 0) & (j < len(weights)), paused[j], _WORDLESS)

    count = len(spans)
    scores = [likelihood(k) + (ends(k)[None, :] if k < count - 1 else 0.0) for k in range(count)]
    forward, best, back = [np.zeros(1)], [np.zeros(1)], []
    for k in range(count):
        forward.append(_logsum(forward[-1][:, None] + scores[k], axis=0))
        reached = best[-1][:, None] + scores[k]
        back.append(reached.argmax(axis=0))
        best.append(reached.max(axis=0))
    backward = [np.zeros(1)]
    for k in reversed(range(1, count)):
        backward.append(_logsum(scores[k] + backward[-1][None, :], axis=1))
    backward.reverse()
    place, cuts = 0, [len(weights)]
    for k in reversed(range(count)):
        place = int(back[k][place])
        cuts.append(place + windows[k][0])
    cuts.reverse()
    certainty = [_share(forward[k] + backward[k - 1], cuts[k] - windows[k][0]) for k in range(1, count)]
    expected = per_unit * np.diff(before[cuts])
    misfit = float(np.mean(np.square((net - expected) / np.sqrt(_SPREAD_S**2 + (spread * expected) ** 2))))
    return Matching(cuts, certainty, misfit)


def _windows(durations: Floats, before: Floats) -> list[tuple[int, int]]:
    """Places of the text that each boundary of spans may have: about where its share of the sound puts it."""
    words = len(before) - 1
    shares = np.cumsum(durations) / max(float(durations.sum()), 1e-9)
    centres = np.searchsorted(before, shares * before[-1])
    inner = [(max(0, int(c) - _BAND), min(words, int(c) + _BAND) + 1) for c in centres[:-1]]
    return [(0, 1), *inner, (words, words + 1)]


def _logsum(values: Floats, axis: int) -> Floats:
    top = values.max(axis=axis, keepdims=True)
    out: Floats = np.squeeze(top, axis) + np.log(np.exp(values - top).sum(axis=axis))
    return out


def _share(logs: Floats, index: int) -> float:
    shares = np.exp(logs - logs.max())
    return float(shares[index] / shares.sum())


def estimate(samples: NDArray[np.float32], rate: int, said: Sequence[SpokenWord]) -> list[tuple[float, float]]:
    """(start, end) of each word in seconds: in order, not overlapping, within the sound.

    Args:
        samples: mono sound, ``[n]``, in which exactly ``said`` is spoken.
        rate: in Hz.
    """
    if not said:
        return []
    spans = sound_spans(samples, rate)
    weights = word_weights(said)
    cuts = match(spans, weights, [word.after for word in said]).cuts
    times: list[tuple[float, float]] = []
    for (start, end), first, after in zip(spans, cuts, cuts[1:], strict=False):
        if after == first:
            continue
        shares = weights[first:after].copy()
        shares[-1] += _FINAL
        edges = start + (end - start) * np.concatenate([[0.0], np.cumsum(shares)]) / shares.sum()
        times += [(float(a), float(b)) for a, b in itertools.pairwise(edges)]
    return times
