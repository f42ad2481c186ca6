"""Pitch shifting that keeps the duration and the formants: time-domain pitch-synchronous overlap-add (TD-PSOLA).

Grains of two periods are cut at pitch marks and laid down again at other distances (Moulines and Charpentier, "Pitch-synchronous waveform
processing techniques for text-to-speech synthesis using diphones", Speech Communication 9, 1990). The grains carry the shape of the vocal
tract, so that a voice keeps its character, where resampling would turn it into another one. It is made for one voice at a time.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from audio.pcm import Samples, mono

MIN_F0, MAX_F0 = 60.0, 500.0
_HOP_S = 0.005
_WINDOW_S = 0.04
_DIP = 0.15
_VOICED = 0.35
_UNVOICED_GRAIN_S = 0.005
_SILENCE_POWER = 1e-8


def pitch_shift(samples: NDArray[np.floating], rate: int, factor: float) -> Samples:
    """Multiply the pitch of a voice by `factor`, 0.5 to 2, and keep the number of samples, the formants and the level.

    Voiceless stretches come out as they went in. A factor of 1 returns the samples unchanged.

    Raises:
        ValueError: the factor is out of range.
    """
    if not 0.5 <= factor <= 2.0:
        raise ValueError(f"pitch factor {factor} is not within 0.5 and 2")
    samples = mono(samples)
    if factor == 1.0 or len(samples) < rate * _WINDOW_S:
        return samples.copy()
    marks, voiced = pitch_marks(samples, rate, fundamental(samples, rate))
    return _overlap_add(samples, marks, voiced, factor)


def fundamental(samples: NDArray[np.floating], rate: int) -> NDArray[np.float64]:
    """Fundamental frequency in Hz every 5 ms, 0 where the sound is voiceless; shape (n // hop + 1,).

    YIN without its last step (de Cheveigné and Kawahara, "YIN, a fundamental frequency estimator for speech and music", JASA 111, 2002),
    60 to 500 Hz, smoothed by a median over five frames against octave errors.
    """
    samples = mono(samples)
    hop, window, longest = round(_HOP_S * rate), round(_WINDOW_S * rate), int(rate / MIN_F0) + 2
    count = len(samples) // hop + 1
    half = (window + longest) // 2
    padded = np.pad(samples, (half, half + hop + longest)).astype(np.float64)
    track = np.zeros(count)
    for start in range(0, count, 256):  # in slices, so that memory does not grow with the sound
        at = np.arange(start, min(count, start + 256)) * hop
        frames = padded[at[:, None] + np.arange(window + longest)]
        track[start : start + len(at)] = _yin(frames, rate)
    wide = np.pad(track, 2, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(wide, 5), axis=-1)
    return np.where(track > 0, smooth, 0.0)


def _yin(frames: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Fundamental frequency of each row of frames, shape (m, window + longest lag)."""
    window, shortest = round(_WINDOW_S * rate), max(2, int(rate / MAX_F0))
    longest = frames.shape[1] - window
    size = 1 << (frames.shape[1] - 1).bit_length()
    head = np.fft.rfft(frames[:, :window], size)
    correlation = np.fft.irfft(np.conj(head) * np.fft.rfft(frames, size), size)[:, :longest]
    energy = np.cumsum(np.pad(frames**2, ((0, 0), (1, 0))), axis=1)
    shifted = energy[:, window : window + longest] - energy[:, :longest]
    difference = np.maximum(shifted[:, :1] + shifted - 2 * correlation, 0.0)
    running = np.cumsum(difference[:, 1:], axis=1) / np.arange(1, longest)
    normal = np.ones_like(difference)
    np.divide(difference[:, 1:], running, out=normal[:, 1:], where=running > 1e-12)
    inner = normal[:, shortest : longest - 1]
    lowest = (inner <= normal[:, shortest - 1 : longest - 2]) & (inner <= normal[:, shortest + 1 : longest])
    deep = lowest & (inner < _DIP)
    lag = shortest + np.where(deep.any(axis=1), deep.argmax(axis=1), inner.argmin(axis=1))
    rows = np.arange(len(frames))
    left, mid, right = normal[rows, lag - 1], normal[rows, lag], normal[rows, lag + 1]
    curve = left - 2 * mid + right
    offset = np.clip(np.divide(0.5 * (left - right), curve, out=np.zeros_like(curve), where=curve > 1e-12), -0.5, 0.5)
    voiced = (mid < _VOICED) & (energy[:, window] > _SILENCE_POWER * window)
    return np.where(voiced, rate / (lag + offset), 0.0)


def pitch_marks(samples: Samples, rate: int, f0: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Sample positions one period apart where the sound is voiced, 5 ms apart elsewhere, and which are voiced.

    The first mark is 0 and the last is n, the end of the sound. In a voiced stretch the first mark is the largest peak of its first period;
    each next one lies where the waveform around it looks most like that around the last, within a fifth of a period of where it is due.
    """
    hop, step = round(_HOP_S * rate), max(1, round(_UNVOICED_GRAIN_S * rate))
    marks, voiced = [0], [False]
    exact = 0.0  # the mark before it is rounded: periods are no whole numbers, and rounding each would drift along the waveform
    while True:
        at, pitch = marks[-1], f0[min(len(f0) - 1, marks[-1] // hop)]
        if pitch <= 0:
            exact = at + step
        elif voiced[-1]:
            exact += _period(samples, at, round(rate / pitch))
        else:
            exact = at + 1 + int(np.argmax(np.abs(samples[at + 1 : at + 1 + round(rate / pitch)]))) if at + 1 < len(samples) else at + 1
        if round(exact) >= len(samples):
            return np.array([*marks, len(samples)]), np.array([*voiced, False])
        marks.append(round(exact))
        voiced.append(bool(pitch > 0))


def _period(samples: Samples, at: int, expected: int) -> float:
    """Distance from mark `at` to the next, by a parabola through the best correlation and its neighbours."""
    half, reach = expected // 2, max(1, expected // 5)
    if at < half or at + expected + reach + half >= len(samples):
        return expected
    model = samples[at - half : at + half]
    scores = np.correlate(samples[at + expected - reach - half : at + expected + reach + half], model, mode="valid")
    best = int(np.argmax(scores))
    if not 0 < best < len(scores) - 1:
        return expected - reach + best
    left, mid, right = (float(score) for score in scores[best - 1 : best + 2])
    curve = left - 2 * mid + right
    return expected - reach + best + (0.5 * (left - right) / curve if curve < 0 else 0.0)


def _schedule(marks: NDArray[np.intp], voiced: NDArray[np.bool_], factor: float) -> list[tuple[int, int]]:
    """Where to lay which grain: (sample position, index of the mark). Voiceless grains stay in place."""
    placed: list[tuple[int, int]] = []
    edges = np.flatnonzero(np.diff(voiced.astype(np.int8))) + 1
    for run in np.split(np.arange(len(marks)), edges):
        if not voiced[run[0]]:
            placed += [(int(marks[i]), int(i)) for i in run]
            continue
        at, i = float(marks[run[0]]), int(run[0])
        while at <= marks[run[-1]]:
            while i < run[-1] and abs(marks[i + 1] - at) <= abs(marks[i] - at):
                i += 1
            placed.append((round(at), i))
            at += (marks[i + 1] - marks[i]) / factor
    return placed


def _overlap_add(samples: Samples, marks: NDArray[np.intp], voiced: NDArray[np.bool_], factor: float) -> Samples:
    """Sum the grains. Each reaches from the mark before to the mark behind its own, so that unmoved grains add up to the sound itself.

    As many grains as `factor` says lie in a voiced stretch; scaling each by 1 / sqrt(factor) keeps the power.
    """
    distances = np.diff(marks)
    left, right = np.concatenate([[0], distances]), np.concatenate([distances, [0]])
    margin = int(distances.max())
    padded = np.pad(samples, (margin, margin))
    out = np.zeros(len(padded))
    for at, i in _schedule(marks, voiced, factor):
        window = np.concatenate([_rise(int(left[i])), 1 - _rise(int(right[i]))])
        if voiced[i]:
            window /= np.sqrt(factor)
        source, target = margin + marks[i] - left[i], margin + at - left[i]
        out[target : target + len(window)] += padded[source : source + len(window)] * window
    return out[margin : margin + len(samples)].astype(np.float32)


@lru_cache(maxsize=512)
def _rise(length: int) -> NDArray[np.float64]:
    """First half of a Hann window: from 0 to just under 1."""
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(1, length))
