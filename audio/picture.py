"""A sound as a picture: its log-mel spectrogram, and the PNG file that shows it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from audio.pcm import Samples, mono

MIN_WIDTH, MAX_WIDTH = 16, 2048
MIN_HEIGHT, MAX_HEIGHT = 16, 512
RANGE_DB = 80.0

_BLOCK = 256  # frames transformed at once: what bounds the memory, however long the sound
_SILENCE = 1e-14  # power below which nothing is shown, as the loudest part of a digital silence would be
# From black over violet and orange to a warm white, each step lighter than the one before, so that it reads well in grey too.
_COLOURS = ((0, 0, 4), (60, 15, 110), (150, 45, 120), (230, 90, 70), (250, 170, 60), (255, 250, 210))
_PNG = b"\x89PNG\r\n\x1a\n"


def spectrogram(samples: NDArray[np.floating], rate: int, *, width: int, height: int) -> Samples:
    """Log-mel spectrogram of mono samples of shape (n,), for drawing.

    Hann windows of about 43 ms; the power of a column is the mean over its stretch of time. The bands lie evenly on the mel scale of
    O'Shaughnessy ("Speech Communication", 1987): m = 2595 log10(1 + f / 700), from 0 to half of `rate`.

    Returns:
        Shape (height, width), 0 to 1: 1 is the loudest point, 0 lies `RANGE_DB` dB or more below it. The first row is the highest band.
        Silence and an empty sound give zeros.

    Raises:
        ValueError: `width` or `height` is not positive, or `rate` is not.
    """
    if width < 1 or height < 1 or rate < 1:
        raise ValueError("width, height and rate must be positive")
    samples = mono(samples)
    size = 1 << max(6, round(np.log2(1024 * rate / 24_000)))
    bands = _mel_bands(rate, size, height)
    total, count = np.zeros((width, height)), np.zeros(width)
    for columns, power in _frames(samples, size, width):
        np.add.at(total, columns, power @ bands)
        np.add.at(count, columns, 1)
    power = total / np.maximum(count, 1)[:, None]
    loudest = power.max(initial=0.0)
    if loudest <= _SILENCE:
        return np.zeros((height, width), dtype=np.float32)
    level = 10 * np.log10(np.maximum(power / loudest, 10 ** (-RANGE_DB / 10)))
    return np.ascontiguousarray((1 + level / RANGE_DB).T[::-1], dtype=np.float32)


def spectrogram_png(samples: NDArray[np.floating], rate: int, *, width: int, height: int) -> bytes:
    """The :func:`spectrogram` as a PNG file of `width` by `height` points.

    Raises:
        ValueError: `width` is not within `MIN_WIDTH` and `MAX_WIDTH`, or `height` not within `MIN_HEIGHT` and `MAX_HEIGHT`.
    """
    if not (MIN_WIDTH <= width <= MAX_WIDTH and MIN_HEIGHT <= height <= MAX_HEIGHT):
        raise ValueError(f"a picture has {MIN_WIDTH} to {MAX_WIDTH} by {MIN_HEIGHT} to {MAX_HEIGHT} points")
    levels = spectrogram(samples, rate, width=width, height=height)
    return png(np.round(levels * 255).astype(np.uint8), palette())


def palette() -> NDArray[np.uint8]:
    """256 colours from dark to light, shape (256, 3), RGB."""
    stops = np.linspace(0, 255, len(_COLOURS))
    channels = [np.interp(np.arange(256), stops, channel) for channel in zip(*_COLOURS, strict=True)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def png(pixels: NDArray[np.uint8], colours: NDArray[np.uint8]) -> bytes:
    """A PNG file (ISO/IEC 15948) of indexed colours.

    Args:
        pixels: indices into `colours`, shape (height, width), neither of them 0.
        colours: RGB, shape (n, 3) with n from 1 to 256.

    Raises:
        ValueError: an array of another shape or type, or an index without a colour.
    """
    if pixels.ndim != 2 or 0 in pixels.shape or pixels.dtype != np.uint8:
        raise ValueError("pixels must be bytes of shape (height, width)")
    if colours.ndim != 2 or colours.shape[1] != 3 or not 1 <= len(colours) <= 256 or colours.dtype != np.uint8:
        raise ValueError("colours must be 1 to 256 of three bytes each")
    if pixels.max() >= len(colours):
        raise ValueError("an index has no colour")
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits a point, colours from a palette, not interlaced
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # each row begins with its filter; 0 is none
    rows[:, 1:] = pixels
    parts = ((b"IHDR", header), (b"PLTE", colours.tobytes()), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return _PNG + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _frames(samples: Samples, size: int, width: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Blocks of power spectra, shape (frames, size // 2 + 1), with the column of each. Every column has at least one frame."""
    if not len(samples):
        return
    # As many frames a column in a long sound as are needed to look at all of it; in a short one they overlap the more.
    each = max(1, -(-len(samples) // (width * (size // 4))))
    frames = width * each
    window = np.hanning(size + 2)[1:-1] / (size / 2)
    padded = np.pad(samples, (size // 2, size))
    for start in range(0, frames, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, frames))
        # The window of frame k of K is centred on the middle of the k-th of K equal stretches.
        begins = (2 * numbers + 1) * len(samples) // (2 * frames)
        spectra = np.fft.rfft(padded[begins[:, None] + np.arange(size)] * window)
        yield numbers // each, np.abs(spectra) ** 2


def _mel_bands(rate: int, size: int, height: int) -> NDArray[np.float64]:
    """Triangular weights that sum to 1 in each band, shape (size // 2 + 1, height).

    A side is never narrower than the distance of two bins; low bands would otherwise fall between them and be empty.
    """
    bins = np.arange(size // 2 + 1) * rate / size
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 1400), height + 2) / 2595) - 1)
    centres, sides = edges[1:-1], np.maximum(np.diff(edges), rate / size)
    distance = bins[:, None] - centres
    weights = np.maximum(0.0, 1 - np.where(distance < 0, -distance / sides[:-1], distance / sides[1:]))
    normalised: NDArray[np.float64] = weights / weights.sum(axis=0)
    return normalised
