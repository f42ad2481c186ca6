"""Prepare an uploaded recording: 24 kHz mono, trimmed, measured, with the embedding of its voice."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from audio.decode import Limits
from audio.decode_pool import Decoders
from audio.encode import Encoder
from audio.errors import AudioError, DecoderUnavailableError
from audio.inspect import inspect
from audio.resample import resample
from audio.trim import trim
from store.clock import utcnow
from store.models import Job, Sample
from store.objects import ObjectNotFoundError
from store.repositories.samples import SampleRepository
from store.stores import Stores
from store.vectors import pack
from worker.errors import AttemptFailedError, JobFailedError
from worker.handlers.base import Outcome, Report
from worker.inference import SAMPLE_RATE, InferenceClient
from worker.temporary import sound_folder
from worker.threads import encoding


class SampleHandler:
    def __init__(self, stores: Stores, inference: InferenceClient, limits: Limits, decoders: Decoders) -> None:
        self.stores = stores
        self.inference = inference
        self.limits = limits
        self.decoders = decoders

    async def run(self, job: Job, report: Report) -> Outcome:
        sample = await self._begin(job)
        try:
            original = await self.stores.objects.get(sample.original_path)
        except ObjectNotFoundError as missing:
            raise JobFailedError("FILE_NOT_FOUND", "The uploaded file is gone") from missing
        try:
            prepared, metrics = await asyncio.to_thread(self._prepare, original)
        except AudioError as unusable:
            raise JobFailedError(unusable.code, unusable.message) from unusable
        except DecoderUnavailableError as unavailable:
            raise AttemptFailedError("DECODER_UNAVAILABLE", "The recording could not be decoded on this machine") from unavailable
        await report(40, "Measured the recording")
        embedding = await self.inference.embed(prepared, request_id=job.request_id)
        await report(60, "Listened to the voice")
        text = sample.ref_text or await self.inference.transcribe(prepared, language=sample.language, request_id=job.request_id)
        await report(80, "Listened to the words")
        key = f"samples/{sample.id}/prepared-{(job.lease_owner or '')[-8:]}.wav"
        size = await self._keep(key, prepared)
        await self.stores.vectors.put_or_leave(sample.id, sample.user_id, np.asarray(embedding, dtype=np.float32))

        async def also(session: AsyncSession) -> None:
            await session.execute(
                update(Sample)
                .where(Sample.id == sample.id)
                .values(
                    status="ready", ref_text=func.coalesce(Sample.ref_text, text),  # its owner may have said it meanwhile
                    prepared_path=key, prepared_duration=round(len(prepared) / SAMPLE_RATE, 3), prepared_size=size, quality_metrics=metrics,
                    embedding=pack(embedding), error_code=None, error_message=None, updated_at=utcnow(),
                )
            )  # fmt: skip

        return Outcome(also=also, wakes=(sample.id,), stored=(key,), obsolete=(sample.prepared_path,))

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:
        await session.execute(
            update(Sample).where(Sample.id == job.subject_id).values(status="failed", error_code=code, error_message=message)
        )

    async def _begin(self, job: Job) -> Sample:
        async with self.stores.database.write() as session:
            sample = await SampleRepository(session).get(job.subject_id or "")
            if sample is None:
                raise JobFailedError("SAMPLE_NOT_FOUND", "The sample is gone")
            sample.status = "processing"
        return sample

    def _prepare(self, original: bytes) -> tuple[NDArray[np.float32], dict[str, Any]]:
        decoded = self.decoders.decode(original, self.limits)
        mono = decoded.mono
        metrics = asdict(inspect(mono, decoded.sample_rate))
        return trim(resample(mono, decoded.sample_rate, SAMPLE_RATE), SAMPLE_RATE), metrics

    async def _keep(self, key: str, samples: NDArray[np.float32]) -> int:
        """Store the sound; its size in bytes."""
        with sound_folder() as folder:
            path = Path(folder) / "prepared.wav"
            async with encoding(Encoder(path, "wav", SAMPLE_RATE)) as encoder:
                await encoder.write(samples)
            stored = await self.stores.objects.put(key, path)
        return stored.size
