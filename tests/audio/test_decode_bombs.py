"""Small files that would grow large: what they cost, measured in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from tests.audio.sounds import encoded, noise, with_ffmpeg

MEASURE = """
import resource, sys, time
from pathlib import Path
import numpy, av, soundfile
from audio.decode import Limits, decode
from audio.errors import AudioError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.process_time()
try:
    decode(Path(sys.argv[1]), Limits(max_seconds=60))
    code = "decoded"
except AudioError as error:
    code = error.code
print(code, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, time.process_time() - started)
"""


def cost(path: Path) -> tuple[str, int, float]:
    """Code of the error, growth of the resident memory in MiB, CPU seconds."""
    ran = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True, timeout=60)
    code, mib, seconds = ran.stdout.split()
    return code, int(mib), float(seconds)


def silence(path: Path, format: str, rate: int, minutes: int) -> Path:
    block = np.zeros((rate * 60, 1), np.int16)
    with sf.SoundFile(path, "w", rate, 1, format=format) as file:
        for _ in range(minutes):
            file.write(block)
    return path


@pytest.mark.parametrize(("format", "minutes"), [("FLAC", 240), ("OGG", 20)])
def test_long_silence_in_a_small_file(tmp_path: Path, format: str, minutes: int) -> None:
    path = silence(tmp_path / "silence", format, 8000, minutes)
    assert path.stat().st_size < 2_000_000
    code, mib, seconds = cost(path)
    assert code == "AUDIO_TOO_LONG"
    assert mib < 60  # whole, the four hours take 440 MiB
    assert seconds < 5


def test_a_long_mp3(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(encoded("mp3", noise(24_000, 10), 24_000) * 240)
    code, mib, seconds = cost(path)
    assert code == "AUDIO_TOO_LONG"
    assert mib < 60  # whole, the 40 minutes take 220 MiB
    assert seconds < 5


def test_many_channels_at_a_high_rate(tmp_path: Path) -> None:
    path = tmp_path / "wide"
    with sf.SoundFile(path, "w", 192_000, 8, "PCM_16", format="FLAC") as file:
        for _ in range(55):
            file.write(np.zeros((192_000, 8), np.int16))
    code, mib, _ = cost(path)
    assert code == "AUDIO_TOO_LONG"
    assert mib < 320


def test_headers_that_claim_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "claims"
    for head in (
        b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0\1\0\1\0\xc0\x5d\0\0\x80\xbb\0\0\2\0\x10\0data\xf0\xff\xff\x7f",
        b"RIFF\xff\xff\xff\x7fWAVEfmt \xf0\xff\xff\x7f",
        b"\0\0\0\x18ftypM4A \0\0\0\0M4A isom\x7f\xff\xff\xf0moov\x7f\xff\xff\xe0mvhd",
        b"\x1a\x45\xdf\xa3\x84\x42\x86\x81\x01\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff\x16\x54\xae\x6b\x08\x7f\xff\xff\xf0",
        b"ID3\3\0\0\x7f\x7f\x7f\x7fAPIC\x7f\xff\xff\xf0",
    ):
        path.write_bytes(head + bytes(100_000))
        code, mib, seconds = cost(path)
        assert code == "INVALID_AUDIO"
        assert mib < 40
        assert seconds < 5


def test_an_m4a_sample_table_that_claims_millions(tmp_path: Path) -> None:
    data = bytearray(with_ffmpeg(np.zeros(24_000, np.float32), 24_000, "ipod", "aac"))
    at = data.index(b"stsz") + 12
    data[at : at + 4] = (0x0FFFFFFF).to_bytes(4, "big")
    path = tmp_path / "table"
    path.write_bytes(bytes(data))
    code, mib, _ = cost(path)
    assert code == "INVALID_AUDIO"
    assert mib < 60
