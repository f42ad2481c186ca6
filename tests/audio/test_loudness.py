from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.loudness import LoudnessMeter, convolve, integrated_loudness, k_weighted, oversampled_peaks, sample_peak, true_peak
from tests.audio.sounds import noise, sine

RATES = [8000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000]


@pytest.mark.parametrize("rate", RATES)
def test_reference_tone(rate: int) -> None:
    """BS.1770-5: a 997 Hz sine at 0 dBFS in one front channel reads -3.01 LKFS; EBU Tech 3341 allows 0.1 LU."""
    assert integrated_loudness(sine(997, rate, 5, amplitude=1), rate) == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize("rate", RATES[:-1])
@pytest.mark.parametrize("dbfs", [-40.0, -20.0, -6.0])
def test_a_tone_reads_its_level_less_three(rate: int, dbfs: float) -> None:
    assert integrated_loudness(sine(997, rate, 3, amplitude=10 ** (dbfs / 20)), rate) == pytest.approx(dbfs - 3.01, abs=0.05)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([(-20, 20)], -23.0),  # case 1
        ([(-30, 20)], -33.0),  # case 2
        ([(-33, 10), (-20, 60), (-33, 10)], -23.0),  # case 3
        ([(-69, 10), (-33, 10), (-20, 60), (-33, 10), (-69, 10)], -23.0),  # case 4
        ([(-23, 20), (-17, 20.1), (-23, 20)], -23.0),  # case 5
    ],
)
def test_the_minimum_requirements_of_ebu_tech_3341(levels: list[tuple[float, float]], expected: float) -> None:
    """Table 1, cases 1 to 5, in one channel: its tones are in two at once, so that one alone is 3 dB louder here."""
    sound = np.concatenate([sine(1000, 24_000, seconds, amplitude=10 ** (dbfs / 20)) for dbfs, seconds in levels])
    assert integrated_loudness(sound, 24_000) == pytest.approx(expected, abs=0.1)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([8000, 22_050, 48_000]), st.lists(st.integers(0, 30_000), max_size=6), st.integers(0, 9))
def test_block_by_block_it_reads_the_same(rate: int, lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = [(rng.choice([0.01, 0.3]) * rng.standard_normal(n)).astype(np.float32) for n in lengths]
    meter = LoudnessMeter(rate)
    for block in blocks:
        meter.add(block)
        assert np.isfinite(meter.integrated), "looking at it in between changes nothing"
    whole = np.concatenate([*blocks, np.zeros(0, np.float32)])
    assert meter.integrated == pytest.approx(integrated_loudness(whole, rate), abs=1e-3)


def test_k_weighting_matches_the_printed_coefficients() -> None:
    """BS.1770-5, tables 1 and 2, as a recursion over an impulse at 48 kHz."""
    shelf = ([1.53512485958697, -2.69169618940638, 1.19839281085285], [-1.69065929318241, 0.73248077421585])
    high_pass = ([1.0, -2.0, 1.0], [-1.99004745483398, 0.99007225036621])
    expected = np.zeros(4000)
    expected[0] = 1
    for b, a in (shelf, high_pass):
        source, expected = expected, np.zeros(len(expected))
        for n in range(len(source)):
            expected[n] = sum(b[k] * source[n - k] for k in range(3) if n >= k)
            expected[n] -= sum(a[k] * expected[n - 1 - k] for k in range(2) if n > k)
    impulse = np.zeros(4000, np.float32)
    impulse[0] = 1
    np.testing.assert_allclose(k_weighted(impulse, 48_000), expected, atol=2e-6)


def test_silence_is_finite() -> None:
    assert integrated_loudness(np.zeros(24_000, np.float32), 24_000) == -70
    assert integrated_loudness(np.zeros(0, np.float32), 24_000) == -70
    assert true_peak(np.zeros(100, np.float32)) == -120
    assert sample_peak(np.zeros(0, np.float32)) == -120


def test_pauses_are_gated() -> None:
    """EBU Tech 3341, case 3 in spirit: what lies 10 LU below the rest does not count."""
    loud, quiet = sine(997, 48_000, 20, amplitude=0.1), sine(997, 48_000, 6, amplitude=0.01)
    assert integrated_loudness(np.concatenate([quiet, loud, quiet]), 48_000) == pytest.approx(-23, abs=0.1)


@settings(max_examples=20, deadline=None)
@given(st.floats(-30, 0))
def test_gain_moves_loudness_by_as_much(gain_db: float) -> None:
    sound = noise(24_000, 1)
    moved = sound * np.float32(10 ** (gain_db / 20))
    assert integrated_loudness(moved, 24_000) == pytest.approx(integrated_loudness(sound, 24_000) + gain_db, abs=0.01)


def test_true_peak_between_samples() -> None:
    """A sine at a quarter of the rate, 45 degrees off, has samples of 0.707 and peaks of 1."""
    sound = sine(12_000, 48_000, 0.5, amplitude=1, phase=np.pi / 4)
    assert sample_peak(sound) == pytest.approx(-3.01, abs=0.01)
    middle = oversampled_peaks(sound)[100:-100]
    assert 20 * np.log10(middle.max()) == pytest.approx(0, abs=0.02)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 300), st.integers(0, 99))
def test_convolution_by_overlap_add(samples: int, taps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, h = rng.standard_normal(samples), rng.standard_normal(taps)
    expected = np.convolve(x, h) if samples else np.zeros(taps - 1)
    np.testing.assert_allclose(convolve(x, h), expected, atol=1e-4)
