"""Speaker embeddings: resemblyzer's encoder (GE2E, arXiv:1710.10467), whose weights are part of its package. On the CPU."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from inference.errors import InvalidItemError
from inference.speaker_encoder import ENCODER_RATE, encoder
from inference.speaker_voiced import level, voiced

MIN_SECONDS = 0.4
"""Shorter sound holds too few frames for the encoder's partial utterances of 1.6 s to mean anything."""


def embed(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Embedding of the voice in a recording.

    Args:
        samples: mono sound, float32 ``[n]`` in [-1, 1].
        sample_rate: in Hz.

    Returns:
        float32 ``[256]`` of unit length; the cosine of two voices is their dot product.

    Raises:
        InvalidItemError: the sound is shorter than 0.4 s, silent or not finite.
    """
    if len(samples) < MIN_SECONDS * sample_rate:
        raise InvalidItemError(f"The audio is shorter than {MIN_SECONDS} s.", {"field": "audio"})
    if not np.isfinite(samples).all() or float(np.abs(samples).max()) < 1e-4:
        raise InvalidItemError("The audio is silent or damaged.", {"field": "audio"})
    sound = soxr.resample(samples, sample_rate, ENCODER_RATE).astype(np.float32)
    speech = voiced(level(sound))
    # The voice detector may find nothing in a whisper or a hum; the whole recording is the better guess then.
    vector = encoder().embed(speech if len(speech) >= MIN_SECONDS * ENCODER_RATE else sound)
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm == 0:
        raise InvalidItemError("No voice was found in the audio.", {"field": "audio"})
    return (vector / norm).astype(np.float32)
