"""What is spoken is heard from its first sample to its last, without clicks, at the level that was asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from audio.encode import SAMPLE_RATES
from audio.loudness import integrated_loudness, true_peak
from store.models import Job
from tests.audio.sounds import babble, sine, vowel
from worker.handlers.synthesis import encoder_of
from worker.inference import SAMPLE_RATE
from worker.speech import Finisher, Heard, Manner

Samples = NDArray[np.float32]


async def of(*chunks: Samples) -> AsyncGenerator[Samples]:
    for chunk in chunks:
        yield chunk


async def finished(manner: Manner, *chunks: Samples) -> Samples:
    return np.concatenate([block async for block in Finisher(manner).blocks(of(*chunks))])


def power(sound: Samples) -> float:
    return float(np.mean(np.square(sound, dtype=np.float64)))


@pytest.mark.parametrize("rate", SAMPLE_RATES)
async def test_head_and_tail_are_heard_at_every_rate(rate: int) -> None:
    """A tone that begins with the first chunk and ends with the last: its first and last 20 ms are as loud as its middle."""
    sound = await finished(Manner(rate), *[sine(300, SAMPLE_RATE, 0.5, amplitude=0.3)] * 3)
    seconds = 1.5 - 2 * 0.05  # two cross-fades
    assert len(sound) == pytest.approx(seconds * rate, abs=2)
    middle = power(sound[rate // 10 : rate // 3])
    for edge in (sound[: rate // 50], sound[-rate // 50 :]):
        assert 10 * np.log10(power(edge) / middle) == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("pitch", [0.6, 1.0, 1.6])
async def test_a_shifted_voice_keeps_its_length_and_has_no_clicks_at_the_joins(pitch: float) -> None:
    voice = vowel(140, SAMPLE_RATE, 0.6)
    sound = await finished(Manner(SAMPLE_RATE, pitch), voice, voice, voice)
    assert len(sound) == pytest.approx((3 * 0.6 - 2 * 0.05) * SAMPLE_RATE, abs=2)
    jumps = np.abs(np.diff(sound))
    joins = [round((0.55 * n + 0.025 * (2 * n - 1)) * SAMPLE_RATE) for n in (1, 2)]
    near = np.concatenate([jumps[at - 1500 : at + 1500] for at in joins])
    assert near.max() <= 1.5 * jumps[1500 : round(0.4 * SAMPLE_RATE)].max(), "no steeper than the voice itself, where two of it meet"


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100])
async def test_a_loud_voice_at_twice_the_volume_stays_under_the_ceiling(rate: int) -> None:
    loud = vowel(120, SAMPLE_RATE, 1) * np.float32(2.4)
    assert true_peak(await finished(Manner(rate, volume=2.0), loud, loud)) <= -1.0


async def test_a_quiet_voice_is_left_alone() -> None:
    quiet = vowel(120, SAMPLE_RATE, 1) * np.float32(0.1)
    np.testing.assert_array_equal(await finished(Manner(SAMPLE_RATE), quiet), quiet)


@pytest.mark.parametrize("volume", [1.0, 0.5])
async def test_the_file_has_the_loudness_and_a_listener_hears_about_it(tmp_path: Path, volume: float) -> None:
    manner = Manner(16_000, 1.0, volume, loudness_lufs=-23.0)
    job = Job(id="job_1", output_format="flac", sample_rate=16_000)
    heard: list[Samples] = []

    async def tap(block: Samples) -> None:
        heard.append(block)

    listener = Heard(tap, manner)
    chunks = [babble(SAMPLE_RATE, 3) * np.float32(factor) for factor in (0.3, 0.25, 0.35)]
    with encoder_of(tmp_path / "speech.flac", job, manner) as encoder:
        async for block in Finisher(manner).blocks(of(*chunks)):
            encoder.write(block)
            await listener.block(block)
        await listener.end()
    kept, rate = sf.read(tmp_path / "speech.flac", dtype="float32")
    wanted = -23 + 20 * np.log10(volume)
    assert integrated_loudness(kept, rate) == pytest.approx(wanted, abs=0.1)
    assert integrated_loudness(np.concatenate(heard), rate) == pytest.approx(wanted, abs=1.5)
    assert sum(map(len, heard)) == len(kept)


async def test_without_a_loudness_a_listener_hears_what_is_kept() -> None:
    heard: list[Any] = []

    async def tap(block: Samples) -> None:
        heard.append(block)

    listener = Heard(tap, Manner(SAMPLE_RATE))
    block = babble(SAMPLE_RATE, 1)
    await listener.block(block)
    await listener.end()
    assert len(heard) == 1
    assert heard[0] is block
