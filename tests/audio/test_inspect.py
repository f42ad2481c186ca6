from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audio.inspect import bandwidth, clipping_ratio, inspect, signal_to_noise, speech_ratio, waveform_peaks
from audio.resample import resample
from tests.audio.sounds import Samples, babble, noise, rms, sine, vowel

RATE = 24_000


def noisy(signal: Samples, power: float, snr_db: float) -> Samples:
    return signal + noise(RATE, len(signal) / RATE, rms=float(np.sqrt(power / 10 ** (snr_db / 10))))


@pytest.mark.parametrize("snr", [0, 5, 10, 20, 30, 40])
def test_snr_of_a_tone_that_never_stops(snr: float) -> None:
    tone = sine(440, RATE, 4, amplitude=0.3)
    assert signal_to_noise(noisy(tone, 0.045, snr), RATE) == pytest.approx(snr, abs=1)


@pytest.mark.parametrize("snr", [0, 5, 10, 20, 30, 40])
@pytest.mark.parametrize("voice", [sine(440, RATE, 4, amplitude=0.3), vowel(120, RATE, 4)], ids=["tone", "vowel"])
def test_snr_of_a_voice_with_pauses(voice: Samples, snr: float) -> None:
    spoken = voice * (np.arange(len(voice)) / RATE % 1 < 0.7)
    assert signal_to_noise(noisy(spoken, rms(voice) ** 2, snr), RATE) == pytest.approx(snr, abs=1.5)


def test_snr_bounds() -> None:
    assert signal_to_noise(np.zeros(RATE, np.float32), RATE) == -20
    assert signal_to_noise(noise(RATE, 3), RATE) < 0
    assert signal_to_noise(sine(440, RATE, 2) * (np.arange(2 * RATE) % RATE < RATE // 2), RATE) > 60
    assert signal_to_noise(np.zeros(3, np.float32), RATE) == -20


@pytest.mark.parametrize("drive", [1.1, 1.5, 3.0])
@pytest.mark.parametrize("level", [1.0, 0.6])
def test_clipping_of_a_sine(drive: float, level: float) -> None:
    clipped = level * np.clip(sine(440, RATE, 2, amplitude=drive), -1, 1)
    assert clipping_ratio(clipped) == pytest.approx(2 * math.acos(1 / drive) / math.pi, abs=0.02)


def test_no_clipping_where_there_is_none() -> None:
    for sound in (sine(440, RATE, 1, amplitude=1), sine(100, 48_000, 1, amplitude=1), noise(RATE, 1), np.zeros(RATE, np.float32)):
        assert clipping_ratio(np.rint(sound * 32767) / 32767) == 0


def test_speech_ratio() -> None:
    spoken = sine(300, RATE, 4) * (np.arange(4 * RATE) / RATE % 2 < 1) + noise(RATE, 4, rms=0.001)
    assert speech_ratio(spoken, RATE) == pytest.approx(0.5, abs=0.03)
    assert speech_ratio(np.zeros(RATE, np.float32), RATE) == 0
    assert speech_ratio(noise(RATE, 1, rms=1e-4), RATE) == 0


def test_short_closures_count_as_speech() -> None:
    stops = sine(300, RATE, 4) * (np.arange(4 * RATE) / RATE % 0.5 < 0.4) + noise(RATE, 4, rms=0.001)
    assert speech_ratio(stops, RATE) == pytest.approx(3.9 / 4, abs=0.02)


@pytest.mark.parametrize("cut", [4000, 8000, 16_000])
def test_bandwidth_of_what_was_recorded_at_a_lower_rate(cut: int) -> None:
    sound = resample(noise(cut, 3), cut, 44_100)
    assert bandwidth(sound, 44_100) == pytest.approx(cut / 2, rel=0.05)


def test_bandwidth_of_noise_is_all_there_is() -> None:
    assert bandwidth(noise(RATE, 2), RATE) == RATE / 2
    assert bandwidth(np.zeros(RATE, np.float32), RATE) == 0


def test_a_good_recording_scores_high_and_each_flaw_lowers_it() -> None:
    good = babble(RATE)
    score = inspect(good, RATE).quality_score
    assert score > 0.85
    flaws = {
        "snr": good + noise(RATE, 4, rms=0.02),
        "clipping": np.clip(good * 12, -1, 1),
        "speech": np.concatenate([good, noise(RATE, 20, rms=1e-4)]),
        "loudness": good * 0.03,
        "bandwidth": resample(resample(good, RATE, 8000), 8000, RATE),
    }
    whole = inspect(good, RATE)
    for part, sound in flaws.items():
        flawed = inspect(sound, RATE)
        assert flawed.quality_parts[part] < whole.quality_parts[part] - 0.1, part
        assert flawed.quality_score < score - 0.02, part


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, st.integers(0, 3000), elements=st.floats(-1, 1, width=32)), st.sampled_from([8000, 24_000, 48_000]))
def test_every_measurement_is_finite(samples: np.ndarray, rate: int) -> None:
    for value in dataclasses.asdict(inspect(samples, rate)).values():
        numbers = value.values() if isinstance(value, dict) else [value]
        assert all(math.isfinite(number) for number in numbers)
    assert 0 <= inspect(samples, rate).quality_score <= 1


@given(arrays(np.float32, st.integers(1, 300), elements=st.floats(-1, 1, width=32)), st.integers(1, 400))
def test_waveform_peaks(samples: np.ndarray, n: int) -> None:
    peaks = waveform_peaks(samples, n)
    assert peaks.shape == (n,)
    if n <= len(samples):
        assert peaks.max() == np.abs(samples).max()
    assert set(peaks) <= set(np.abs(samples))


def test_waveform_peaks_of_nothing() -> None:
    assert waveform_peaks(np.zeros(0, np.float32), 5).tolist() == [0] * 5
    with pytest.raises(ValueError, match="positive"):
        waveform_peaks(np.zeros(3, np.float32), 0)
