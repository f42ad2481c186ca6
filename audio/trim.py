"""Silence: cut it from the ends, find it in between."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audio.activity import active_spans
from audio.pcm import Samples, mono


def trim_bounds(samples: NDArray[np.floating], rate: int, margin_s: float = 0.1) -> tuple[int, int]:
    """First sample and the one behind the last of what `trim` keeps; (0, 0) if nothing stands out from silence."""
    if margin_s < 0:
        raise ValueError("margin_s must not be negative")
    spans = active_spans(samples, rate)
    if not spans:
        return 0, 0
    margin = round(margin_s * rate)
    return max(0, spans[0][0] - margin), min(len(samples), spans[-1][1] + margin)


def trim(samples: NDArray[np.floating], rate: int, margin_s: float = 0.1) -> Samples:
    """The samples without the silence before and after, save for `margin_s` seconds of it; empty if all is silent."""
    start, end = trim_bounds(samples, rate, margin_s)
    return mono(samples)[start:end]


def pauses(samples: NDArray[np.floating], rate: int, min_s: float) -> list[tuple[float, float]]:
    """Silences of at least `min_s` seconds as (start, end) in seconds, those at the ends included, in order.

    The bounds are those of 25 ms frames, 10 ms apart, that stand out: a pause is found up to 50 ms shorter than it is.
    """
    if min_s <= 0:
        raise ValueError("min_s must be positive")
    spans = active_spans(samples, rate, closure_s=0.0)
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), len(samples)]
    return [(start / rate, end / rate) for start, end in zip(starts, ends, strict=True) if end > start and end - start >= min_s * rate]
