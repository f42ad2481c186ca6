"""Reference sound to log-mel frames, as F5-TTS was trained: 24 kHz, window 1024, hop 256, 100 bands (the settings of Vocos)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference import upstream
from inference.errors import InvalidItemError

SAMPLE_RATE = 24_000
HOP_LENGTH = 256
MEL_BANDS = 100
TARGET_RMS = 0.1
"""References below this level are scaled up to it, and what was made from them is scaled down again (``infer_batch_process``)."""
MIN_REFERENCE_SAMPLES = 1024
SILENCE_RMS = 1e-5


@dataclass(frozen=True)
class Reference:
    """A reference voice as the sampler takes it.

    Attributes:
        mel: natural logarithm of the mel magnitudes, float32 tensor ``[1 + samples // 256, 100]``.
        frames: whole hops in the reference, ``samples // 256``; generated frames begin here.
        gain: factor for the generated sound, in (0, 1].
    """

    mel: Any
    frames: int
    gain: float


@lru_cache(maxsize=1)
def _mel_spec() -> Any:
    return upstream.load().MelSpec(mel_spec_type="vocos")


def log_mel(samples: NDArray[np.float32]) -> Any:
    """Log-mel frames of mono sound at 24 kHz: float32 ``[samples]`` to a tensor ``[1 + samples // 256, 100]``."""
    import torch

    # Not `inference_mode`: upstream keeps what it makes here, and nobody could learn through it in this process any more.
    with torch.no_grad():
        mel = _mel_spec()(torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))[None])
    return mel[0].T.contiguous()


def prepare_reference(samples: NDArray[np.float32]) -> Reference:
    """Level a reference and take its mel frames.

    Args:
        samples: mono sound at 24 kHz, float32 ``[n]`` in [-1, 1], n at least 1024 (one window).

    Raises:
        InvalidItemError: too short, silent, or not finite.
    """
    if samples.ndim != 1 or len(samples) < MIN_REFERENCE_SAMPLES:
        raise InvalidItemError("The reference audio is too short.", {"field": "reference_audio"})
    if not np.isfinite(samples).all():
        raise InvalidItemError("The reference audio holds values that are not numbers.", {"field": "reference_audio"})
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    if rms < SILENCE_RMS:
        raise InvalidItemError("The reference audio is silent.", {"field": "reference_audio"})
    gain = 1.0
    if rms < TARGET_RMS:
        gain = rms / TARGET_RMS
        samples = (samples / np.float32(gain)).astype(np.float32)
    return Reference(mel=log_mel(samples), frames=len(samples) // HOP_LENGTH, gain=gain)


def shorten(reference: Reference, frames: int | None) -> Reference:
    """A reference of at most ``frames`` frames, cut at its quietest frame past two thirds of them; as it is where it is short enough."""
    if frames is None or reference.frames <= frames:
        return reference
    earliest = frames * 2 // 3
    end = earliest + int(reference.mel[earliest:frames].mean(dim=1).argmin())
    return Reference(mel=reference.mel[: end + 1], frames=end, gain=reference.gain)
