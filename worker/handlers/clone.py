"""Make a voice of samples: a reference for each style, within the model's limit, with its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from audio.encode import Encoder
from store.clock import utcnow
from store.ids import new_id
from store.models import Clone, CloneReference, CloneSample, Job, Sample
from store.models.job import CLONE_QUALITY
from store.repositories.clones import CloneRepository
from store.stores import Stores
from store.vectors import pack
from worker.errors import JobFailedError, NotYetError
from worker.handlers.base import Outcome, Report
from worker.handlers.clone_quality import not_measured
from worker.handlers.references import LeftOut, ReferenceMaker, StyleReference, by_style, default_first, quality, ranked
from worker.inference import SAMPLE_RATE, InferenceClient
from worker.temporary import sound_folder
from worker.threads import encoding


class CloneHandler:
    def __init__(self, stores: Stores, inference: InferenceClient) -> None:
        self.stores = stores
        self.inference = inference
        self.references = ReferenceMaker(stores, inference)

    async def run(self, job: Job, report: Report) -> Outcome:
        clone, samples = await self._begin(job)
        references, left_out = await self._references(clone, samples, job.request_id)
        await report(60, "Prepared the reference")
        default, *others = default_first(clone, references)
        embedding = await self.inference.embed(default.sound, request_id=job.request_id)
        await report(80, "Listened to the voice")
        suffix = (job.lease_owner or "")[-8:]
        keys = [f"clones/{clone.id}/reference-{suffix}-{number}.wav" for number in range(len(references))]
        size = await self._keep(dict(zip(keys, (default.sound, *(other.sound for other in others)), strict=True)))
        await self.stores.vectors.put_or_leave(clone.id, clone.user_id, np.asarray(embedding, dtype=np.float32), "clone")

        async def also(session: AsyncSession) -> None:
            await session.execute(
                update(Clone)
                .where(Clone.id == clone.id)
                .values(
                    status="ready", reference_path=keys[0], reference_text=default.text, reference_duration=round(default.duration_s, 3),
                    reference_style=default.style, reference_size=size, embedding=pack(embedding),
                    quality_metrics=not_measured(default.sample_quality), error_code=None, error_message=None, updated_at=utcnow(),
                )
            )  # fmt: skip
            await session.execute(delete(CloneReference).where(CloneReference.clone_id == clone.id))
            session.add_all(
                CloneReference(clone_id=clone.id, style=other.style, path=key, text=other.text, duration=round(other.duration_s, 3))
                for key, other in zip(keys[1:], others, strict=True)
            )
            await _describe(session, clone, samples, left_out)
            session.add(quality_job(clone, job.request_id))

        return Outcome(also=also, wakes=(clone.id,), stored=tuple(keys), obsolete=tuple(clone.objects))

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
            if any(sample.status not in {"ready", "failed"} for sample in samples):
                raise NotYetError("Waiting for the samples to be processed")
            clone.status = "processing"
        return clone, samples

    async def _references(
        self, clone: Clone, samples: Sequence[Sample], request_id: str | None
    ) -> tuple[list[StyleReference], Mapping[str, LeftOut]]:
        """Raises JobFailedError with the reason of the best sample where none of them is usable."""
        references: list[StyleReference] = []
        left_out: dict[str, LeftOut] = {}
        for style, of_style in by_style(samples).items():
            reference, reasons = await self.references.make(clone, style, of_style, request_id)
            left_out |= reasons
            if reference is not None:
                references.append(reference)
        if not references:
            async with self.stores.database.write() as session:
                await _describe(session, clone, samples, left_out)
            reason = left_out[ranked(clone, samples)[0].id]
            none = "" if len(samples) == 1 else "None of the samples can be used. Of the best one: "
            raise JobFailedError(reason.code, f"{none}{reason.message}")
        return references, left_out

    async def _keep(self, sounds: Mapping[str, NDArray[np.float32]]) -> int:
        """Store the sounds; how many bytes they take together."""
        size = 0
        with sound_folder() as folder:
            path = Path(folder) / "reference.wav"
            for key, sound in sounds.items():
                async with encoding(Encoder(path, "wav", SAMPLE_RATE)) as encoder:
                    await encoder.write(sound)
                size += (await self.stores.objects.put(key, path)).size
        return size


def quality_job(clone: Clone, request_id: str | None) -> Job:
    """What measures a voice that is ready."""
    return Job(
        id=new_id("job"),
        user_id=clone.user_id,
        kind=CLONE_QUALITY,
        subject_id=clone.id,
        available_at=utcnow(),
        request_id=request_id,
    )


async def _describe(session: AsyncSession, clone: Clone, samples: Sequence[Sample], left_out: Mapping[str, LeftOut]) -> None:
    """What has become of each sample."""
    for sample in samples:
        reason = left_out.get(sample.id)
        await session.execute(
            update(CloneSample)
            .where(CloneSample.clone_id == clone.id, CloneSample.sample_id == sample.id)
            .values(
                style=sample.style,
                quality_score=quality(sample),
                used=reason is None,
                reason_code=reason.code if reason else None,
                reason=reason.message if reason else None,
            )
        )
