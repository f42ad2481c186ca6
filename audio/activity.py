"""Where a sound is active: levels of short frames and an energy-based detector of speech."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audio.pcm import mono

FRAME_S = 0.025
HOP_S = 0.010
FLOOR_DB = -100.0
_SILENT_DB = -60.0
_RANGE_DB = 35.0
_STEADY_DB = 6.0
_ABOVE_NOISE = 0.3
_CLOSURE_S = 0.2


def frame_sizes(rate: int) -> tuple[int, int]:
    """Length and hop of a frame in samples: 25 ms and 10 ms."""
    return max(1, round(FRAME_S * rate)), max(1, round(HOP_S * rate))


def frame_levels(samples: NDArray[np.floating], rate: int) -> NDArray[np.float64]:
    """Mean power of each frame in dB relative to full scale (a square wave of 1 is 0 dB), not below -100.

    Frame i covers the samples from i * hop on; the last frames are shorter. Shape (ceil(n / hop),).
    """
    frame, hop = frame_sizes(rate)
    power = np.concatenate([[0.0], np.cumsum(np.square(mono(samples), dtype=np.float64))])
    starts = np.arange(0, len(power) - 1, hop)
    ends = np.minimum(starts + frame, len(power) - 1)
    mean = np.maximum(power[ends] - power[starts], 0.0) / np.maximum(ends - starts, 1)
    return 10 * np.log10(np.maximum(mean, 10 ** (FLOOR_DB / 10)))


def active_frames(samples: NDArray[np.floating], rate: int) -> NDArray[np.bool_]:
    """Which frames of `frame_levels` hold sound that stands out.

    The threshold lies 30 % of the way from the noise floor (10th percentile of the levels) to the top (95th percentile), but at least
    6 dB above the floor, at most 35 dB below the top and never below -60 dB. A sound whose level hardly changes has no pauses that could
    be told from speech, so that all of it counts as active unless it lies below -60 dB.
    """
    levels = frame_levels(samples, rate)
    if not len(levels):
        return np.zeros(0, dtype=np.bool_)
    floor, top = np.percentile(levels, [10, 95])
    above = floor + max(_STEADY_DB, _ABOVE_NOISE * (top - floor))
    threshold = top - _RANGE_DB if top - floor < _STEADY_DB else max(above, top - _RANGE_DB)
    return levels > max(threshold, _SILENT_DB)


def active_spans(samples: NDArray[np.floating], rate: int, closure_s: float = _CLOSURE_S) -> list[tuple[int, int]]:
    """Start and end, in samples, of the stretches that hold sound, in order and apart by more than `closure_s` seconds.

    Shorter gaps belong to speech: stops close the mouth for up to about 0.2 s.
    """
    active = active_frames(samples, rate)
    _, hop = frame_sizes(rate)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(np.int8)))
    spans: list[tuple[int, int]] = []
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        start, end = int(first) * hop, min(len(samples), int(after - 1) * hop + frame_sizes(rate)[0])
        if spans and start - spans[-1][1] <= closure_s * rate:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans
