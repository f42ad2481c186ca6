"""Spectrograms show what is there, and the files that hold them are PNG to other people's readers."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from audio.picture import MAX_HEIGHT, MAX_WIDTH, palette, png, spectrogram, spectrogram_png
from tests.audio.sounds import noise, sine

RATE = 24_000


def shown(picture: bytes) -> NDArray[np.uint8]:
    """What FFmpeg sees in it, shape (height, width, 3)."""
    with av.open(io.BytesIO(picture), format="png_pipe") as opened:
        found: NDArray[np.uint8] = next(opened.decode(video=0)).to_ndarray(format="rgb24")
    return found


def brightest_hz(levels: NDArray[np.floating], rate: int) -> NDArray[np.float64]:
    """The frequency of the brightest row of each column, by the mel scale."""
    height = len(levels)
    band = height - 1 - np.argmax(levels, axis=0)
    mel = (band + 1) / (height + 1) * 2595 * np.log10(1 + rate / 2 / 700)
    return 700 * (10 ** (mel / 2595) - 1)


@given(st.data(), st.integers(1, 12), st.integers(1, 12), st.integers(1, 256))
@settings(max_examples=30, deadline=None)
def test_another_reader_sees_the_same_points(data: st.DataObject, height: int, width: int, colours: int) -> None:
    table = data.draw(arrays(np.uint8, (colours, 3)))
    pixels = data.draw(arrays(np.uint8, (height, width), elements=st.integers(0, colours - 1)))
    np.testing.assert_array_equal(shown(png(pixels, table)), table[pixels])


@pytest.mark.parametrize(
    ("pixels", "colours"),
    [
        (np.zeros((0, 4), np.uint8), np.zeros((1, 3), np.uint8)),
        (np.zeros(4, np.uint8), np.zeros((1, 3), np.uint8)),
        (np.zeros((2, 2), np.float32), np.zeros((1, 3), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.zeros((1, 4), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.zeros((257, 3), np.uint8)),
        (np.ones((2, 2), np.uint8), np.zeros((1, 3), np.uint8)),
    ],
)
def test_what_is_no_picture_is_refused(pixels: NDArray[np.uint8], colours: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"pixels|colours|index"):
        png(pixels, colours)


def test_colours_grow_lighter() -> None:
    light = palette().astype(float) @ (0.2126, 0.7152, 0.0722)
    assert palette().shape == (256, 3)
    assert (np.diff(light) > -0.5).all()
    assert light[0] < 5
    assert light[-1] > 240


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
@pytest.mark.parametrize("hz", [300.0, 1000.0, 3000.0])
@pytest.mark.parametrize("height", [64, 512])
def test_a_tone_is_a_line_at_its_frequency(rate: int, hz: float, height: int) -> None:
    levels = spectrogram(sine(hz, rate, 1.0), rate, width=20, height=height)
    # Within a bin of the transform, or a band.
    np.testing.assert_allclose(brightest_hz(levels, rate)[1:-1], hz, rtol=0.12, atol=24)


def test_time_runs_from_left_to_right() -> None:
    sound = np.concatenate([sine(400, RATE, 1.0), sine(4000, RATE, 1.0)])
    found = brightest_hz(spectrogram(sound, RATE, width=40, height=128), RATE)
    assert (found[1:19] < 600).all()
    assert (found[21:39] > 3000).all()


def test_nothing_of_a_long_sound_is_passed_over() -> None:
    sound = np.zeros(20 * RATE, np.float32)
    sound[7 * RATE : 7 * RATE + 240] = sine(1000, RATE, 0.01)
    levels = spectrogram(sound, RATE, width=16, height=32)
    assert levels.max() == 1
    assert np.flatnonzero(levels.max(axis=0)).tolist() == [5], "7 s of 20 s, in 16 columns"


def test_the_scale_is_in_decibels() -> None:
    quieter = np.concatenate([sine(1000, RATE, 1.0, amplitude=0.5), sine(1000, RATE, 1.0, amplitude=0.005)])
    levels = spectrogram(quieter, RATE, width=20, height=64).max(axis=0)
    assert levels[3] == pytest.approx(1.0, abs=0.01)
    assert levels[16] == pytest.approx(0.5, abs=0.01), "40 of 80 dB"


@given(
    n=st.integers(0, 3000),
    amplitude=st.sampled_from([0.0, 0.1, 1.0]),
    rate=st.sampled_from([8_000, 24_000, 192_000]),
    width=st.integers(1, 60),
    height=st.integers(1, 60),
)
@settings(max_examples=60, deadline=None)
def test_any_sound_gives_a_picture_of_the_size(n: int, amplitude: float, rate: int, width: int, height: int) -> None:
    sound = (amplitude * np.random.default_rng(n).uniform(-1, 1, n)).astype(np.float32)
    levels = spectrogram(sound, rate, width=width, height=height)
    assert levels.shape == (height, width)
    assert levels.dtype == np.float32
    assert (levels >= 0).all()
    assert (levels <= 1).all()
    assert levels.any() == (n > 0 and amplitude > 0)


def test_the_file_is_of_the_size_and_bounded() -> None:
    picture = shown(spectrogram_png(noise(RATE, 0.5), RATE, width=100, height=50))
    assert picture.shape == (50, 100, 3)
    for width, height in ((15, 50), (MAX_WIDTH + 1, 50), (100, 15), (100, MAX_HEIGHT + 1)):
        with pytest.raises(ValueError, match="points"):
            spectrogram_png(noise(RATE, 0.1), RATE, width=width, height=height)
