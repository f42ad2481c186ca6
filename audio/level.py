"""Files of a set loudness: measured whole, then written, in constant memory."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from audio.effects import Gain, loudness_gain
from audio.encode import Encoder
from audio.loudness import LoudnessMeter
from audio.pcm import mono, require_finite

_BLOCK = 1 << 16


class LevelledEncoder:
    """An encoder whose file has an integrated loudness (BS.1770-5), times a volume, behind the true-peak limiter.

    How loud a sound is is known at its end: until then it lies in a temporary file of 4 bytes a sample, and it is written when the context
    ends well. One whose peaks the limiter must hold down ends up quieter than asked, and nothing is raised by more than 20 dB.
    """

    def __init__(self, encoder: Encoder, sample_rate: int, target_lufs: float, volume: float = 1.0) -> None:
        """Sound at `sample_rate` in Hz goes into `encoder`, which is opened and closed here."""
        self._encoder, self._rate, self._target, self._volume = encoder, sample_rate, target_lufs, volume
        self._meter = LoudnessMeter(sample_rate)
        self._stack = ExitStack()
        self._kept: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._kept = self._stack.enter_context(tempfile.TemporaryFile())
        return self

    def write(self, block: NDArray[np.floating]) -> None:
        """Append samples of shape (n,); they may pass [-1, 1].

        Raises:
            InvalidAudio: a sample is NaN or infinite.
            OSError: the temporary file cannot be written.
        """
        if self._kept is None:
            raise ValueError("the encoder is not open")
        require_finite(block)
        samples = mono(block)
        self._meter.add(samples)
        self._kept.write(samples.tobytes())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack:
            if kind is None and self._kept is not None:
                self._write_out(self._kept)

    def _write_out(self, kept: IO[bytes]) -> None:
        gain = Gain(self._rate, self._volume * loudness_gain(self._meter.integrated, self._target))
        kept.seek(0)
        with self._encoder as encoder:
            while part := kept.read(4 * _BLOCK):
                encoder.write(gain.process(np.frombuffer(part, dtype=np.float32)))
            encoder.write(gain.flush())
