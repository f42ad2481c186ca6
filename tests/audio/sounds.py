"""Sounds with known properties, and files that hold them."""

from __future__ import annotations

import io
import tempfile
from contextlib import ExitStack
from pathlib import Path

import av
import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from audio.encode import Format, StreamEncoder

Samples = NDArray[np.float32]


def sine(hz: float, rate: int, seconds: float, amplitude: float = 0.5, phase: float = 0.0) -> Samples:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate + phase)).astype(np.float32)


def noise(rate: int, seconds: float, rms: float = 0.1, seed: int = 0) -> Samples:
    return (rms * np.random.default_rng(seed).standard_normal(round(rate * seconds))).astype(np.float32)


def vowel(f0: float, rate: int, seconds: float, formants: tuple[float, ...] = (700, 1200, 2600)) -> Samples:
    """A pulse train through resonances 100 Hz wide: a voice whose pitch and formants are known."""
    t = np.arange(round(rate * seconds)) / rate
    total = np.zeros_like(t)
    for k in range(1, int(rate / 2 / f0)):
        gain = sum(1 / (1 + ((k * f0 - formant) / 100) ** 2) for formant in formants) + 0.003
        total += gain * np.cos(2 * np.pi * k * f0 * t + 0.3 * k)
    return (0.4 * total / np.abs(total).max()).astype(np.float32)


def babble(rate: int, seconds: float = 4.0) -> Samples:
    """Vowels of half a second with pauses of 0.3 s between them, over a floor of noise."""
    voice = vowel(130, rate, seconds)
    spoken = (np.arange(len(voice)) / rate) % 0.8 < 0.5
    return (voice * spoken + noise(rate, seconds, rms=1e-4)).astype(np.float32)


def loudest_hz(samples: Samples, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


def rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def encoded(format: Format, samples: Samples, rate: int) -> bytes:
    encoder = StreamEncoder(format, rate)
    return encoder.write(samples) + encoder.close()


def with_soundfile(samples: NDArray[np.floating], rate: int, format: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    sf.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def with_ffmpeg(
    samples: Samples, rate: int, container: str, codec: str, options: dict[str, str] | None = None, seekable: bool = True
) -> bytes:
    """`samples` of shape (n,) in a container that libsndfile does not write."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path, pipe = Path(folder) / "sound", Pipe()  # moving the index to the front reads the file again by its name
        out = stack.enter_context(av.open(str(path) if seekable else pipe, "w", format=container, options=options or {}))
        stream = out.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(stream.format.name, "mono", rate, frame_size=stream.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0  # without a time, nothing tells decoders to skip the delay
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
        stack.close()
        return path.read_bytes() if seekable else pipe.getvalue()


def silent_video() -> bytes:
    """A WebM file with pictures and no sound."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as out:
        stream = out.add_stream("libvpx", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    return file.getvalue()
