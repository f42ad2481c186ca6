from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.effects import Gain, RunningLoudness, apply_gain, loudness_gain
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


@pytest.mark.parametrize(("loudness", "gain_db"), [(-16, 0), (-20, 4), (-10, -6), (-60, 20), (-69, 20), (-70, 0)])
def test_the_gain_to_a_loudness(loudness: float, gain_db: float) -> None:
    """Never more than 20 dB, lest noise gets loud; what is silent stays so."""
    assert 20 * np.log10(loudness_gain(loudness, -16.0)) == pytest.approx(gain_db, abs=1e-6)


def running(sound: Samples, target: float, volume: float = 1.0, block: int = RATE) -> Samples:
    level = RunningLoudness(RATE, target, volume)
    blocks = [level.process(sound[start : start + block]) for start in range(0, len(sound), block)]
    return np.concatenate([*blocks, level.flush()])


@pytest.mark.parametrize(("target", "volume"), [(-30.0, 1.0), (-23.0, 1.0), (-20.0, 0.5), (-23.0, 2.0)])
def test_a_listener_hears_about_the_loudness(target: float, volume: float) -> None:
    sound = babble(RATE, 6)
    heard = running(sound, target, volume)
    assert len(heard) == len(sound)
    assert integrated_loudness(heard, RATE) == pytest.approx(target + 20 * np.log10(volume), abs=1.0)
    assert true_peak(heard) <= -1.0


def test_a_listener_hears_no_step_where_the_level_changes() -> None:
    """The second block is ten times as loud as the first: what is known of the loudness jumps, the factor glides."""
    sound = np.concatenate([sine(200, RATE, 1, amplitude=0.02), sine(200, RATE, 1, amplitude=0.2)])
    heard = running(sound, -30.0)
    factor = (heard / np.where(np.abs(sound) > 0.005, sound, np.inf))[RATE - 200 : RATE + 200]
    assert np.ptp(factor[factor > 0]) < 0.05 * factor.max()
    assert heard[RATE // 2 : RATE].max() > 1.5 * sound[:RATE].max(), "the first block was raised"
    assert heard[-RATE // 8 :].max() < sound.max(), "the second one was not"


def test_a_listener_of_silence_hears_silence() -> None:
    assert not running(np.zeros(3 * RATE, np.float32), -16.0).any()


@pytest.mark.parametrize("volume", [-0.1, float("nan"), float("inf")])
def test_arguments(volume: float) -> None:
    with pytest.raises(ValueError, match="volume"):
        Gain(RATE, volume)
