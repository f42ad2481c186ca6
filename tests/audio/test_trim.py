from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.trim import pauses, trim, trim_bounds
from tests.audio.sounds import noise, sine

RATE = 16_000


def spoken(*seconds: float) -> np.ndarray:
    """Silence and tone by turns, over faint noise."""
    parts = [sine(200, RATE, s) if i % 2 else np.zeros(round(RATE * s), np.float32) for i, s in enumerate(seconds)]
    sound = np.concatenate(parts)
    return (sound + noise(RATE, len(sound) / RATE, rms=1e-4)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.2, 1), st.floats(0.3, 1), st.floats(0.2, 1), st.floats(0, 0.15))
def test_trim_keeps_the_sound_and_its_margin(before: float, tone: float, after: float, margin: float) -> None:
    sound = spoken(before, tone, after)
    start, end = trim_bounds(sound, RATE, margin)
    assert start / RATE == pytest.approx(before - margin, abs=0.03)
    assert end / RATE == pytest.approx(before + tone + margin, abs=0.03)
    assert start <= before * RATE + 1
    assert end >= (before + tone) * RATE - 1
    np.testing.assert_array_equal(trim(sound, RATE, margin), sound[start:end])


def test_trim_of_silence_is_empty() -> None:
    assert len(trim(np.zeros(RATE, np.float32), RATE)) == 0
    assert len(trim(np.zeros(0, np.float32), RATE)) == 0


def test_trim_leaves_a_sound_without_silence_alone() -> None:
    sound = sine(200, RATE, 1)
    assert len(trim(sound, RATE)) == len(sound)


def test_pauses_are_found_in_order() -> None:
    found = pauses(spoken(0.5, 1, 0.3, 1, 0.1, 0.5, 0.4), RATE, min_s=0.2)
    assert [end - start for start, end in found] == pytest.approx([0.5, 0.3, 0.4], abs=0.05)
    assert found[1] == pytest.approx((1.5, 1.8), abs=0.03)


def test_silence_is_one_pause_and_a_tone_none() -> None:
    assert pauses(np.zeros(RATE, np.float32), RATE, 0.2) == [(0.0, 1.0)]
    assert pauses(sine(200, RATE, 1), RATE, 0.2) == []
    assert pauses(np.zeros(0, np.float32), RATE, 0.2) == []


def test_arguments() -> None:
    with pytest.raises(ValueError, match="min_s"):
        pauses(np.zeros(10, np.float32), RATE, 0)
    with pytest.raises(ValueError, match="margin_s"):
        trim(np.zeros(10, np.float32), RATE, -1)
