"""Sounds for an aligner, and what holds for every answer of one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from inference.align import Alignment

RATE = 24_000


def bursts(spans: Sequence[tuple[float, float]], seconds: float, *, seed: int = 0) -> np.ndarray:
    """Noise in the spans and a much softer one around them."""
    rng = np.random.default_rng(seed)
    sound = 1e-4 * rng.standard_normal(int(seconds * RATE))
    for start, end in spans:
        part = sound[int(start * RATE) : int(end * RATE)]
        part += 0.1 * rng.standard_normal(len(part))
    return sound.astype(np.float32)


def check(found: Alignment, text: str, seconds: float) -> None:
    """What holds for every answer."""
    assert [text[word.start : word.end].strip() for word in found.words] == [text[word.start : word.end] for word in found.words]
    for word in found.words:
        assert 0 <= word.start < word.end <= word.marks_end <= len(text)
        assert 0 <= word.start_s <= word.end_s <= seconds
        assert word.score is None or 0 <= word.score <= 1
    for one, other in pairwise(found.words):
        assert one.marks_end <= other.start
        assert one.end_s <= other.start_s
