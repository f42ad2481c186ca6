from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.decode import decode
from audio.encode import FORMATS, SAMPLE_RATES, Encoder, Format, StreamEncoder, content_type, encoded_rate, extension
from audio.errors import InvalidAudio
from audio.sinks import Guard, Pipe
from audio.tags import clean
from tests.audio.sounds import Samples, encoded, loudest_hz, noise, rms, sine

SECONDS = 1.37
TITLE = "Título 语音 🎙"


def written(path: Path, format: Format, rate: int, sound: Samples, metadata: dict[str, str] | None = None) -> Path:
    with Encoder(path, format, rate, metadata) as encoder:
        for start in range(0, len(sound), 3000):
            encoder.write(sound[start : start + 3000])
    return path


def streamed(format: Format, rate: int, sound: Samples, block: int = 3000) -> bytes:
    encoder = StreamEncoder(format, rate, {"title": TITLE})
    return b"".join([*(encoder.write(sound[i : i + block]) for i in range(0, len(sound), block)), encoder.close()])


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("format", FORMATS)
def test_a_tone_comes_back_from_every_file(tmp_path: Path, format: Format, rate: int) -> None:
    tone = sine(1000, rate, SECONDS)
    path = written(tmp_path / "tone", format, rate, tone)
    decoded = decode(path)
    assert decoded.format == format
    assert decoded.sample_rate == (48_000 if format == "opus" else rate)
    # FFmpeg's Vorbis decoder is a block short or long at the end; libsndfile below is exact
    assert decoded.duration_s == pytest.approx(SECONDS, abs=0.02 if format == "ogg" else 0.001)
    with sf.SoundFile(path) as file:
        assert file.frames / file.samplerate == pytest.approx(SECONDS, abs=0.001)
    assert loudest_hz(decoded.mono, decoded.sample_rate) == pytest.approx(1000, abs=2)
    assert rms(decoded.mono) == pytest.approx(0.5 / 2**0.5, rel=0.05)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("format", FORMATS)
def test_a_tone_comes_back_from_every_stream(format: Format, rate: int) -> None:
    decoded = decode(streamed(format, rate, sine(1000, rate, SECONDS)))
    assert decoded.format == format
    padding = 0.3 if format == "mp3" else 0.02 if format == "ogg" else 0.001
    assert decoded.duration_s == pytest.approx(SECONDS, abs=padding)
    assert loudest_hz(decoded.mono, decoded.sample_rate) == pytest.approx(1000, abs=2)


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("format", FORMATS)
def test_the_rate_that_is_said_is_the_rate_that_is_written(tmp_path: Path, format: Format, rate: int) -> None:
    path = written(tmp_path / "sound", format, rate, noise(rate, 0.2))
    if format == "opus":
        head = path.read_bytes()
        at = head.index(b"OpusHead")
        found = int.from_bytes(head[at + 12 : at + 16], "little")  # RFC 7845, section 5.1: input sample rate
    else:
        found = sf.info(path).samplerate
    assert found == encoded_rate(format, rate)


def test_opus_takes_the_nearest_of_its_rates() -> None:
    known = {8_000: 8_000, 16_000: 16_000, 22_050: 24_000, 24_000: 24_000, 44_100: 48_000, 48_000: 48_000}
    assert {rate: encoded_rate("opus", rate) for rate in SAMPLE_RATES} == known


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_lossless_formats_are_exact(tmp_path: Path, format: Format) -> None:
    sound = np.rint(noise(24_000, 1) * 32767) / np.float32(32767)
    back, _ = sf.read(written(tmp_path / "sound", format, 24_000, sound), dtype="int16")
    assert np.abs(back - np.rint(np.clip(sound, -1, 1) * 32767)).max() <= 1


@pytest.mark.parametrize("format", FORMATS)
def test_the_sound_lies_where_it_lay(tmp_path: Path, format: Format) -> None:
    """No delay but a stream of MP3's: a click at 0.5 s is at 0.5 s."""
    sound = np.zeros(24_000, np.float32)
    sound[12_000:12_040] = noise(24_000, 40 / 24_000, rms=0.5)
    decoded = decode(written(tmp_path / "click", format, 24_000, sound))
    assert np.argmax(np.abs(decoded.mono)) / decoded.sample_rate == pytest.approx(0.5, abs=0.003)


@pytest.mark.parametrize("format", FORMATS)
def test_tags_are_read_by_players(tmp_path: Path, format: Format) -> None:
    path = written(tmp_path / "sound", format, 24_000, noise(24_000, 0.2), {"title": TITLE})
    for source in (str(path), io.BytesIO(streamed(format, 24_000, noise(24_000, 0.2)))):
        with av.open(source) as file:
            tags = {name.lower(): value for name, value in {**file.metadata, **file.streams[0].metadata}.items()}
        assert tags["title"] == TITLE
        assert tags["comment"] == "AI-generated"


@given(st.text(max_size=300), st.text(max_size=300))
@settings(max_examples=20, deadline=None)
def test_any_text_makes_a_readable_file(title: str, comment: str) -> None:
    for format in FORMATS:
        encoder = StreamEncoder(format, 24_000, {"title": title, "comment": comment})
        assert decode(encoder.write(noise(24_000, 0.3)) + encoder.close()).format == format


def test_tags_are_cleaned() -> None:
    dirty = {"title": " a\nb\0c\ud800 ", "artist": "x" * 300, "comment": "\n"}
    assert clean(dirty) == {"title": "a b c", "artist": "x" * 200}
    assert clean(None) == {}


def test_unknown_arguments(tmp_path: Path) -> None:
    for arguments in [("aac", 24_000, None), ("wav", 11_025, None), ("wav", 24_000, {"genre": "speech"})]:
        with pytest.raises(ValueError, match=r"known|served"):
            Encoder(tmp_path / "sound", *arguments)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"known|served"):
            StreamEncoder(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("format", FORMATS)
def test_a_failure_leaves_nothing_behind_and_the_old_file_alone(tmp_path: Path, format: Format) -> None:
    path = tmp_path / "sound"
    path.write_bytes(b"the old one")

    def fail() -> None:
        with Encoder(path, format, 24_000) as encoder:
            encoder.write(noise(24_000, 1))
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fail()
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_no_number_is_refused(tmp_path: Path, format: Format) -> None:
    with pytest.raises(InvalidAudio), Encoder(tmp_path / "sound", format, 24_000) as encoder:
        encoder.write(np.array([0, np.nan], np.float32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_an_os_error(tmp_path: Path, format: Format) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    encoder = Encoder(tmp_path / "sound", format, 24_000)
    encoder._part.symlink_to(full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)), encoder:
        encoder.write(noise(24_000, 20))
    assert list(tmp_path.iterdir()) == []


def test_writing_outside_of_the_context(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not open"):
        Encoder(tmp_path / "sound", "wav", 24_000).write(np.zeros(1, np.float32))


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_sound_makes_a_file(tmp_path: Path, format: Format) -> None:
    assert written(tmp_path / "sound", format, 24_000, np.zeros(0, np.float32)).exists()


@pytest.mark.parametrize("format", FORMATS)
def test_a_stream_flows(format: Format) -> None:
    """Bytes come long before the end, and what was sent is never taken back."""
    encoder = StreamEncoder(format, 24_000)
    parts = [encoder.write(noise(24_000, 0.25, seed=i)) for i in range(40)]
    rest = encoder.close()
    assert sum(map(len, parts[:8])) > 0.1 * sum(map(len, parts))
    assert len(rest) < 0.25 * sum(map(len, parts))
    assert max(i for i, part in enumerate(parts) if part) >= 35


def test_a_streamed_wav_states_no_length() -> None:
    data = encoded("wav", noise(8000, 0.1), 8000)
    encoder = StreamEncoder("wav", 8000)
    head = encoder.write(np.zeros(0, np.float32))
    assert head[4:8] == b"\xff\xff\xff\xff"
    assert head[-4:] == b"\xff\xff\xff\xff"
    assert len(data) == len(head) + 1600


def test_types_and_extensions() -> None:
    assert [content_type(f) for f in FORMATS] == ["audio/wav", "audio/mpeg", "audio/flac", "audio/ogg", "audio/ogg; codecs=opus"]
    assert [extension(f) for f in FORMATS] == [".wav", ".mp3", ".flac", ".ogg", ".opus"]
    with pytest.raises(ValueError, match="unknown format"):
        content_type("aac")  # type: ignore[arg-type]


@given(st.lists(st.one_of(st.binary(max_size=20), st.integers(0, 60), st.none()), max_size=20))
def test_a_pipe_gives_what_a_file_would_hold_but_for_what_was_taken(steps: list[bytes | int | None]) -> None:
    pipe, taken = Pipe(), b""
    file = bytearray()
    for step in steps:
        if isinstance(step, bytes):
            at = pipe.tell()
            fresh = step[max(0, len(taken) - at) :]
            start = max(at, len(taken))
            file[start : start + len(fresh)] = fresh
            pipe.write(step)
        elif step is None:
            taken += pipe.take()
        else:
            pipe.seek(min(step, len(file)))
    assert taken + pipe.take() == bytes(file)


def test_a_guard_counts_from_where_it_began() -> None:
    sink = io.BytesIO()
    sink.write(b"head")
    guard = Guard(sink)
    guard.write(b"abc")
    assert (guard.tell(), guard.seek(1)) == (3, 1)
    guard.write(b"X")
    assert guard.seek(0, io.SEEK_END) == 3
    assert sink.getvalue() == b"headaXc"
