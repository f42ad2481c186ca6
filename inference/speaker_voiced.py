"""Where in a recording a voice is: what the speaker encoder listens to. As resemblyzer does it, without its imports."""

from __future__ import annotations

import numpy as np

# What the module `webrtcvad` wraps; that one imports `pkg_resources`, which recent setuptools do not have.
from _webrtcvad import create, init, process, set_mode  # type: ignore[import-not-found]
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from inference.speaker_encoder import ENCODER_RATE

LEAST_RMS = 10 ** (-30 / 20)
SILENCE_RMS = 1e-9
WINDOW = ENCODER_RATE * 30 // 1000
"""Samples that the detector judges at a time."""
STRICTEST = 3
"""The detector's mode that least often takes noise for a voice."""


def level(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sound raised to an RMS of -30 dBFS; as it is where it is louder."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return samples * np.float32(max(1.0, LEAST_RMS / max(rms, SILENCE_RMS)))


def voiced(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The parts of mono sound at 16 kHz in which there is a voice, with up to 90 ms around each; whole windows of 30 ms."""
    windows = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    # Resampling overshoots full scale, where 16 bits would wrap around.
    pcm = np.round(np.clip(windows, -1, 1) * 32_767).astype("<i2")
    detector = create()
    init(detector)
    set_mode(detector, STRICTEST)
    heard = np.array([process(detector, ENCODER_RATE, window.tobytes(), WINDOW) for window in pcm], dtype=int)
    # More than half of eight windows, then whatever is near.
    steady = _around(heard, 3, 4) > 4
    return windows[_around(steady, 3, 3) > 0].reshape(-1)


def _around(flags: NDArray[np.int_] | NDArray[np.bool_], before: int, after: int) -> NDArray[np.int_]:
    """How many flags are up among each, those before it and those after it."""
    return sliding_window_view(np.pad(flags, (before, after)), before + 1 + after).sum(axis=1)
