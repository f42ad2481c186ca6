from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from audio.decode import Limits, decode
from audio.encode import FORMATS
from audio.errors import AudioError, AudioTooLong, AudioTooShort, InvalidAudio, UnsupportedAudio
from tests.audio.sounds import encoded, loudest_hz, noise, silent_video, sine, with_ffmpeg, with_soundfile

RATE = 24_000
TONE = sine(1000, RATE, 1.5)


def wav(body: bytes, size: int | None = None, *, kind: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16) -> bytes:
    width = channels * bits // 8
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, rate, rate * width, width, bits)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(body))
        + b"WAVE"
        + fmt
        + b"data"
        + struct.pack("<I", len(body) if size is None else size)
        + body
    )


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (with_soundfile(TONE, RATE, "WAV", "PCM_16"), "wav"),
        (with_soundfile(TONE, RATE, "WAV", "PCM_U8"), "wav"),
        (with_soundfile(TONE, RATE, "WAV", "PCM_24"), "wav"),
        (with_soundfile(TONE, RATE, "WAV", "FLOAT"), "wav"),
        (with_soundfile(TONE, RATE, "WAV", "ULAW"), "wav"),
        (with_soundfile(TONE, RATE, "RF64", "PCM_16"), "wav"),
        (with_soundfile(TONE, RATE, "FLAC", "PCM_24"), "flac"),
        (with_soundfile(TONE, RATE, "MP3"), "mp3"),
        (with_soundfile(TONE, RATE, "OGG", "VORBIS"), "ogg"),
        (with_soundfile(TONE, RATE, "OGG", "OPUS"), "opus"),
        (with_ffmpeg(TONE, RATE, "ipod", "aac"), "m4a"),
        (with_ffmpeg(TONE, RATE, "ipod", "aac", {"movflags": "faststart"}), "m4a"),
        (with_ffmpeg(TONE, RATE, "mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}), "m4a"),
        (with_ffmpeg(TONE, RATE, "webm", "libopus"), "webm"),
        (with_ffmpeg(TONE, RATE, "webm", "libopus", {"live": "1"}, seekable=False), "webm"),
    ],
)
def test_decodes_every_format_to_the_tone_it_holds(data: bytes, format: str) -> None:
    decoded = decode(data)
    assert decoded.format == format
    assert decoded.channels == 1
    assert decoded.samples.dtype == np.float32
    assert decoded.samples.shape == (len(decoded.mono), 1)
    assert decoded.duration_s == pytest.approx(1.5, abs=0.08)
    assert loudest_hz(decoded.mono, decoded.sample_rate) == pytest.approx(1000, abs=2)
    assert np.abs(decoded.mono[2000:-4000]).max() == pytest.approx(0.5, abs=0.06)


def test_lossless_formats_come_back_exactly() -> None:
    for data in (with_soundfile(TONE, RATE, "WAV", "FLOAT"), with_soundfile(TONE, RATE, "FLAC", "PCM_24")):
        np.testing.assert_allclose(decode(data).mono, TONE, atol=2e-7)


def test_the_name_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    path.write_bytes(with_soundfile(TONE, RATE, "FLAC"))
    assert decode(path).format == "flac"


def test_channels_are_kept_and_mixed() -> None:
    stereo = np.stack([sine(500, RATE, 1), np.zeros(RATE, np.float32)], axis=1)
    decoded = decode(with_soundfile(stereo, RATE, "WAV", "FLOAT"))
    assert (decoded.channels, decoded.samples.shape) == (2, (RATE, 2))
    np.testing.assert_allclose(decoded.mono, stereo[:, 0] / 2, atol=1e-7)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_wav_of_unknown_length_is_read_to_its_end(size: int) -> None:
    body = (TONE * 32767).astype("<i2").tobytes()
    assert len(decode(wav(body, size)).samples) == len(TONE)


def test_wav_may_end_with_chunks() -> None:
    body = (TONE * 32767).astype("<i2").tobytes()
    data = wav(body) + b"LIST" + struct.pack("<I", 4000) + b"INFO" + b"\0" * 3996
    assert len(decode(data).samples) == len(TONE)


def test_float_samples_beyond_full_scale_are_clipped() -> None:
    decoded = decode(with_soundfile(TONE * 4, RATE, "WAV", "FLOAT"))
    assert np.abs(decoded.samples).max() == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 32767.0])
def test_float_samples_that_are_no_sound_are_refused(bad: float) -> None:
    samples = TONE.copy()
    samples[20_000] = bad
    with pytest.raises(InvalidAudio):
        decode(with_soundfile(samples, RATE, "WAV", "FLOAT"))


BROKEN = {
    "empty": b"",
    "text": b"This is a text and not a sound, whatever its name says.\n" * 50,
    "picture": b"\x89PNG\r\n\x1a\n" + b"\xff\xfb\x90\x64" * 4000,
    "photograph": b"\xff\xd8\xff\xe0\x00\x10JFIF" + b"\xff\xfb\x90\x64" * 4000,
    "wav, zero channels": wav(b"\0" * 4000, channels=0),
    "wav, no samples": wav(b""),
    "wav, only a magic": b"RIFF\0\0\0\0WAVE",
    "wav, garbage": b"RIFF\0\0\0\0WAVE" + noise(8000, 1).tobytes(),
    "wav, claims more": wav(b"\1\2" * RATE, 4 * RATE),
    "wav, claims gigabytes": wav(b"\1\2" * RATE, 0x7FFFFFFF),
    "wav, claims less": wav((noise(RATE, 1) * 32767).astype("<i2").tobytes(), 2000),
    "flac, garbage": b"fLaC" + noise(8000, 1).tobytes(),
    "mp3, garbage": b"ID3\3\0\0\0\0\0\0" + noise(8000, 1).tobytes(),
    "ogg, garbage": b"OggS" + noise(8000, 1).tobytes(),
    "m4a, garbage": b"\0\0\0\x20ftypM4A " + noise(8000, 1).tobytes(),
    "webm, garbage": b"\x1a\x45\xdf\xa3" + noise(8000, 1).tobytes(),
    "webm, pictures alone": silent_video(),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(AudioError) as caught:
        decode(data)
    assert caught.value.code == "INVALID_AUDIO"
    assert len(caught.value.message) > 15


def test_pictures_alone_are_told_as_such() -> None:
    with pytest.raises(InvalidAudio, match="no sound track"):
        decode(silent_video())


WHOLE = {
    **{format: encoded(format, noise(RATE, 3), RATE) for format in ("wav", "ogg", "opus")},
    "wav, sized": with_soundfile(noise(RATE, 3), RATE, "WAV"),
    "flac, sized": with_soundfile(noise(RATE, 3), RATE, "FLAC"),
    "mp3, sized": with_soundfile(noise(RATE, 3), RATE, "MP3"),
    "m4a": with_ffmpeg(noise(RATE, 3), RATE, "ipod", "aac"),
    "m4a, fast start": with_ffmpeg(noise(RATE, 3), RATE, "ipod", "aac", {"movflags": "faststart"}),
    "webm": with_ffmpeg(noise(RATE, 3), RATE, "webm", "libopus"),
}


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("kind", [kind for kind in WHOLE if kind != "wav"])
def test_a_file_that_was_cut_is_refused(kind: str, share: float) -> None:
    assert decode(WHOLE[kind]).duration_s == pytest.approx(3, abs=0.1)
    with pytest.raises(InvalidAudio):
        decode(WHOLE[kind][: int(len(WHOLE[kind]) * share)])


@pytest.mark.parametrize("promised", [RATE, 3 * RATE])
def test_a_flac_header_that_lies_is_refused(promised: int) -> None:
    data = bytearray(with_soundfile(noise(RATE, 2), RATE, "FLAC"))
    data[22:26] = promised.to_bytes(4, "big")
    with pytest.raises(InvalidAudio, match="header promises"):
        decode(bytes(data))


def test_an_mp3_header_that_promises_less_is_refused() -> None:
    data = bytearray(with_soundfile(noise(RATE, 2), RATE, "MP3"))
    at = data.index(b"Xing") + 8
    data[at : at + 4] = (20).to_bytes(4, "big")
    with pytest.raises(InvalidAudio):
        decode(bytes(data))


def test_limits_of_duration() -> None:
    data = with_soundfile(sine(440, RATE, 3), RATE, "WAV")
    assert decode(data, Limits(min_seconds=3, max_seconds=3)).duration_s == 3
    with pytest.raises(AudioTooShort, match=r"3\.00 seconds"):
        decode(data, Limits(min_seconds=3.01))
    with pytest.raises(AudioTooLong):
        decode(data, Limits(max_seconds=2.5))


@pytest.mark.parametrize("format", FORMATS)
def test_a_sound_as_long_as_the_limit_is_taken_in_every_format(format: str) -> None:
    assert decode(encoded(format, sine(440, 44_100, 3), 44_100), Limits(min_seconds=2.9, max_seconds=3))


def test_limits_of_size(tmp_path: Path) -> None:
    data = with_soundfile(sine(440, RATE, 3), RATE, "WAV")
    path = tmp_path / "sound"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(AudioTooLong):
            decode(source, Limits(max_bytes=len(data) - 1))
        decode(source, Limits(max_bytes=len(data)))
    with pytest.raises(AudioTooLong):
        decode(data, Limits(max_decoded_bytes=4 * 2 * RATE))


@pytest.mark.parametrize(("rate", "channels"), [(4000, 1), (384_000, 1), (24_000, 9)])
def test_unsupported_shapes(rate: int, channels: int) -> None:
    data = with_soundfile(np.zeros((rate, channels), np.float32), rate, "WAV", "PCM_16")
    with pytest.raises(UnsupportedAudio):
        decode(data)


def test_a_path_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "nothing.wav")


def test_mp3_files_joined_end_to_end_are_one_sound() -> None:
    data = encoded("mp3", sine(440, RATE, 2), RATE) * 3  # each begins with a tag
    assert decode(data).duration_s == pytest.approx(6, abs=0.5)


def test_an_mp3_of_shreds_is_refused() -> None:
    with pytest.raises(InvalidAudio, match="damaged"):
        decode(encoded("mp3", noise(RATE, 0.1), RATE) * 40)


def test_an_mp3_with_much_damage_is_refused() -> None:
    data = bytearray(encoded("mp3", noise(RATE, 4), RATE))
    for start in range(2000, len(data) - 1000, 1000):
        data[start : start + 500] = bytes(500)
    with pytest.raises(InvalidAudio, match="damaged"):
        decode(bytes(data))
