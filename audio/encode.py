"""Samples to files and streams: WAV, MP3, FLAC, Ogg Vorbis and Ogg Opus, block by block."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self, get_args

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from audio.pcm import float_to_pcm16, mono, require_finite
from audio.resample import Resampler
from audio.sinks import Guard, Pipe, Sink
from audio.tags import clean, id3, wav_header

Format = Literal["wav", "mp3", "flac", "ogg", "opus"]
FORMATS: tuple[Format, ...] = get_args(Format)
SAMPLE_RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
AI_COMMENT = "AI-generated"

_OPUS_RATES = (8_000, 16_000, 24_000, 48_000)
_LIBSNDFILE = {"mp3": ("MP3", "MPEG_LAYER_III"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS")}
_CONTENT_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg", "opus": "audio/ogg; codecs=opus"}
_SLICE = 1 << 14  # libsndfile's Vorbis encoder puts a whole block on the stack


def content_type(format: Format) -> str:
    """The MIME type of a format."""
    return _CONTENT_TYPES[_known(format)]


def encoded_rate(format: Format, sample_rate: int) -> int:
    """Sample rate in Hz of the sound in a file that was asked for at `sample_rate`, one of `SAMPLE_RATES`.

    Opus codes 8000, 16000, 24000 and 48000 Hz: the nearest of them it is, 24000 for 22050 and 48000 for 44100. A decoder may give any
    rate, mostly 48000 (RFC 7845, section 5.1). Every other format keeps the rate.
    """
    if _known(format) != "opus":
        return sample_rate
    return min(_OPUS_RATES, key=lambda rate: abs(rate - sample_rate))


def extension(format: Format) -> str:
    """The usual file name extension with its dot. Opus lies in Ogg and goes by ".opus" (RFC 7845)."""
    return f".{_known(format)}"


class StreamEncoder:
    """Encodes to bytes that can be sent as they come.

    What is only known at the end is missing from the headers: WAV says 0xFFFFFFFF for its sizes, FLAC 0 ("unknown") for its length, and MP3
    lacks the numbers that tell players to drop the encoder's delay and padding: 0.3 s of silence in all at 8000 Hz, 0.1 s from 22050 Hz on.
    Vorbis and Opus come whole, in pages of up to about a second. `Encoder` writes complete headers.
    """

    def __init__(self, format: Format, sample_rate: int, metadata: Mapping[str, str] | None = None) -> None:
        """Mono at one of `SAMPLE_RATES`; see `Encoder` for Opus and for the metadata."""
        self._pipe = Pipe()
        self._writer = _Writer(self._pipe, _known(format), _served(sample_rate), clean(metadata))

    def write(self, block: NDArray[np.floating]) -> bytes:
        """Take samples of shape (n,), clipped to [-1, 1]; give the bytes that are ready, which may be none.

        Raises:
            InvalidAudio: a sample is NaN or infinite.
        """
        self._writer.write(block)
        return self._pipe.take()

    def close(self) -> bytes:
        """The last bytes. Nothing may be written afterwards."""
        self._writer.close()
        return self._pipe.take()


class Encoder:
    """Context manager that encodes into a file, which appears under its name when the context ends well and not at all otherwise.

    Where the format has not the sample rate it is resampled on the way; see `encoded_rate`.
    """

    def __init__(self, path: Path, format: Format, sample_rate: int, metadata: Mapping[str, str] | None = None) -> None:
        """Prepare a file of mono sound.

        Args:
            path: where the file goes; an existing one is replaced.
            format: one of `FORMATS`.
            sample_rate: in Hz, one of `SAMPLE_RATES`.
            metadata: any of "title", "artist", "album" and "comment"; the comment is `AI_COMMENT` if none is given.

        Raises:
            ValueError: an unknown format, sample rate or kind of metadata.
        """
        self._path, self._part = path, path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._format, self._rate, self._tags = _known(format), _served(sample_rate), clean(metadata)
        self._file: BinaryIO | None = None
        self._writer: _Writer | None = None

    def __enter__(self) -> Self:
        self._file = self._part.open("w+b")
        try:
            self._writer = _Writer(self._file, self._format, self._rate, self._tags)
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, block: NDArray[np.floating]) -> None:
        """Append samples of shape (n,), clipped to [-1, 1].

        Raises:
            InvalidAudio: a sample is NaN or infinite.
            OSError: the file cannot be written, as when the disk is full.
        """
        if self._writer is None:
            raise ValueError("the encoder is not open")
        self._writer.write(block)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None and self._writer is not None and self._file is not None:
                self._writer.close()
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                self._part.replace(self._path)
        finally:
            self._discard()

    def _discard(self) -> None:
        """Let go of everything; harmless after the file got its name."""
        try:
            if self._writer is not None:
                self._writer.abandon()
            if self._file is not None:
                self._file.close()
        finally:
            self._writer = self._file = None
            self._part.unlink(missing_ok=True)


class _Writer:
    """What `Encoder` and `StreamEncoder` share: one sound into one sink."""

    def __init__(self, sink: Sink, format: Format, rate: int, tags: Mapping[str, str]) -> None:
        self._sink, self._rate, self._frames, self._tags = sink, rate, 0, {"comment": AI_COMMENT, **tags}
        target = encoded_rate(format, rate)
        self._resampler = Resampler(rate, target)
        self._out: sf.SoundFile | None = None
        self._guard = Guard(sink)
        if format == "wav":
            sink.write(wav_header(rate, None, self._tags))
            return
        if format == "mp3":  # libsndfile would put most tags into an ID3v1 block at the end, which a stream's player sees too late
            sink.write(id3(self._tags))
            self._guard = Guard(sink)
        container, codec = _LIBSNDFILE[format]
        self._out = sf.SoundFile(self._guard, "w", target, 1, codec, format=container)
        if format != "mp3":
            for name, value in self._tags.items():
                setattr(self._out, name, value)

    def write(self, block: NDArray[np.floating]) -> None:
        require_finite(block)
        self._put(self._resampler.process(np.clip(mono(block), -1.0, 1.0)))

    def close(self) -> None:
        self._put(self._resampler.flush())
        if self._out is not None:
            self._out.close()
            self._guard.check()
        else:
            self._sink.seek(0)
            self._sink.write(wav_header(self._rate, self._frames, self._tags))

    def abandon(self) -> None:
        if self._out is not None:
            with suppress(sf.LibsndfileError):  # what fails here belongs to a file that nobody will see
                self._out.close()

    def _put(self, samples: NDArray[np.float32]) -> None:
        self._frames += len(samples)
        for start in range(0, len(samples), _SLICE):
            part = np.clip(samples[start : start + _SLICE], -1.0, 1.0)
            if self._out is None:
                self._sink.write(float_to_pcm16(part))
            else:
                try:
                    self._out.write(part)
                finally:
                    self._guard.check()


def _known(format: Format) -> Format:
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; known are {', '.join(FORMATS)}")
    return format


def _served(rate: int) -> int:
    if rate not in SAMPLE_RATES:
        raise ValueError(f"sample rate {rate} Hz is not served; {', '.join(map(str, SAMPLE_RATES))} are")
    return rate
