"""Whatever bytes come, only AudioError may come out."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio.decode import Limits, decode
from audio.errors import AudioError
from tests.audio.sounds import noise, with_ffmpeg, with_soundfile

LIMITS = Limits(max_seconds=5, max_decoded_bytes=4_000_000)
SOUND = noise(8000, 0.6)
FILES = {
    "wav": with_soundfile(SOUND, 8000, "WAV", "PCM_16"),
    "wav, float": with_soundfile(SOUND, 8000, "WAV", "FLOAT"),
    "wav, adpcm": with_soundfile(SOUND, 8000, "WAV", "MS_ADPCM"),
    "flac": with_soundfile(SOUND, 8000, "FLAC"),
    "mp3": with_soundfile(SOUND, 8000, "MP3"),
    "ogg": with_soundfile(SOUND, 8000, "OGG", "VORBIS"),
    "opus": with_soundfile(SOUND, 8000, "OGG", "OPUS"),
    "m4a": with_ffmpeg(SOUND, 8000, "ipod", "aac"),
    "alac": with_ffmpeg(SOUND, 8000, "ipod", "alac"),
    "webm": with_ffmpeg(SOUND, 8000, "webm", "libopus"),
}
MAGICS = [
    b"RIFF\0\0\0\0WAVEfmt ",
    b"fLaC",
    b"OggS",
    b"ID3\3\0\0\0\0\0\0",
    b"\xff\xfb\x90\x64",
    b"\0\0\0\x20ftypM4A ",
    b"\x1a\x45\xdf\xa3",
    b"",
]


def only_audio_errors(data: bytes) -> None:
    try:
        decoded = decode(data, LIMITS)
    except AudioError:
        return
    assert len(decoded.samples) <= 5.1 * decoded.sample_rate
    assert abs(decoded.samples).max() <= 1


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=3000))
def test_random_bytes(magic: bytes, tail: bytes) -> None:
    only_audio_errors(magic + tail)


def mutated(kind: str, data: st.DataObject) -> bytes:
    """Bytes changed, mostly in the header; a stretch taken out, doubled or zeroed; the end cut off."""
    file = bytearray(FILES[kind])
    near = st.integers(0, min(700, len(file) - 1))
    for at, value in data.draw(st.lists(st.tuples(st.one_of(near, st.integers(0, len(file) - 1)), st.integers(0, 255)), max_size=12)):
        file[at] = value
    start, size = data.draw(st.integers(0, len(file) - 1)), data.draw(st.integers(0, 200))
    match data.draw(st.sampled_from(["keep", "take", "double", "zero", "cut"])):
        case "take":
            del file[start : start + size]
        case "double":
            file[start:start] = file[start : start + size]
        case "zero":
            file[start : start + size] = bytes(len(file[start : start + size]))
        case "cut":
            del file[start:]
    return bytes(file)


@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_files(kind: str, data: st.DataObject) -> None:
    only_audio_errors(mutated(kind, data))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=5000, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=3000))
def test_random_bytes_at_length(magic: bytes, tail: bytes) -> None:
    only_audio_errors(magic + tail)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(sorted(FILES)), data=st.data())
def test_mutated_files_at_length(kind: str, data: st.DataObject) -> None:
    only_audio_errors(mutated(kind, data))
