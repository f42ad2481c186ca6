"""Sample rates and channels."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from audio.pcm import Samples, mono

_QUALITY = "HQ"
_BLOCK = 1 << 16


def to_mono(samples: NDArray[np.floating]) -> Samples:
    """The mean of the channels of an array of shape (n, channels); shape (n,) goes through."""
    if samples.ndim == 1:
        return mono(samples)
    if samples.ndim != 2 or samples.shape[1] == 0:
        raise ValueError(f"expected samples of shape (n, channels), got {samples.shape}")
    return mono(samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32))


def resample(samples: NDArray[np.floating], from_rate: int, to_rate: int) -> Samples:
    """Change the sample rate of mono samples (soxr, high quality, linear phase, no delay).

    The result has n * to_rate / from_rate samples, give or take one. Band-limited signals overshoot: peaks of a signal at full scale may
    leave [-1, 1] by a little.
    """
    resampler = Resampler(from_rate, to_rate)
    blocks = [resampler.process(block) for block in np.split(mono(samples), range(_BLOCK, len(samples), _BLOCK))]
    return np.concatenate([*blocks, resampler.flush()])


class Resampler:
    """Streaming change of the sample rate: the blocks out, joined, are `resample` of the blocks in, joined."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        if from_rate <= 0 or to_rate <= 0:
            raise ValueError("sample rates must be positive")
        self._stream = None if from_rate == to_rate else soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality=_QUALITY)

    def process(self, block: NDArray[np.floating]) -> Samples:
        """What is ready after taking `block`, which may be nothing yet."""
        block = mono(block)
        return block if self._stream is None else self._stream.resample_chunk(block)

    def flush(self) -> Samples:
        """The rest. Nothing may be processed afterwards."""
        empty = np.zeros(0, dtype=np.float32)
        return empty if self._stream is None else self._stream.resample_chunk(empty, last=True)
