"""Speak a text in a voice and keep the file."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

import tracing
from audio.encode import Encoder, extension
from audio.errors import AudioError
from audio.level import LevelledEncoder
from store.models import Job, JobTimestamps
from store.objects import ObjectNotFoundError
from store.repositories.jobs import JobRepository
from store.stores import Stores
from worker.cache import cache_key
from worker.errors import AttemptFailedError, LeaseLostError, WorkError
from worker.handlers.base import Outcome, Report
from worker.inference import InferenceClient, Sampling, SpeechPlan, TextSpan
from worker.metrics import WorkMetrics
from worker.speech import Finisher, Heard, Manner, Tap, chunks_in_order
from worker.temporary import sound_folder
from worker.threads import encoding
from worker.timestamps import align_job
from worker.voices import load_voice

log = structlog.get_logger(__name__)

SILENCE_RMS = 1e-4  # -80 dBFS: whatever was asked for, this is not it


class SynthesisHandler:
    """`cache`: whether a repeat is copied from the earlier job instead of being spoken again; `loudness_lufs`: of all files, if any."""

    def __init__(
        self,
        stores: Stores,
        inference: InferenceClient,
        *,
        chunk_concurrency: int,
        cache: bool = True,
        loudness_lufs: float | None = None,
        metrics: WorkMetrics | None = None,
    ) -> None:
        self.stores = stores
        self.inference = inference
        self.chunk_concurrency = chunk_concurrency
        self.cache = cache
        self.loudness_lufs = loudness_lufs
        self.metrics = metrics or WorkMetrics()

    async def run(self, job: Job, report: Report, tap: Tap | None = None, *, live: bool = False) -> Outcome:
        """`tap` is given the sound as it is made; with `live` somebody waits for the answer, and its chunks come before those of jobs."""
        began = time.monotonic()
        voice = await load_voice(self.stores, job.user_id, job.voice_model_id or "", job.config.get("emotion"))
        with tracing.span("plan", {"voxify.characters": job.text_length}):
            plan = await self.inference.plan(
                job.text_content,
                language=job.text_language,
                reference=voice.reference,
                speed=job.speed,
                model=job.config.get("model") or voice.model,
                on_unsupported=job.config.get("on_unsupported", "error"),
                request_id=job.request_id,
            )
        await report(5, "Planned the text")
        sampling = Sampling(int(job.config.get("seed", 0)), job.config.get("nfe_step"), job.config.get("cfg_strength"))
        chunks = chunks_in_order(
            plan,
            voice.reference,
            sampling,
            self.inference,
            concurrency=self.chunk_concurrency,
            request_id=job.request_id,
            live=live,
            metrics=self.metrics,
        )
        manner = Manner(job.sample_rate, job.pitch, job.volume, job.config.get("loudness_lufs", self.loudness_lufs))
        key = cache_key(job, plan, voice.reference, sampling, manner)
        # Whoever listens is sent the sound as it is made, which a file is not.
        if self.cache and tap is None:
            repeated = await self._repeated(job, key)
            self.metrics.looked_up(hit=repeated is not None)
            if repeated is not None:
                return repeated
        finisher, heard = Finisher(manner), Heard(tap, manner)
        with sound_folder() as folder:
            path = Path(folder) / f"speech{extension(job.output_format)}"
            samples, energy = 0, 0.0
            encoder = encoding(encoder_of(path, job, manner))
            about = {"voxify.chunks": len(plan.chunks), "voxify.format": job.output_format}
            with tracing.span("encode", about):
                async with encoder as encoded, aclosing(finisher.blocks(chunks)) as blocks:
                    done = 0
                    async for block in blocks:
                        await encoded.write(block)
                        await heard.block(block)
                        samples += len(block)
                        energy += float(np.square(block, dtype=np.float64).sum())
                        done = min(done + 1, len(plan.chunks))
                        await report(5 + 90 * done / len(plan.chunks), f"Spoke {done} of {len(plan.chunks)} parts")
                    await heard.end()
            if job.volume > 0 and energy < samples * SILENCE_RMS**2:
                raise AttemptFailedError("SYNTHESIS_FAILED", "The speech service sent silence")
            duration = round(samples / job.sample_rate, 3)
            spoken = described(plan, finisher.spans_s)
            # Reckoned before the words are looked for: it is the voice's speed.
            took_s = round(time.monotonic() - began, 3)
            words = await self._words(path, job, duration, spoken, report)
            with tracing.span("store"):
                stored = await self.stores.objects.put(object_key(job), path)
        self.metrics.spoke(took_s, duration)
        return Outcome(
            columns={
                "output_path": stored.key,
                "output_size": stored.size,
                "duration": duration,
                "cache_key": key,
                # What this attempt took, without the waits before it: the voice's speed is reckoned from it.
                "result": spoken | {"synthesis_s": took_s},
            },
            also=keeping(words),
            stored=(stored.key,),
        )

    async def _repeated(self, job: Job, key: str) -> Outcome | None:
        """What an earlier job of the same person has spoken just so, as a file of this job's own; None where there is none."""
        async with self.stores.database.read() as session:
            jobs = JobRepository(session)
            earlier = await jobs.same_sound(job.user_id, key)
            known = await jobs.timestamps(earlier.id) if earlier is not None else None
        if earlier is None or earlier.output_path is None:
            return None
        try:
            with tracing.span("store", {"voxify.cache_hit": True}):
                stored = await self.stores.objects.copy(earlier.output_path, object_key(job))
        except ObjectNotFoundError:
            return None  # deleted since
        return Outcome(
            columns={
                "output_path": stored.key,
                "output_size": stored.size,
                "duration": earlier.duration,
                "cache_key": key,
                "cache_hit": True,
                # All but the time it took, which it did not.
                "result": {name: value for name, value in (earlier.result or {}).items() if name != "synthesis_s"},
            },
            also=keeping(known and JobTimestamps(job_id=job.id, method=known.method, words=known.words)),
            stored=(stored.key,),
        )

    async def _words(self, path: Path, job: Job, duration: float, spoken: dict[str, Any], report: Report) -> JobTimestamps | None:
        """When the words are said, if the job wants to know. What goes wrong is no reason to lose the sound: they can be found later."""
        if not job.config.get("include_timestamps"):
            return None
        await report(96, "Finding the words")
        spans = [TextSpan(**chunk) for chunk in spoken["chunks"]]
        try:
            return await align_job(path, job, duration=duration, spans=spans, inference=self.inference)
        except LeaseLostError:
            raise
        except (WorkError, AudioError) as failure:
            log.warning("no timestamps", reason=type(failure).__name__)
            return None

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:
        """A job's failure concerns its own row alone."""


def object_key(job: Job) -> str:
    """Every attempt has a key of its own: one that lost its lease half-way can never write into another's file."""
    return f"jobs/{job.id}/{job.attempt}-{(job.lease_owner or '')[-8:]}{extension(job.output_format)}"


def keeping(words: JobTimestamps | None) -> Callable[[AsyncSession], Awaitable[None]]:
    """What writes the words in the commit that completes their job."""

    async def also(session: AsyncSession) -> None:
        if words is not None:
            await JobRepository(session).keep_timestamps(words)

    return also


def described(plan: SpeechPlan, spans_s: list[tuple[float, float]]) -> dict[str, Any]:
    """What the owner is told of how the text was spoken."""
    return {
        "model": plan.model,
        "language_support": plan.support,
        "speech": plan.speech,
        "chunks": [
            {"start": chunk.start, "end": chunk.end, "start_s": round(start, 3), "end_s": round(end, 3)}
            for chunk, (start, end) in zip(plan.chunks, spans_s, strict=True)
        ],
        "unsupported_characters": [{"character": lost.character, "position": lost.position} for lost in plan.unsupported_characters],
    }


def encoder_of(path: Path, job: Job, manner: Manner) -> Encoder | LevelledEncoder:
    """What writes the job's file in this manner."""
    encoder = Encoder(path, job.output_format, job.sample_rate, metadata=tags(job))
    if manner.loudness_lufs is None:
        return encoder
    return LevelledEncoder(encoder, job.sample_rate, manner.loudness_lufs, manner.volume)


def tags(job: Job) -> dict[str, str]:
    """The file says of itself that no person spoke it. The text stays out: files travel further than their owner thinks."""
    return {"title": f"Voxify {job.id}", "comment": "AI-generated speech"}
