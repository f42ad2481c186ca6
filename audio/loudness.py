"""Loudness and true peak after Recommendation ITU-R BS.1770-5."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from audio.pcm import Samples, decibels, mono

SILENCE_LUFS = -70.0
SILENCE_DBFS = -120.0
OVERSAMPLING = 4
TAPS = 24
_STEP_S, _STEPS_A_BLOCK = 0.1, 4
_OFFSET_DB = -0.691
_RELATIVE_GATE_LU = -10.0
_RESPONSE_S = 0.5


def integrated_loudness(samples: NDArray[np.floating], rate: int) -> float:
    """Integrated loudness of mono samples in LUFS; see :class:`LoudnessMeter`."""
    meter = LoudnessMeter(rate)
    meter.add(samples)
    return meter.integrated


class LoudnessMeter:
    """Integrated loudness of mono sound that comes block by block (BS.1770-5, annex 1).

    K-weighting, blocks of 400 ms that overlap by 75 %, an absolute gate at -70 LUFS and a relative one 10 LU below what passes it.
    A sound shorter than 400 ms is measured as one block. A 997 Hz sine at full scale measures -3.01 LUFS.
    Of the past it keeps one number for each 100 ms.
    """

    def __init__(self, rate: int) -> None:
        self._taps = _k_response(rate)
        self._step = max(1, round(_STEP_S * rate))
        self._history = np.zeros(0, dtype=np.float32)  # filtered already; the filter's memory
        self._waiting = np.zeros(0, dtype=np.float32)  # not filtered yet: a filter this long is cheap only for many samples at once
        self._open = np.zeros(0, dtype=np.float64)  # power of the samples of the step that has begun
        self._steps: list[float] = []  # sums of power

    def add(self, samples: NDArray[np.floating]) -> None:
        """Take the next samples."""
        self._waiting = np.concatenate([self._waiting, mono(samples)])
        if len(self._waiting) >= len(self._taps):
            self._filter()

    @property
    def integrated(self) -> float:
        """LUFS of all that was added, not below -70, the absolute gate."""
        self._filter()
        steps = np.array(self._steps)
        if len(steps) >= _STEPS_A_BLOCK:
            blocks = np.lib.stride_tricks.sliding_window_view(steps, _STEPS_A_BLOCK).sum(axis=1) / (_STEPS_A_BLOCK * self._step)
        else:
            count = len(steps) * self._step + len(self._open)
            blocks = np.array([(steps.sum() + self._open.sum()) / max(1, count)])
        loud = blocks[blocks > _power(SILENCE_LUFS)]
        if not len(loud):
            return SILENCE_LUFS
        loud = loud[loud > loud.mean() * 10 ** (_RELATIVE_GATE_LU / 10)]
        return decibels(float(loud.mean()), SILENCE_LUFS - _OFFSET_DB) + _OFFSET_DB

    def _filter(self) -> None:
        fresh, self._waiting = self._waiting, np.zeros(0, dtype=np.float32)
        before = len(self._history)
        both = np.concatenate([self._history, fresh])
        weighted = convolve(both, self._taps)[before : len(both)]
        self._history = both[max(0, len(both) - len(self._taps) + 1) :]
        power = np.concatenate([self._open, np.square(weighted, dtype=np.float64)])
        whole = len(power) // self._step * self._step
        self._steps += power[:whole].reshape(-1, self._step).sum(axis=1).tolist()
        self._open = power[whole:]


def k_weighted(samples: NDArray[np.floating], rate: int) -> Samples:
    """The samples through the K-weighting filter, delay-free, same shape.

    The impulse response dies out within half a second, so that it is applied as a finite one: numpy has no recursive filter.
    """
    return convolve(samples, _k_response(rate))[: len(samples)]


def convolve(samples: NDArray[np.floating], taps: NDArray[np.floating]) -> Samples:
    """Full convolution, shape (n + len(taps) - 1,), by overlap-add: memory beyond the result does not grow with n."""
    samples = mono(samples)
    out = np.zeros(len(samples) + len(taps) - 1, dtype=np.float32)
    size = 1 << (4 * len(taps) - 1).bit_length()
    step = size - len(taps) + 1
    spectrum = np.fft.rfft(taps, size)
    for start in range(0, len(samples), step):
        part = np.fft.irfft(np.fft.rfft(samples[start : start + step], size) * spectrum, size)
        end = min(len(out), start + size)
        out[start:end] += part[: end - start]
    return out


def oversampled_peaks(samples: NDArray[np.floating]) -> Samples:
    """Largest magnitude of the signal at and right after each sample, at four times the sample rate, shape (n,).

    The interpolator is a Kaiser-windowed sinc of 24 taps a phase, twice as long as the one printed in BS.1770-5, annex 2. Outside of the
    array the signal is taken as 0.
    """
    samples = mono(samples)
    peaks = np.abs(samples)
    if not len(samples):
        return peaks
    half = TAPS // 2
    for phase in _interpolator():
        between = convolve(samples, phase)[half : half + len(samples)] if len(samples) > 1 else samples
        np.maximum(peaks, np.abs(between), out=peaks)
    return peaks


def true_peak(samples: NDArray[np.floating]) -> float:
    """True peak in dBTP, oversampled four times, not below -120."""
    peak = float(oversampled_peaks(samples).max(initial=0.0))
    return decibels(peak * peak, SILENCE_DBFS)


def sample_peak(samples: NDArray[np.floating]) -> float:
    """Largest sample in dBFS, not below -120."""
    peak = float(np.abs(samples).max(initial=0.0))
    return decibels(peak * peak, SILENCE_DBFS)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET_DB) / 10))


@cache
def _interpolator() -> list[NDArray[np.float64]]:
    """Taps of the three phases between samples, each of sum 1; convolved with a signal they delay it by TAPS // 2 - phase / 4 samples."""
    phases = []
    half = TAPS // 2
    for phase in range(1, OVERSAMPLING):
        # tap k reads sample i + half - k; its distance from the point i + phase / 4 is half - k - phase / 4
        distance = half - np.arange(TAPS) - phase / OVERSAMPLING
        window = np.i0(9.0 * np.sqrt(np.clip(1 - (distance / half) ** 2, 0, None))) / np.i0(9.0)
        taps = np.sinc(distance) * window
        phases.append(taps / taps.sum())
    return phases


@lru_cache(maxsize=8)  # any sample rate may be uploaded
def _k_response(rate: int) -> NDArray[np.float64]:
    """Impulse response of the K-weighting at any sample rate, shape (rate / 2,).

    BS.1770 prints coefficients for 48 kHz alone. They are two analogue prototypes through the bilinear transform, a high shelf at
    1682 Hz and a high pass at 38 Hz, whose parameters (De Man, "Evaluation of Implementations of the EBU R128 Loudness Measurement",
    AES 145, 2018) give those coefficients back at 48 kHz.
    """
    size = 1 << (2 * rate - 1).bit_length()
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = np.ones_like(z)
    for b, a in (_shelf(rate), _high_pass(rate)):
        response *= (b[0] + b[1] * z + b[2] * z**2) / (a[0] + a[1] * z + a[2] * z**2)
    return np.fft.irfft(response, size)[: max(1, round(_RESPONSE_S * rate))]


def _shelf(rate: int) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    k, q = np.tan(np.pi * 1681.974450955533 / rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    b = (high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k)
    return b, (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k)


def _high_pass(rate: int) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    k, q = np.tan(np.pi * 38.13547087602444 / rate), 0.5003270373238773
    a = (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k)
    return (1.0, -2.0, 1.0), (1.0, a[1] / a[0], a[2] / a[0])
