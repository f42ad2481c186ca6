"""Any served sound file to samples, judged by decoding it and bounded in memory and time whatever its header claims."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from audio.containers import MP3, OGG, Container, require_promised, require_whole, sniff
from audio.errors import AudioTooLong, AudioTooShort, InvalidAudio, UnsupportedAudio
from audio.pcm import Samples, require_finite
from audio.resample import to_mono

_ENCODER_PADDING_S = 0.1
_LOUDEST = 8.0
# MP3 files are often joined end to end or carry tags in their middle, which players step over.
_STRAY_PACKETS, _BAD_SHARE = 3, 0.02
_DAMAGED = "the file is damaged: its sound could not be decoded"


@dataclass(frozen=True)
class Limits:
    """What `decode` accepts.

    Attributes:
        max_bytes: size of the file in bytes.
        min_seconds, max_seconds: duration. A sound may be 0.1 s longer than `max_seconds`, as lossy encoders pad.
        max_channels: number of channels.
        min_rate, max_rate: sample rate in Hz.
        max_decoded_bytes: size of the decoded samples of all channels in bytes. The peak memory of `decode` is about twice that.
    """

    max_bytes: int = 16 * 1024 * 1024
    min_seconds: float = 0.0
    max_seconds: float = 60.0
    max_channels: int = 8
    min_rate: int = 8_000
    max_rate: int = 192_000
    max_decoded_bytes: int = 128 * 1024 * 1024


@dataclass(frozen=True)
class Decoded:
    """A decoded sound.

    Attributes:
        samples: float32 in [-1, 1], shape (n, channels).
        sample_rate: in Hz, as decoded (Opus always decodes at 48000).
        channels: number of channels.
        format: what was found: "wav", "mp3", "flac", "ogg" (Vorbis), "opus" (in Ogg), "m4a" or "webm".
    """

    samples: NDArray[np.float32]
    sample_rate: int
    channels: int
    format: str

    @property
    def mono(self) -> Samples:
        """The channels' mean, shape (n,)."""
        return to_mono(self.samples)

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate


def decode(source: bytes | Path, limits: Limits | None = None) -> Decoded:
    """Decode a sound file held in memory or on disk.

    Decoding goes block by block and stops as soon as a limit is passed, so that neither a header nor a good compression can make it take
    more memory or time than the limits allow. Float samples beyond full scale are clipped to [-1, 1]. Pictures and further tracks in the
    file are left alone.

    Raises:
        InvalidAudio: not a sound, damaged, cut off, a header that contradicts the content, or samples that are not numbers.
        AudioTooShort, AudioTooLong: beyond the limits of duration, or of size in bytes.
        UnsupportedAudio: a codec, a number of channels or a sample rate that is not served.
        OSError: a path cannot be read.
    """
    limits = limits or Limits()
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    if size > limits.max_bytes:
        raise AudioTooLong(f"the file has {size} bytes; at most {limits.max_bytes} are accepted")
    if size == 0:
        raise InvalidAudio("the file is empty")
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        return _decode(file, limits)


def _decode(file: BinaryIO, limits: Limits) -> Decoded:
    container = sniff(file)
    require_whole(file, container)
    data, rate, channels, codec = bytearray(), 0, 0, ""
    for block, rate, channels, codec in _blocks(file, container, limits):  # noqa: B007 - the last values are the sound's own
        data += block.tobytes()
        frames = len(data) // (4 * channels)
        if frames > (limits.max_seconds + _ENCODER_PADDING_S) * rate:
            raise AudioTooLong(f"the sound is longer than {limits.max_seconds:g} seconds")
        if len(data) > limits.max_decoded_bytes:
            raise AudioTooLong("the sound is too large when it is decoded; use fewer channels or a lower sample rate")
    if not data:
        raise InvalidAudio("the file holds no sound")
    samples = np.frombuffer(data, dtype=np.float32).reshape(-1, channels)
    require_promised(file, container, len(samples), rate)
    if len(samples) < limits.min_seconds * rate:
        raise AudioTooShort(f"the sound has {len(samples) / rate:.2f} seconds; at least {limits.min_seconds:g} are needed")
    return Decoded(samples, rate, channels, "opus" if container is OGG and codec == "opus" else container.name)


def _blocks(file: BinaryIO, container: Container, limits: Limits) -> Iterator[tuple[NDArray[np.float32], int, int, str]]:
    """Blocks of shape (n, channels) with sample rate, channels and codec, which all stay the same through a sound."""
    file.seek(0)
    options = {"codec_whitelist": ",".join(sorted(container.codecs)), "protocol_whitelist": "none"}
    try:
        with av.open(file, format=container.demuxer, options=options, metadata_errors="replace") as opened:
            stream = _sound_track(opened, container)
            codec, shape, packets, bad = stream.codec_context.name, None, 0, 0
            for packet in opened.demux(stream):
                packets += packet.size > 0
                try:
                    frames = packet.decode()
                except av.InvalidDataError:
                    if container is not MP3:
                        raise
                    bad += 1
                    continue
                for frame in frames:
                    rate, channels = frame.sample_rate, frame.layout.nb_channels
                    if shape is None:
                        _require_served(rate, channels, limits)
                        shape = (rate, channels)
                    elif shape != (rate, channels):
                        raise UnsupportedAudio("the sound changes its sample rate or its channels on the way")
                    yield _to_float(frame), rate, channels, "opus" if "opus" in codec else codec
            if bad > max(_STRAY_PACKETS, _BAD_SHARE * packets):
                raise InvalidAudio(_DAMAGED)
            if packets < stream.frames:
                raise InvalidAudio("the file ends early: its header promises more sound than there is. Was the transfer cut off?")
    except (av.FFmpegError, ValueError, IndexError) as error:
        # PyAV raises the last two for streams that it cannot describe.
        raise InvalidAudio(_DAMAGED) from error


def _sound_track(opened: Any, container: Container) -> Any:
    if not opened.streams.audio:
        raise InvalidAudio("the file has no sound track")
    stream = opened.streams.audio[0]
    context = stream.codec_context
    if context is None or context.name not in container.codecs | {"libopus"}:
        raise UnsupportedAudio(f"the sound in this {container.name.upper()} file is stored in a way that is not supported")
    context.thread_count = 1
    return stream


def _require_served(rate: int, channels: int, limits: Limits) -> None:
    if not limits.min_rate <= rate <= limits.max_rate:
        raise UnsupportedAudio(f"a sample rate of {rate} Hz is not supported; {limits.min_rate} to {limits.max_rate} Hz are")
    if not 1 <= channels <= limits.max_channels:
        raise UnsupportedAudio(f"{channels} channels are not supported; 1 to {limits.max_channels} are")


def _to_float(frame: Any) -> NDArray[np.float32]:
    """Samples of one frame, shape (n, channels), whatever FFmpeg's sample format: integers are scaled by their range."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype == np.uint8:
        values = (values.astype(np.float32) - 128) / 128
    elif np.issubdtype(values.dtype, np.integer):
        values = values / np.float64(-int(np.iinfo(values.dtype).min))
    require_finite(values)
    if values.size and np.abs(values).max() > _LOUDEST:
        raise InvalidAudio("the sound is far beyond full scale: the file is damaged, or its samples are not scaled to [-1, 1]")
    return np.ascontiguousarray(np.clip(values, -1.0, 1.0), dtype=np.float32)
