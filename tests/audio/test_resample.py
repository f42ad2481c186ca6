from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.encode import SAMPLE_RATES
from audio.resample import Resampler, resample, to_mono
from tests.audio.sounds import loudest_hz, noise, rms, sine


@pytest.mark.parametrize("to_rate", SAMPLE_RATES)
def test_a_tone_stays_the_tone(to_rate: int) -> None:
    tone = resample(sine(1000, 24_000, 2), 24_000, to_rate)
    assert len(tone) == pytest.approx(2 * to_rate, abs=1)
    assert loudest_hz(tone, to_rate) == pytest.approx(1000, abs=1)
    assert rms(tone) == pytest.approx(0.5 / 2**0.5, rel=0.01)
    np.testing.assert_allclose(tone[1000:-1000], sine(1000, to_rate, 2)[1000 : len(tone) - 1000], atol=1e-3)


def test_what_a_lower_rate_cannot_hold_does_not_fold_down() -> None:
    assert rms(resample(sine(9000, 24_000, 1), 24_000, 16_000)[200:-200]) < 1e-3


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(SAMPLE_RATES),
    st.sampled_from(SAMPLE_RATES),
    st.lists(st.integers(0, 3000), max_size=8),
)
def test_streamed_blocks_are_the_whole(from_rate: int, to_rate: int, cuts: list[int]) -> None:
    sound = noise(from_rate, 0.3)
    resampler = Resampler(from_rate, to_rate)
    blocks = [resampler.process(block) for block in np.split(sound, np.minimum(np.cumsum(cuts, dtype=int), len(sound)))]
    np.testing.assert_allclose(np.concatenate([*blocks, resampler.flush()]), resample(sound, from_rate, to_rate), atol=1e-6)


def test_nothing_stays_nothing() -> None:
    assert len(resample(np.zeros(0, np.float32), 24_000, 48_000)) == 0


def test_arguments() -> None:
    with pytest.raises(ValueError, match="positive"):
        Resampler(0, 8000)
    with pytest.raises(ValueError, match="shape"):
        resample(np.zeros((10, 2), np.float32), 8000, 16_000)


def test_mono() -> None:
    stereo = np.array([[1, 0], [0.5, 0.5], [-1, 1]], np.float32)
    assert to_mono(stereo).tolist() == [0.5, 0.5, 0]
    assert to_mono(stereo[:, 0]).tolist() == [1, 0.5, -1]
    with pytest.raises(ValueError, match="shape"):
        to_mono(np.zeros((3, 0), np.float32))
