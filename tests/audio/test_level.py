"""Files of a set loudness."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audio.encode import FORMATS, Encoder, Format
from audio.errors import InvalidAudio
from audio.level import LevelledEncoder
from audio.loudness import integrated_loudness, true_peak
from tests.audio.sounds import Samples, babble, noise

RATE = 24_000


def levelled(path: Path, sound: Samples, target: float, volume: float = 1.0, format: Format = "flac") -> Samples:
    with LevelledEncoder(Encoder(path, format, RATE, {"title": "A title"}), RATE, target, volume) as encoder:
        for start in range(0, len(sound), 7000):
            encoder.write(sound[start : start + 7000])
    return sf.read(path, dtype="float32")[0]


@pytest.mark.parametrize("before_db", [-20, 0, 9])
@pytest.mark.parametrize("target", [-30.0, -23.0])
def test_the_file_has_the_loudness(tmp_path: Path, target: float, before_db: float) -> None:
    sound = babble(RATE) * np.float32(10 ** (before_db / 20))
    made = levelled(tmp_path / "sound.flac", sound, target)
    assert len(made) == len(sound)
    assert integrated_loudness(made, RATE) == pytest.approx(target, abs=0.1)
    assert list(tmp_path.iterdir()) == [tmp_path / "sound.flac"]


@pytest.mark.parametrize("format", FORMATS)
def test_in_every_format(tmp_path: Path, format: Format) -> None:
    made = levelled(tmp_path / "sound", babble(RATE), -23.0, format=format)
    assert integrated_loudness(made, 48_000 if len(made) > 5 * RATE else RATE) == pytest.approx(-23, abs=0.5)


@pytest.mark.parametrize("volume", [0.0, 0.5, 2.0])
def test_the_volume_comes_on_top(tmp_path: Path, volume: float) -> None:
    made = levelled(tmp_path / "sound.flac", babble(RATE), -30.0, volume)
    if volume:
        assert integrated_loudness(made, RATE) == pytest.approx(-30 + 20 * np.log10(volume), abs=0.1)
    else:
        assert not made.any()


def test_its_peaks_stay_under_the_ceiling(tmp_path: Path) -> None:
    made = levelled(tmp_path / "sound.flac", noise(RATE, 3, rms=0.2), -10.0, 2.0)
    assert true_peak(made) <= -1.0


def test_the_level_is_one_factor_throughout(tmp_path: Path) -> None:
    """What was quiet beside what was loud is so still."""
    sound = babble(RATE)
    made = levelled(tmp_path / "sound.flac", sound, -30.0)
    loud = np.abs(sound) > 0.02
    np.testing.assert_allclose((made / np.where(loud, sound, 1))[loud], made[loud].std() / sound[loud].std(), rtol=0.01)


@pytest.mark.parametrize("sound", [np.zeros(RATE, np.float32), np.zeros(0, np.float32)])
def test_silence_stays_silence(tmp_path: Path, sound: Samples) -> None:
    made = levelled(tmp_path / "sound.wav", sound, -16.0, format="wav")
    assert len(made) == len(sound)
    assert not made.any()


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = tmp_path / "sound.flac"
    broken = noise(RATE, 1)
    broken[-1] = np.nan
    with pytest.raises(InvalidAudio), LevelledEncoder(Encoder(path, "flac", RATE), RATE, -16.0) as encoder:
        encoder.write(broken)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="not open"):
        LevelledEncoder(Encoder(path, "flac", RATE), RATE, -16.0).write(np.zeros(1, np.float32))


def test_memory_does_not_grow_with_the_sound(tmp_path: Path) -> None:
    def peak(seconds: int) -> int:
        block = noise(8000, 10)
        tracemalloc.start()
        with LevelledEncoder(Encoder(tmp_path / "sound.wav", "wav", 8000), 8000, -23.0) as encoder:
            for _ in range(seconds // 10):
                encoder.write(block)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(20)  # what is made once and kept
    assert peak(90) < 1.3 * peak(30)
