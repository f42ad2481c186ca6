from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.join import Joiner, Span, cross_fade
from tests.audio.sounds import Samples, noise, rms, sine

RATE = 24_000
FADE = 1200


def joined(chunks: list[Samples], **options: float) -> tuple[Samples, Joiner]:
    joiner = Joiner(RATE, **options)
    blocks = [joiner.push(chunk) for chunk in chunks]
    return np.concatenate([*blocks, joiner.flush()]), joiner


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 4000), max_size=8), st.sampled_from([0.0, 0.01, 0.05]), st.sampled_from([0.0, 0.02]))
def test_length_and_spans_are_exact(lengths: list[int], fade_s: float, gap_s: float) -> None:
    sound, joiner = joined([np.full(n, 0.1, np.float32) for n in lengths], fade_s=fade_s, gap_s=gap_s)
    assert len(sound) == joiner.length
    assert [span.end - span.start for span in joiner.spans] == lengths
    spans = [span for span in joiner.spans if span.end > span.start]
    for before, after in pairwise(spans):
        shorter = min(before.end - before.start, after.end - after.start)
        expected = round(gap_s * RATE) if gap_s else -min(round(fade_s * RATE), shorter // 2)
        assert after.start - before.end == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 5000), min_size=1, max_size=6))
def test_every_chunk_is_heard_from_head_to_tail(lengths: list[int]) -> None:
    """Joining is linear: each chunk alone among silent ones comes out where its span says, its middle untouched, its edges faded."""
    for loud in range(len(lengths)):
        chunks = [np.full(n, float(i == loud), np.float32) for i, n in enumerate(lengths)]
        sound, joiner = joined(chunks)
        span = joiner.spans[loud]
        inside = np.zeros(len(sound), bool)
        inside[span.start : span.end] = True
        assert not sound[~inside].any()
        assert (sound[inside] > 0).all()
        before = joiner.spans[loud - 1].end if loud else span.start
        after = joiner.spans[loud + 1].start if loud + 1 < len(lengths) else span.end
        np.testing.assert_array_equal(sound[max(before, span.start) : after], 1)


def test_no_click_where_tones_of_any_phase_meet() -> None:
    hz, amplitude = 300, 0.5
    slope = 2 * np.pi * hz / RATE * amplitude
    for phase in np.linspace(0, 2 * np.pi, 9):
        sound, _ = joined([sine(hz, RATE, 0.2, amplitude), sine(hz, RATE, 0.2, amplitude, phase), sine(hz, RATE, 0.2, amplitude)])
        # slopes add with weights of at most sqrt(2), and the fade itself moves by pi / 2 over its length
        assert np.abs(np.diff(sound)).max() <= 2**0.5 * (slope + amplitude * np.pi / 2 / FADE) + 1e-6


def test_no_click_at_a_gap() -> None:
    loud = np.ones(RATE // 4, np.float32)
    sound, joiner = joined([loud, loud], gap_s=0.1)
    assert np.abs(np.diff(sound)).max() <= np.pi / 2 / (0.005 * RATE) + 1e-6
    gap = sound[joiner.spans[0].end : joiner.spans[1].start]
    assert len(gap) == 0.1 * RATE
    assert not gap.any()


def test_the_power_of_uncorrelated_sound_is_constant() -> None:
    total = np.mean([joined([noise(RATE, 0.2, seed=2 * i), noise(RATE, 0.2, seed=2 * i + 1)])[0] ** 2 for i in range(60)], axis=0)
    fade = total[4800 - FADE : 4800]
    np.testing.assert_allclose(fade.reshape(6, -1).mean(axis=1), 0.01, rtol=0.1)


def test_sound_comes_out_as_it_comes_in() -> None:
    joiner = Joiner(RATE)
    assert len(joiner.push(noise(RATE, 1))) == RATE - FADE
    assert len(joiner.push(noise(RATE, 1))) == RATE - FADE
    assert len(joiner.flush()) == FADE


def test_the_first_head_and_the_last_tail_are_untouched() -> None:
    a, b = noise(RATE, 0.3, seed=1), noise(RATE, 0.3, seed=2)
    for gap_s in (0.0, 0.1):
        sound, _ = joined([a, b], gap_s=gap_s)
        np.testing.assert_array_equal(sound[:3000], a[:3000])
        np.testing.assert_array_equal(sound[-3000:], b[-3000:])


def test_a_gap_can_be_set_for_one_chunk() -> None:
    joiner = Joiner(RATE)
    for gap_s in (0.5, 0.25, None):  # before the first chunk there is nothing to keep apart from
        joiner.push(np.ones(RATE, np.float32), gap_s=gap_s)
    assert joiner.spans == [Span(0, RATE), Span(RATE + 6000, 2 * RATE + 6000), Span(2 * RATE + 4800, 3 * RATE + 4800)]


def test_nothing_joined_is_nothing() -> None:
    sound, joiner = joined([])
    assert (len(sound), joiner.length, joiner.spans) == (0, 0, [])


def test_cross_fade_has_equal_power() -> None:
    ones, zeros = np.ones(100, np.float32), np.zeros(100, np.float32)
    np.testing.assert_allclose(cross_fade(ones, zeros) ** 2 + cross_fade(zeros, ones) ** 2, 1, atol=1e-6)
    assert rms(cross_fade(zeros, zeros)) == 0
    with pytest.raises(ValueError, match="equally long"):
        cross_fade(ones, ones[:50])


@pytest.mark.parametrize("options", [{"fade_s": -1}, {"gap_s": -0.1}])
def test_arguments(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="negative"):
        Joiner(RATE, **options)
    with pytest.raises(ValueError, match="negative"):
        Joiner(RATE).push(np.ones(10, np.float32), gap_s=-1)
