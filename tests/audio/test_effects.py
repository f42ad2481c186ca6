from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.effects import Gain, apply_gain, normalize_loudness
from audio.loudness import integrated_loudness, true_peak
from tests.audio.sounds import Samples, babble, noise, sine

RATE = 24_000
CEILING = 10 ** (-1 / 20)


def bursts(seed: int, seconds: float = 0.5) -> Samples:
    """Noise whose level jumps about."""
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.choice([0.01, 0.2, 1.0], 25), round(RATE * seconds / 25))
    return (levels * rng.uniform(-1, 1, len(levels))).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 2))
def test_true_peak_stays_under_the_ceiling(seed: int, volume: float) -> None:
    sound = bursts(seed)
    limited = apply_gain(sound, RATE, volume)
    assert limited.shape == sound.shape
    assert true_peak(limited) <= -1.0


@pytest.mark.parametrize("hz", [50, 440, 3000, 6000, 8000])
def test_true_peak_of_tones_by_another_interpolator(hz: float) -> None:
    limited = apply_gain(sine(hz, RATE, 0.5, amplitude=1, phase=0.7), RATE, 2.0)
    fine = soxr.resample(limited, RATE, 8 * RATE, quality="VHQ")
    assert np.abs(fine[4000:-4000]).max() <= CEILING + 1e-3


def test_between_samples_counts() -> None:
    """Samples at 0.88 lie under the ceiling, the curve through them at 1.25 does not."""
    sound = sine(RATE / 4, RATE, 0.5, amplitude=1.25, phase=np.pi / 4)
    assert np.abs(sound).max() < CEILING
    assert true_peak(apply_gain(sound, RATE, 1.0)) <= -1.0


@pytest.mark.parametrize("volume", [0.0, 0.5, 1.0, 2.0])
def test_below_the_ceiling_it_is_a_multiplication(volume: float) -> None:
    sound = noise(RATE, 1, rms=0.05)
    np.testing.assert_array_equal(apply_gain(sound, RATE, volume), sound * np.float32(volume))


def test_the_gain_comes_back_after_a_peak_and_moves_before_it() -> None:
    sound = sine(200, RATE, 1, amplitude=0.3)
    sound[RATE // 2] = 3.0
    gain = apply_gain(sound, RATE, 1.0) / np.where(sound == 0, 1, sound)
    moved = np.flatnonzero(np.abs(gain - 1) > 1e-3)
    moved = moved[np.abs(sound[moved]) > 0.01]
    assert RATE // 2 - moved.min() == pytest.approx(0.005 * RATE, abs=40)
    assert moved.max() - RATE // 2 == pytest.approx(0.045 * RATE, abs=40)


def test_the_gain_has_no_steps() -> None:
    """The limited sine's curve is as smooth as the sine's: no clicks where the limiter sets in."""
    sound = np.concatenate([sine(200, RATE, 0.3, amplitude=0.5), sine(200, RATE, 0.3, amplitude=1), sine(200, RATE, 0.3, amplitude=0.5)])
    limited = apply_gain(sound, RATE, 2.0)
    assert np.abs(np.diff(limited)).max() <= np.abs(np.diff(sound)).max() * 2 + 1e-4
    assert np.abs(np.diff(limited, 2)).max() <= 2.5 * np.abs(np.diff(sound, 2)).max()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(0, 9000), max_size=6))
def test_blocks_give_what_the_whole_gives(seed: int, cuts: list[int]) -> None:
    sound = bursts(seed, 1.0)
    gain = Gain(RATE, 2.0)
    blocks = [gain.process(block) for block in np.split(sound, np.minimum(np.cumsum(cuts, dtype=int), len(sound)))]
    streamed = np.concatenate([*blocks, gain.flush()])
    assert len(streamed) == len(sound)
    np.testing.assert_allclose(streamed, apply_gain(sound, RATE, 2.0), atol=1e-5)


@pytest.mark.parametrize("length", [0, 1, 100])
def test_short_sounds(length: int) -> None:
    assert len(apply_gain(np.ones(length, np.float32), RATE, 2.0)) == length


@pytest.mark.parametrize("target", [-30.0, -23.0, -16.0])
def test_loudness_lands_on_the_target(target: float) -> None:
    assert integrated_loudness(normalize_loudness(babble(RATE), RATE, target), RATE) == pytest.approx(target, abs=0.5)


def test_loudness_leaves_silence_and_does_not_raise_noise() -> None:
    assert not normalize_loudness(np.zeros(RATE, np.float32), RATE).any()
    faint = noise(RATE, 1, rms=1e-3)
    assert integrated_loudness(normalize_loudness(faint, RATE, -16), RATE) == pytest.approx(integrated_loudness(faint, RATE) + 20, abs=0.1)


@pytest.mark.parametrize("volume", [-0.1, float("nan"), float("inf")])
def test_arguments(volume: float) -> None:
    with pytest.raises(ValueError, match="volume"):
        Gain(RATE, volume)
