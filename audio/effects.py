"""What is done to finished speech: pitch, volume behind a true-peak limiter, loudness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audio.loudness import SILENCE_LUFS, TAPS, LoudnessMeter, oversampled_peaks
from audio.pcm import Samples, mono
from audio.pitch import pitch_shift

__all__ = ["CEILING_DBTP", "Gain", "RunningLoudness", "apply_gain", "loudness_gain", "pitch_shift"]

CEILING_DBTP = -1.0
MAX_LOUDNESS_GAIN_DB = 20.0
_MARGIN_DB = 0.1
_LOOK_AHEAD_S = 0.005
_HOLD_S = 0.040
_MIN_BLOCK = 4096


class Gain:
    """Streaming volume with a look-ahead true-peak limiter behind it.

    The limiter turns the sound down, smoothly over 5 ms and before the peak comes, where its true peak (four times oversampled,
    ITU-R BS.1770-5 annex 2) would pass the ceiling, and stays down for 40 ms, longer than a period of a low voice. Elsewhere the sound is
    multiplied by the volume and nothing else. The blocks out, joined, do not depend on how the sound was cut into blocks, and have as many
    samples as went in; up to 4096 samples and 50 ms come late.
    """

    def __init__(self, rate: int, volume: float = 1.0, ceiling_dbtp: float = CEILING_DBTP) -> None:
        """`volume` is a linear factor from 0 to 2 in the product; any factor that is not negative is taken here."""
        if rate <= 0 or not np.isfinite(volume) or volume < 0:
            raise ValueError("the rate must be positive and the volume must not be negative")
        self._volume = np.float32(volume)
        # The interpolation between samples sees the signal before the gain moves; the margin pays for its movement.
        self._ceiling = 10 ** ((ceiling_dbtp - _MARGIN_DB) / 20)
        self._attack, self._hold = max(1, round(_LOOK_AHEAD_S * rate)), round(_HOLD_S * rate)
        self._before = self._attack + self._hold + TAPS
        self._after = self._attack + TAPS
        window = np.hanning(self._attack + 3)[1:-1]
        self._smoother = window / window.sum()
        self._buffer = np.zeros(self._before, dtype=np.float32)

    def process(self, block: NDArray[np.floating]) -> Samples:
        """What is ready after taking `block`, which may be nothing yet."""
        self._buffer = np.concatenate([self._buffer, mono(block) * self._volume])
        ready = len(self._buffer) - self._before - self._after
        if ready < _MIN_BLOCK:
            return np.zeros(0, dtype=np.float32)
        return self._emit(ready)

    def flush(self) -> Samples:
        """The rest. Nothing may be processed afterwards."""
        ready = len(self._buffer) - self._before
        self._buffer = np.concatenate([self._buffer, np.zeros(self._after, dtype=np.float32)])
        return self._emit(ready)

    def _emit(self, count: int) -> Samples:
        """The next `count` samples; keeps as much of the past as their successors need."""
        reduction = 1 - np.minimum(1.0, self._ceiling / np.maximum(oversampled_peaks(self._buffer), 1e-9))
        held = _running_max(reduction, self._hold + self._attack + 1)
        # held[j] covers reduction[j : j + hold + attack + 1]: from `hold` samples before a sample to `attack` behind it
        smooth = np.convolve(held, self._smoother, mode="valid") if held.any() else np.zeros(len(held) - self._attack)
        first = self._before - self._hold - self._attack
        gain = 1 - smooth[first : first + count]
        out = self._buffer[self._before : self._before + count] * gain.astype(np.float32)
        self._buffer = self._buffer[count:]
        return out


def apply_gain(samples: NDArray[np.floating], rate: int, volume: float, ceiling_dbtp: float = CEILING_DBTP) -> Samples:
    """`Gain` on a whole sound: same length, true peak at most `ceiling_dbtp`."""
    gain = Gain(rate, volume, ceiling_dbtp)
    return np.concatenate([gain.process(samples), gain.flush()])


def loudness_gain(loudness_lufs: float, target_lufs: float) -> float:
    """The factor that brings a sound to a loudness, but at most 20 dB up, lest noise is what gets loud. Silence stays as it is."""
    if loudness_lufs <= SILENCE_LUFS:
        return 1.0
    return float(10 ** (min(target_lufs - loudness_lufs, MAX_LOUDNESS_GAIN_DB) / 20))


class RunningLoudness:
    """Brings sound to a loudness while it is heard, by what is known of it so far; the volume comes on top, the limiter behind.

    The first block tells most of it, and speech of one voice changes little afterwards. From one block to the next the factor glides.
    The blocks out have as many samples as went in, some of them late, as with `Gain`.
    """

    def __init__(self, rate: int, target_lufs: float, volume: float = 1.0) -> None:
        self._meter = LoudnessMeter(rate)
        self._gain = Gain(rate, volume)
        self._target = target_lufs
        self._factor: float | None = None

    def process(self, block: NDArray[np.floating]) -> Samples:
        """What is ready after taking `block`, which may be nothing yet."""
        block = mono(block)
        self._meter.add(block)
        factor = loudness_gain(self._meter.integrated, self._target)
        glide = np.linspace(factor if self._factor is None else self._factor, factor, len(block), dtype=np.float32)
        if len(block):
            self._factor = factor
        return self._gain.process(block * glide)

    def flush(self) -> Samples:
        """The rest. Nothing may be processed afterwards."""
        return self._gain.flush()


def _running_max(values: NDArray[np.floating], width: int) -> NDArray[np.floating]:
    """Largest of each `width` values in a row, shape (n - width + 1,), in log2(width) passes."""
    have = 1
    while have < width:
        step = min(have, width - have)
        values = np.maximum(values[:-step], values[step:])
        have += step
    return values
