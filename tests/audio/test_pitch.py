from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audio.effects import pitch_shift
from audio.pitch import fundamental, pitch_marks
from tests.audio.sounds import Samples, noise, rms, vowel

RATE = 24_000


def median_f0(samples: Samples, rate: int) -> float:
    track = fundamental(samples, rate)
    return float(np.median(track[track > 0]))


def envelope_peak(samples: Samples, rate: int, low: float, high: float) -> float:
    """Centre of gravity, in Hz, of the power between two frequencies."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    hz = np.arange(len(power)) * rate / len(samples)
    band = (hz >= low) & (hz < high)
    return float(np.sum(hz[band] * power[band]) / np.sum(power[band]))


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
@pytest.mark.parametrize("f0", [80, 120, 220, 400])
def test_fundamental(f0: float, rate: int) -> None:
    track = fundamental(vowel(f0, rate, 1), rate)
    inner = track[10:-10]
    assert np.mean(np.abs(inner / f0 - 1) < 0.02) > 0.98


def test_marks_follow_the_waveform() -> None:
    """200 periods of 183.6 samples: marks that rounded each period would drift by 70 samples."""
    voice = vowel(130.7, RATE, 1.5)
    marks, voiced = pitch_marks(voice, RATE, fundamental(voice, RATE))
    inner = marks[voiced][3:-3]
    assert len(inner) > 150
    period = np.rint(RATE / 130.7 * np.arange(len(inner)))
    assert np.abs(inner - inner[0] - period).max() <= 3


def test_noise_and_silence_have_no_fundamental() -> None:
    assert np.mean(fundamental(noise(RATE, 1), RATE) > 0) < 0.05
    assert not fundamental(np.zeros(RATE, np.float32), RATE).any()


@pytest.mark.parametrize("factor", [0.5, 0.8, 0.95, 1.2, 1.5, 2.0])
@pytest.mark.parametrize("f0", [130, 200])
def test_the_pitch_moves_by_the_factor(f0: float, factor: float) -> None:
    voice = vowel(f0, RATE, 1)
    shifted = pitch_shift(voice, RATE, factor)
    assert len(shifted) == len(voice)
    assert median_f0(shifted, RATE) == pytest.approx(f0 * factor, rel=0.02)
    assert 20 * np.log10(rms(shifted) / rms(voice)) == pytest.approx(0, abs=3)


@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_the_formants_stay(factor: float) -> None:
    """Resampling would move the resonance at 1800 Hz to 1260 or 2700 Hz."""
    voice = vowel(110, RATE, 1, formants=(1800,))
    assert envelope_peak(voice, RATE, 1000, 3500) == pytest.approx(1800, rel=0.03)
    assert envelope_peak(pitch_shift(voice, RATE, factor), RATE, 1000, 3500) == pytest.approx(1800, rel=0.05)


@pytest.mark.parametrize("factor", [0.6, 0.8, 1.3, 1.8])
def test_every_formant_moves_far_less_than_the_pitch(factor: float) -> None:
    """In a vowel of three formants, by the centre of the power around each: a tenth of the way that the pitch goes, at most."""
    voice = vowel(110, RATE, 1)
    shifted = pitch_shift(voice, RATE, factor)
    moved = abs(median_f0(shifted, RATE) / median_f0(voice, RATE) - 1)
    assert moved == pytest.approx(abs(factor - 1), abs=0.02)
    for low, high in ((450, 950), (950, 1700), (2100, 3100)):
        before, after = envelope_peak(voice, RATE, low, high), envelope_peak(shifted, RATE, low, high)
        assert abs(after / before - 1) < 0.15 * moved, (before, after)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2.0])
def test_words_begin_and_end_when_they_did(factor: float) -> None:
    sound = np.zeros(2 * RATE, np.float32)
    words = [(0.2, 0.7), (1.1, 1.6)]
    for begin, end in words:
        sound[round(begin * RATE) : round(end * RATE)] = vowel(140, RATE, 1)[: round(end * RATE) - round(begin * RATE)]
    shifted = pitch_shift(sound, RATE, factor)
    # 10 ms is the mean of the power over one period of the lowest pitch
    loud = np.convolve(shifted.astype(np.float64) ** 2, np.ones(RATE // 200) / (RATE // 200), mode="same") > 1e-4
    for begin, end in words:
        heard = np.flatnonzero(loud[round((begin - 0.15) * RATE) : round((end + 0.15) * RATE)]) / RATE + begin - 0.15
        assert heard[0] == pytest.approx(begin, abs=0.010)
        assert heard[-1] == pytest.approx(end, abs=0.010)


def test_a_gliding_pitch_keeps_its_shape() -> None:
    hz = np.linspace(100, 180, 2 * RATE)
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    voice = (0.1 * sum(np.cos(k * phase) / k for k in range(1, 20))).astype(np.float32)
    before, after = fundamental(voice, RATE), fundamental(pitch_shift(voice, RATE, 1.25), RATE)
    ratio = (after / np.where(before > 0, before, 1))[20:-20]
    assert np.mean(np.abs(ratio - 1.25) < 0.06) > 0.95


@pytest.mark.parametrize("factor", [0.6, 1.7])
def test_voiceless_sound_stays_as_it_is(factor: float) -> None:
    hiss = noise(RATE, 1)
    voiceless = fundamental(hiss, RATE) == 0
    shifted = pitch_shift(hiss, RATE, factor)
    changed = np.abs(shifted - hiss) > 1e-6
    assert changed.mean() < 0.05 + 3 * np.mean(~voiceless)


def test_a_factor_of_one_changes_nothing() -> None:
    voice = vowel(120, RATE, 0.5)
    shifted = pitch_shift(voice, RATE, 1.0)
    np.testing.assert_array_equal(shifted, voice)
    assert shifted is not voice


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float32, st.integers(0, 4000), elements=st.floats(-1, 1, width=32)),
    st.floats(0.5, 2),
    st.sampled_from([8000, 24_000, 48_000]),
)
def test_the_length_never_changes(samples: np.ndarray, factor: float, rate: int) -> None:
    shifted = pitch_shift(samples, rate, factor)
    assert shifted.shape == samples.shape
    assert shifted.dtype == np.float32
    assert np.isfinite(shifted).all()


@pytest.mark.parametrize("factor", [0.49, 2.01, float("nan")])
def test_factors_out_of_range(factor: float) -> None:
    with pytest.raises(ValueError, match="factor"):
        pitch_shift(np.zeros(RATE, np.float32), RATE, factor)
