"""Voices that differ, and what each must sound like: the same words spoken where nothing disturbs."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audio.decode import decode
from scripts.demo import recording
from tests.chaos.ledger import Voice, Wish
from worker.inference import SAMPLE_RATE, InferenceClient, Reference, Sampling
from worker.speech import Finisher, Manner, chunks_in_order
from worker.voices import STORED_LIMITS

LANGUAGE = "en-US"
AT_ONCE = 4
NFE_STEP = 7
"""The fewest that a job may ask for: here the way matters, not the sound."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A file that a completed job has left, held against what it should be.

    Attributes:
        problem: why it cannot be read; the numbers are then 0.
        seconds: how long it is, and `wanted_s` how long it should be.
        difference: the largest, of any sample, from the sound that it should be; full scale is 1.
        nearest_other: the same to what another person's voice would have made of it; None where it was not tried.
    """

    digest: str
    problem: str | None = None
    seconds: float = 0.0
    wanted_s: float = 0.0
    difference: float = 0.0
    nearest_other: float | None = None


def voice_recording(number: int) -> bytes:
    """The recording of a person: nobody else's has its pitch and pace."""
    samples, rate = soundfile.read(recording(), dtype="float32", always_2d=True)
    changed = soxr.resample(samples[:, 0], rate, rate * (0.8 + 0.04 * (number % 10)))
    file = io.BytesIO()
    soundfile.write(file, changed * (0.9 - 0.02 * number / 10), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


async def listen(wishes: Mapping[str, Wish], files: Mapping[str, bytes], inference: InferenceClient) -> dict[str, Heard]:
    """Each job's file against what its text, voice and seed make where nothing disturbs.

    wishes, files: by the job's id; those without a file are passed over.
    """
    turn = asyncio.Semaphore(AT_ONCE)
    voices = list({wish.voice.voice_id: wish.voice for wish in wishes.values()}.values())

    async def hear(number: int, job_id: str) -> Heard:
        async with turn:
            wish, content = wishes[job_id], files[job_id]
            others = [voice for voice in voices if voice.voice_id != wish.voice.voice_id]
            # What tells voices apart is shown on every tenth; it costs as much as the comparison itself.
            other = others[number % len(others)] if others and number % 10 == 0 else None
            return await _hear(wish, content, inference, other)

    ids = sorted(files.keys() & wishes.keys())
    return dict(zip(ids, await asyncio.gather(*(hear(number, job_id) for number, job_id in enumerate(ids))), strict=True))


async def _hear(wish: Wish, content: bytes, inference: InferenceClient, other: Voice | None) -> Heard:
    digest = hashlib.sha256(content).hexdigest()
    try:
        sound, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    except soundfile.LibsndfileError as damaged:
        return Heard(digest, f"cannot be decoded: {damaged}")
    if rate != SAMPLE_RATE or sound.ndim != 1:
        return Heard(digest, f"{rate} Hz, {sound.ndim} dimensions")
    wanted = await spoken(wish.text, wish.seed, wish.voice, inference)
    theirs = None if other is None else await spoken(wish.text, wish.seed, other, inference)
    return Heard(
        digest,
        None,
        len(sound) / rate,
        len(wanted) / SAMPLE_RATE,
        difference(sound, wanted),
        None if theirs is None else difference(sound[: len(theirs)], theirs[: len(sound)]),
    )


async def spoken(text: str, seed: int, voice: Voice, inference: InferenceClient) -> NDArray[np.float32]:
    """What a job of this text, seed and voice sounds like: mono, 24 kHz."""
    reference = Reference(voice.reference, voice.reference_text, len(voice.reference) / 2 / SAMPLE_RATE)
    plan = await inference.plan(text, language=LANGUAGE, reference=reference)
    chunks = chunks_in_order(plan, reference, Sampling(seed, NFE_STEP), inference, concurrency=AT_ONCE, request_id=None)
    return np.concatenate([block async for block in Finisher(Manner(SAMPLE_RATE)).blocks(chunks)])


def pcm_of(reference: bytes) -> bytes:
    """What the model is given of a stored reference: mono, 24 kHz, 16 bit."""
    return Reference.of(decode(reference, STORED_LIMITS).mono, "").pcm


def difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The largest of any sample; 1.0 where they are not equally long."""
    if len(one) != len(other):
        return 1.0
    return float(np.abs(one - other).max()) if len(one) else 0.0
