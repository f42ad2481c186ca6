"""Chunks of speech to one sound: cross-faded in order, as they arrive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.pcm import Samples, mono

_EDGE_S = 0.005


@dataclass(frozen=True)
class Span:
    """Where a chunk lies in the joined sound: its first sample and the one behind its last. Neighbours overlap by the cross-fade."""

    start: int
    end: int


class Joiner:
    """Streaming cross-fade with equal power, as chunks are spoken apart and thus uncorrelated.

    Every sample of every chunk is heard: the head of a chunk is mixed with the tail of the one before, over `fade_s` seconds or half of the
    shorter of the two, whichever is less. With a gap, silence lies between instead, and the edges on both sides fade over 5 ms.
    The first head and the last tail are left alone. Where two loud edges meet, their sum may leave [-1, 1]; `effects.Gain` follows.

    Attributes:
        spans: where each chunk that was pushed lies, in order; times of words within a chunk are counted from `start`.
    """

    def __init__(self, rate: int, fade_s: float = 0.05, gap_s: float = 0.0) -> None:
        """Sample rate in Hz; the length of the fade and of the gap in seconds, neither negative."""
        if rate <= 0 or fade_s < 0 or gap_s < 0:
            raise ValueError("the rate must be positive, fade and gap must not be negative")
        self._rate, self._fade, self._gap, self._edge = rate, round(fade_s * rate), round(gap_s * rate), round(_EDGE_S * rate)
        self._held = np.zeros(0, dtype=np.float32)
        self.spans: list[Span] = []

    @property
    def length(self) -> int:
        """Samples of the joined sound if no further chunk came."""
        return self.spans[-1].end if self.spans else 0

    def push(self, chunk: NDArray[np.floating], gap_s: float | None = None) -> Samples:
        """Take the next chunk, `gap_s` seconds (default: the joiner's gap) behind the last one; give out what is final."""
        chunk = mono(chunk)
        gap = self._gap if gap_s is None else round(gap_s * self._rate)
        if gap < 0:
            raise ValueError("the gap must not be negative")
        if not len(chunk):
            self.spans.append(Span(self.length, self.length))
            return np.zeros(0, dtype=np.float32)
        if not any(span.end > span.start for span in self.spans):
            gap = 0  # nothing to keep apart from
        half = len(chunk) // 2
        if gap:
            edge = min(self._edge, len(self._held), half)
            overlap, start = 0, self.length + gap
            ready = np.concatenate([_faded(self._held, edge), np.zeros(gap, dtype=np.float32)])
            chunk = _faded(chunk[::-1], edge)[::-1]
        else:
            overlap = min(self._fade, len(self._held), half)
            start, ready = self.length - overlap, self._held
        self.spans.append(Span(start, start + len(chunk)))
        if overlap:
            ready, tail = np.split(self._held, [len(self._held) - overlap])
            chunk = np.concatenate([cross_fade(tail, chunk[:overlap]), chunk[overlap:]])
        keep = min(max(self._fade, self._edge), half)
        self._held = chunk[len(chunk) - keep :]
        return np.concatenate([ready, chunk[: len(chunk) - keep]])

    def flush(self) -> Samples:
        """The tail of the last chunk. Nothing may be pushed afterwards."""
        held, self._held = self._held, np.zeros(0, dtype=np.float32)
        return held


def cross_fade(tail: NDArray[np.floating], head: NDArray[np.floating]) -> Samples:
    """Equal-power cross-fade of two stretches of the same shape (n,): cos and sin of a quarter turn, whose squares sum to 1."""
    if tail.shape != head.shape:
        raise ValueError("the stretches must be equally long")
    angle = (np.arange(len(tail)) + 0.5) / max(1, len(tail)) * (np.pi / 2)
    return mono(tail * np.cos(angle) + head * np.sin(angle))


def _faded(samples: Samples, length: int) -> Samples:
    """The samples with a half-cosine fade to silence over the last `length`."""
    samples = samples.copy()
    if length:
        samples[len(samples) - length :] *= (0.5 + 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length)).astype(np.float32)
    return samples
