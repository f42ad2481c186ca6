"""What can be measured about a voice recording, and one score made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.activity import active_frames, active_spans, frame_levels, frame_sizes
from audio.loudness import integrated_loudness, sample_peak
from audio.pcm import Samples, mono

MAX_SNR_DB = 100.0
MIN_SNR_DB = -20.0
_PAUSE_DEPTH_DB = 10.0
_BANDWIDTH_RANGE_DB = 60.0
_WEIGHTS = {"snr": 0.35, "clipping": 0.2, "speech": 0.15, "loudness": 0.15, "bandwidth": 0.15}


@dataclass(frozen=True)
class Inspection:
    """Measurements of one recording; every number is finite.

    Attributes:
        duration_s: seconds.
        sample_rate: Hz.
        snr_db: see `signal_to_noise`.
        clipping_ratio: see `clipping_ratio`.
        speech_ratio: see `speech_ratio`.
        loudness_lufs: integrated loudness, ITU-R BS.1770-5; -70 for silence.
        peak_dbfs: largest sample; -120 for silence.
        bandwidth_hz: see `bandwidth`.
        quality_score: 0 to 1, the weighted geometric mean of `quality_parts`.
        quality_parts: "snr", "clipping", "speech", "loudness" and "bandwidth", each 0 to 1; see `quality`.
    """

    duration_s: float
    sample_rate: int
    snr_db: float
    clipping_ratio: float
    speech_ratio: float
    loudness_lufs: float
    peak_dbfs: float
    bandwidth_hz: float
    quality_score: float
    quality_parts: dict[str, float]


def inspect(samples: NDArray[np.floating], rate: int) -> Inspection:
    """Measure mono samples of shape (n,)."""
    samples = mono(samples)
    snr, clipped, speech = signal_to_noise(samples, rate), clipping_ratio(samples), speech_ratio(samples, rate)
    loudness, band = integrated_loudness(samples, rate), bandwidth(samples, rate)
    parts = quality(snr, clipped, speech, loudness, band)
    score = float(np.prod([parts[name] ** weight for name, weight in _WEIGHTS.items()]))
    return Inspection(len(samples) / rate, rate, snr, clipped, speech, loudness, sample_peak(samples), band, score, parts)


def quality(snr_db: float, clipped: float, speech: float, loudness_lufs: float, bandwidth_hz: float) -> dict[str, float]:
    """Parts of the quality score, each rising linearly from 0 to 1 between two bounds that were chosen for voice cloning:

    SNR 0 to 35 dB; clipping 1 % of the samples down to none; half of the time or more is speech; loudness -50 to -30 LUFS;
    bandwidth 0 to 7 kHz (wideband telephony, ITU-T G.722).
    """
    parts = {
        "snr": snr_db / 35,
        "clipping": 1 - clipped / 0.01,
        "speech": speech / 0.5,
        "loudness": (loudness_lufs + 50) / 20,
        "bandwidth": bandwidth_hz / 7000,
    }
    return {name: float(np.clip(value, 0.0, 1.0)) for name, value in parts.items()}


def signal_to_noise(samples: NDArray[np.floating], rate: int) -> float:
    """Estimated ratio of signal to noise power in dB, between -20 and 100.

    The noise is what remains in the quietest tenth of the frames, as in minimum statistics (Martin, "Noise power spectral density
    estimation based on optimal smoothing and minimum statistics", IEEE TSAP 9(5), 2001), the signal is the power of the active frames
    less the noise. Where the level never falls by 10 dB, the quiet frames hold signal too; the noise is then the running median of
    their mean spectrum, which passes over the lines of a voiced or tonal sound. Estimates above about 50 dB mean "clean" and little more.
    Silence has no signal and gives -20.
    """
    frame, hop = frame_sizes(rate)
    samples = mono(samples)
    if len(samples) < 4 * frame:
        return MIN_SNR_DB
    levels = frame_levels(samples, rate)[: (len(samples) - frame) // hop + 1]
    active = active_frames(samples, rate)[: len(levels)]
    if not active.any():
        return MIN_SNR_DB
    quiet = np.argsort(levels, kind="stable")[: max(1, len(levels) // 10)]
    total = float(np.mean(10 ** (levels[active] / 10)))
    noise = float(np.mean(10 ** (levels[quiet] / 10)))
    if 10 * np.log10(total / noise) < _PAUSE_DEPTH_DB:
        noise = _steady_noise(samples, quiet * hop, frame)
    ratio = max(total - noise, 0.0) / max(noise, 1e-12)
    return float(np.clip(10 * np.log10(max(ratio, 1e-12)), MIN_SNR_DB, MAX_SNR_DB))


def clipping_ratio(samples: NDArray[np.floating]) -> float:
    """Share of the samples, 0 to 1, that lie in flat tops: three or more equal samples in a row near the signal's own extreme.

    Near means within 5 % of the largest magnitude, which must be at least 0.5. Equality instead of a threshold at full scale finds
    clipping that was turned down afterwards and leaves a sound alone that only touches full scale (compare Laguna and Lerch, "An
    efficient algorithm for clipping detection and declipping audio", AES 141, 2016). Lossy coding blurs flat tops and hides them.
    """
    samples = mono(samples)
    peak = float(np.abs(samples).max(initial=0.0))
    if len(samples) < 3 or peak < 0.5:
        return 0.0
    equal = (samples[1:] == samples[:-1]) & (np.abs(samples[1:]) >= 0.95 * peak)
    twice = equal[1:] & equal[:-1]
    flat = np.zeros(len(samples), dtype=np.bool_)
    for shift in range(3):
        flat[shift : len(samples) - 2 + shift] |= twice
    return float(flat.mean())


def speech_ratio(samples: NDArray[np.floating], rate: int) -> float:
    """Share of the time, 0 to 1, that an energy-based detector takes for speech; gaps up to 0.2 s count as speech."""
    return sum(end - start for start, end in active_spans(samples, rate)) / len(samples) if len(samples) else 0.0


def bandwidth(samples: NDArray[np.floating], rate: int) -> float:
    """Highest frequency in Hz that carries sound: where the long-term average spectrum last lies within 60 dB of its maximum.

    Welch's method with a Hann window of 1024 points at 24 kHz (about 23 Hz a bin at any rate); silence gives 0.
    """
    spectrum, width = _mean_spectrum(mono(samples), rate)
    loudest = spectrum.max(initial=0.0)
    if loudest <= 1e-14:
        return 0.0
    above = np.flatnonzero(spectrum >= loudest * 10 ** (-_BANDWIDTH_RANGE_DB / 10))
    return float(min(rate / 2, above[-1] * width))


def waveform_peaks(samples: NDArray[np.floating], n: int) -> Samples:
    """Largest magnitude in each of `n` equal stretches, for drawing; shape (n,), zeros for an empty sound."""
    if n < 1:
        raise ValueError("n must be positive")
    samples = mono(samples)
    if not len(samples):
        return np.zeros(n, dtype=np.float32)
    return np.maximum.reduceat(np.abs(samples), np.arange(n) * len(samples) // n)


def _steady_noise(samples: Samples, starts: NDArray[np.integer], frame: int) -> float:
    """Mean power of the broadband part of the frames at `starts`, in the unit of a mean square."""
    window = np.hanning(frame + 2)[1:-1]
    frames = samples[starts[:, None] + np.arange(frame)] * window
    power = np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0) / np.sum(window**2) / frame
    width = max(3, len(power) // 10) | 1
    padded = np.pad(power, width // 2, mode="reflect")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=-1)
    return float(2 * np.sum(smooth))


def _mean_spectrum(samples: Samples, rate: int) -> tuple[NDArray[np.float64], float]:
    """Power spectrum averaged over the sound, with the width of a bin in Hz."""
    size = 1 << max(6, round(np.log2(1024 * rate / 24_000)))
    window = np.hanning(size + 2)[1:-1]
    total = np.zeros(size // 2 + 1)
    samples = np.pad(samples, (0, max(0, size - len(samples))))
    for start in range(0, len(samples) - size + 1, size // 2):
        total += np.abs(np.fft.rfft(samples[start : start + size] * window)) ** 2
    return total / np.sum(window) ** 2, rate / size
