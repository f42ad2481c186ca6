from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audio.errors import InvalidAudio
from audio.pcm import decibels, float_to_pcm16, pcm16_to_float


@given(arrays(np.float32, st.integers(0, 200), elements=st.floats(-3, 3, width=32)))
def test_round_trip_is_the_clipped_sound_within_half_a_step(samples: np.ndarray) -> None:
    back = pcm16_to_float(float_to_pcm16(samples))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, np.clip(samples, -1, 1), atol=0.5001 / 32767)


@given(st.binary(max_size=200).filter(lambda data: len(data) % 2 == 0 and b"\x00\x80" not in data))
def test_bytes_come_back_exactly(data: bytes) -> None:
    assert float_to_pcm16(pcm16_to_float(data)) == data


def test_bounds() -> None:
    assert float_to_pcm16(np.array([1.0, -1.0, 7.0, -7.0, 0.0])) == np.array([32767, -32767, 32767, -32767, 0], "<i2").tobytes()
    assert pcm16_to_float(np.array([-32768], "<i2").tobytes())[0] == -1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(InvalidAudio):
        float_to_pcm16(np.array([0.0, bad]))


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(InvalidAudio):
        pcm16_to_float(b"\0\0\0")


def test_decibels_of_silence_are_finite() -> None:
    assert decibels(0.0, -120) == -120
    assert decibels(1e-30, -120) == -120
    assert decibels(100.0, -120) == pytest.approx(20)
