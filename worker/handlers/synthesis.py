"""Speak a text in a voice and keep the file."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from audio.encode import Encoder, extension
from store.models import Job
from store.stores import Stores
from worker.errors import AttemptFailedError
from worker.handlers.base import Outcome, Report
from worker.inference import InferenceClient, Sampling, SpeechPlan
from worker.speech import Finisher, Manner, chunks_in_order
from worker.threads import encoding
from worker.voices import load_voice

SILENCE_RMS = 1e-4  # -80 dBFS: whatever was asked for, this is not it
Tap = Callable[[NDArray[np.float32]], Awaitable[None]]
"""Is given each block of finished sound as soon as there is one."""


class SynthesisHandler:
    def __init__(self, stores: Stores, inference: InferenceClient, *, chunk_concurrency: int) -> None:
        self.stores = stores
        self.inference = inference
        self.chunk_concurrency = chunk_concurrency

    async def run(self, job: Job, report: Report, tap: Tap | None = None) -> Outcome:
        voice = await load_voice(self.stores, job.user_id, job.voice_model_id or "")
        plan = await self.inference.plan(
            job.text_content,
            language=job.text_language,
            reference=voice.reference,
            speed=job.speed,
            model=job.config.get("model"),
            on_unsupported=job.config.get("on_unsupported", "error"),
            request_id=job.request_id,
        )
        await report(5, "Planned the text")
        sampling = Sampling(int(job.config.get("seed", 0)), job.config.get("nfe_step"), job.config.get("cfg_strength"))
        chunks = chunks_in_order(
            plan, voice.reference, sampling, self.inference, concurrency=self.chunk_concurrency, request_id=job.request_id
        )
        finisher = Finisher(Manner(job.sample_rate, job.pitch, job.volume))
        with tempfile.TemporaryDirectory(prefix="voxify-") as folder:
            path = Path(folder) / f"speech{extension(job.output_format)}"
            samples, energy = 0, 0.0
            encoder = encoding(Encoder(path, job.output_format, job.sample_rate, metadata=tags(job)))
            async with encoder as encoded, aclosing(finisher.blocks(chunks)) as blocks:
                done = 0
                async for block in blocks:
                    await encoded.write(block)
                    if tap is not None:
                        await tap(block)
                    samples += len(block)
                    energy += float(np.square(block, dtype=np.float64).sum())
                    done = min(done + 1, len(plan.chunks))
                    await report(5 + 90 * done / len(plan.chunks), f"Spoke {done} of {len(plan.chunks)} parts")
            if job.volume > 0 and energy < samples * SILENCE_RMS**2:
                raise AttemptFailedError("SYNTHESIS_FAILED", "The speech service sent silence")
            # Every attempt has a key of its own: one that lost its lease half-way can never write into another's file.
            key = f"jobs/{job.id}/{job.attempt}-{(job.lease_owner or '')[-8:]}{extension(job.output_format)}"
            stored = await self.stores.objects.put(key, path)
        return Outcome(
            columns={
                "output_path": stored.key,
                "output_size": stored.size,
                "duration": round(samples / job.sample_rate, 3),
                "result": described(plan, finisher.spans_s),
            },
            stored=(stored.key,),
        )

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:
        """A job's failure concerns its own row alone."""


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


def tags(job: Job) -> dict[str, str]:
    """The file says of itself that no person spoke it. The text stays out: files travel further than their owner thinks."""
    return {"title": f"Voxify {job.id}", "comment": "AI-generated speech"}
