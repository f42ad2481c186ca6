"""Speaker embeddings: resemblyzer's encoder (GE2E, arXiv:1710.10467), whose weights are part of its package. On the CPU."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.errors import InvalidItemError

EMBEDDING_SIZE = 256
ENCODER_RATE = 16_000
MIN_SECONDS = 0.4
"""Shorter sound holds too few frames for the encoder's partial utterances of 1.6 s to mean anything."""


@lru_cache(maxsize=1)
def _encoder() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        # Its voice detector and its SciPy imports announce removals on every import.
        warnings.simplefilter("ignore")
        from resemblyzer import VoiceEncoder, preprocess_wav
    return VoiceEncoder(device="cpu", verbose=False), preprocess_wav


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
    import soxr

    if len(samples) < MIN_SECONDS * sample_rate:
        raise InvalidItemError(f"The audio is shorter than {MIN_SECONDS} s.", {"field": "audio"})
    if not np.isfinite(samples).all() or float(np.abs(samples).max()) < 1e-4:
        raise InvalidItemError("The audio is silent or damaged.", {"field": "audio"})
    encoder, preprocess = _encoder()
    sound = soxr.resample(samples, sample_rate, ENCODER_RATE).astype(np.float32)
    voiced = preprocess(sound)
    # The voice detector may find nothing in a whisper or a hum; the whole recording is the better guess then.
    vector = encoder.embed_utterance(voiced if len(voiced) >= MIN_SECONDS * ENCODER_RATE else sound)
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm == 0:
        raise InvalidItemError("No voice was found in the audio.", {"field": "audio"})
    return (vector / norm).astype(np.float32)
