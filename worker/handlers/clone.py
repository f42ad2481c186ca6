"""Make a voice of samples: choose the reference, cut it to the model's limit together with its text."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from audio.decode import decode
from audio.encode import Encoder
from store.clock import utcnow
from store.models import Clone, Job, Sample
from store.repositories.clones import CloneRepository
from store.stores import Stores
from worker.errors import JobFailedError, NotYetError
from worker.handlers.base import Outcome, Report
from worker.inference import SAMPLE_RATE, InferenceClient
from worker.threads import encoding
from worker.voices import STORED_LIMITS

REFERENCE_LIMIT_S = 12.0
"""Longest reference that the inference service leaves whole."""


class CloneHandler:
    def __init__(self, stores: Stores, inference: InferenceClient) -> None:
        self.stores = stores
        self.inference = inference

    async def run(self, job: Job, report: Report) -> Outcome:
        clone, samples = await self._begin(job)
        chosen, known_text = choose(clone, samples)
        await report(20, "Chose the reference")
        stored = await self.stores.objects.get(chosen.prepared_path or "")
        recording = (await asyncio.to_thread(decode, stored, STORED_LIMITS)).mono
        sound, text = await self.inference.reference(recording, known_text, language=clone.language, request_id=job.request_id)
        await report(60, "Prepared the reference")
        key = f"clones/{clone.id}/reference-{(job.lease_owner or '')[-8:]}.wav"
        with tempfile.TemporaryDirectory(prefix="voxify-") as folder:
            path = Path(folder) / "reference.wav"
            async with encoding(Encoder(path, "wav", SAMPLE_RATE)) as encoder:
                await encoder.write(sound)
            await self.stores.objects.put(key, path)

        async def also(session: AsyncSession) -> None:
            await session.execute(
                update(Clone)
                .where(Clone.id == clone.id)
                .values(
                    status="ready", reference_path=key, reference_text=text, reference_duration=round(len(sound) / SAMPLE_RATE, 3),
                    quality_metrics={"reference": chosen.quality_metrics, "reference_sample_id": chosen.id},
                    error_code=None, error_message=None, updated_at=utcnow(),
                )
            )  # fmt: skip

        return Outcome(also=also, wakes=(clone.id,), stored=(key,), obsolete=(clone.reference_path,))

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:
        await session.execute(
            update(Clone).where(Clone.id == job.subject_id).values(status="failed", error_code=code, error_message=message)
        )

    async def _begin(self, job: Job) -> tuple[Clone, Sequence[Sample]]:
        async with self.stores.database.write() as session:
            clones = CloneRepository(session)
            clone = await clones.get(job.subject_id or "")
            if clone is None:
                raise JobFailedError("CLONE_NOT_FOUND", "The clone is gone")
            samples = await clones.samples(clone.id)
            for sample in samples:
                if sample.status == "failed":
                    raise JobFailedError(sample.error_code or "SAMPLE_FAILED", f"Sample {sample.id} failed: {sample.error_message}")
                if sample.status != "ready":
                    raise NotYetError("Waiting for the samples to be processed")
            clone.status = "processing"
        return clone, samples


def choose(clone: Clone, samples: Sequence[Sample]) -> tuple[Sample, str | None]:
    """The sample to clone from, and what is spoken in it if anybody said.

    A reference text given with the clone is that of its first sample, which is then the reference. Otherwise one whose text is known
    comes first, then one that need not be cut, then the better by quality.
    """
    if clone.ref_text:
        return samples[0], clone.ref_text
    chosen = max(samples, key=lambda sample: (bool(sample.ref_text), _fits(sample), _quality(sample)))
    return chosen, chosen.ref_text


def _fits(sample: Sample) -> bool:
    return (sample.prepared_duration or 0.0) <= REFERENCE_LIMIT_S


def _quality(sample: Sample) -> float:
    score: float = (sample.quality_metrics or {}).get("quality_score", 0.0)
    return score
