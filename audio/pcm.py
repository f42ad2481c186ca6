"""16-bit PCM and levels: the conversions that every other module of this package shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audio.errors import InvalidAudio

Samples = NDArray[np.float32]
"""Shape (n,), float32 in [-1, 1]."""

PCM16_SCALE = 32767


def float_to_pcm16(samples: NDArray[np.floating]) -> bytes:
    """Little-endian signed 16-bit PCM of float samples.

    Samples are clipped to [-1, 1], multiplied by 32767 and rounded to the nearest integer, so that +1 and -1 are equally far from 0
    and -32768 never appears. An array of shape (n, channels) is interleaved.

    Raises:
        InvalidAudio: a sample is NaN or infinite.
    """
    require_finite(samples)
    return np.rint(np.clip(samples, -1.0, 1.0) * PCM16_SCALE).astype("<i2").tobytes()


def pcm16_to_float(data: bytes | bytearray | memoryview) -> Samples:
    """Float samples of little-endian signed 16-bit PCM: the inverse of `float_to_pcm16`.

    -32768, which `float_to_pcm16` never writes, becomes -1. Interleaved channels stay interleaved.

    Raises:
        InvalidAudio: the number of bytes is odd.
    """
    if len(data) % 2:
        raise InvalidAudio("16-bit sound must have an even number of bytes")
    samples = np.frombuffer(data, dtype="<i2").astype(np.float32) / np.float32(PCM16_SCALE)
    return np.maximum(samples, np.float32(-1.0))


def require_finite(samples: NDArray[np.floating]) -> None:
    """Raises InvalidAudio if a sample is NaN or infinite."""
    if not np.isfinite(samples).all():
        raise InvalidAudio("the sound holds samples that are not numbers (NaN or infinity)")


def mono(samples: NDArray[np.floating]) -> Samples:
    """The samples as contiguous float32; raises ValueError unless their shape is (n,)."""
    if samples.ndim != 1:
        raise ValueError(f"expected mono samples of shape (n,), got {samples.shape}")
    return np.ascontiguousarray(samples, dtype=np.float32)


def decibels(power: float, floor: float) -> float:
    """10 log10(power), not below `floor`, so that silence stays a finite number."""
    return max(floor, 10 * float(np.log10(power))) if power > 0 else floor
