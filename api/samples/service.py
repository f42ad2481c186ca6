"""Recordings: taken in, described, processed again, removed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from litestar.datastructures import UploadFile

from api.errors import ConflictError, PayloadTooLargeError, found
from api.limits.quotas import Quotas
from api.samples.schemas import SamplePatch, SampleUpload, SimilarSample
from audio.decode import Limits
from audio.decode_pool import Decoders, Recording
from store.clock import utcnow
from store.ids import new_id
from store.models import Job, Sample
from store.models.job import SAMPLE_PROCESSING
from store.repositories.base import Window
from store.repositories.clones import CloneRepository
from store.repositories.jobs import JobRepository
from store.repositories.library import PreviewRepository
from store.repositories.samples import SampleRepository
from store.repositories.trainings import TrainingRepository
from store.stores import Stores
from store.vectors import VectorsUnavailableError, unpack

MAX_SIMILAR = 10


def _processing_job(user_id: str, sample_id: str, request_id: str) -> Job:
    return Job(
        id=new_id("job"), user_id=user_id, kind=SAMPLE_PROCESSING, subject_id=sample_id, available_at=utcnow(), request_id=request_id
    )


class SampleService:
    def __init__(
        self,
        stores: Stores,
        quotas: Quotas,
        limits: Limits,
        decoders: Decoders,
        ring: Callable[[], None],
        *,
        similarity_threshold: float,
    ) -> None:
        self.stores = stores
        self.quotas = quotas
        self.limits = limits
        self.decoders = decoders
        self.ring = ring
        self.similarity_threshold = similarity_threshold
        # A recording that is looked at takes up to `max_decoded_bytes`.
        self.slots = asyncio.Semaphore(os.cpu_count() or 1)

    async def upload(self, user_id: str, form: SampleUpload, request_id: str) -> Sample:
        """Keep a recording and queue its processing. What cannot be decoded is refused and leaves nothing behind."""
        content = await self._read(form.file)
        async with self.slots:
            facts = await asyncio.to_thread(self.decoders.facts, content, self.limits)
        sample = self._row(user_id, form, facts, len(content))
        await self.stores.objects.put(sample.original_path, content)
        try:
            async with self.stores.database.write() as session:
                await self.quotas.take_sample(session, user_id)
                session.add(sample)
                session.add(_processing_job(user_id, sample.id, request_id))
                await self.quotas.require_fit(session, user_id)
        except BaseException:
            await self.stores.objects.delete_or_leave(sample.original_path)
            raise
        self.ring()
        return sample

    async def list(
        self, user_id: str, window: Window, *, status: str | None, language: str | None, style: str | None, search: str | None
    ) -> tuple[Sequence[Sample], int]:
        """The person's recordings; for the filters see :meth:`SampleRepository.list`."""
        async with self.stores.database.read() as session:
            return await SampleRepository(session).list(user_id, window, status=status, language=language, style=style, search=search)

    async def get(self, user_id: str, sample_id: str) -> Sample:
        async with self.stores.database.read() as session:
            sample = found(await SampleRepository(session).owned(user_id, sample_id), "sample")
        return sample

    async def update(self, user_id: str, sample_id: str, wanted: SamplePatch) -> Sample:
        """Say other things of the recording. Clones that are ready keep the text that they were made with."""
        async with self.stores.database.write() as session:
            sample = found(await SampleRepository(session).owned_for_update(user_id, sample_id), "sample")
            for column, value in wanted.model_dump(include=wanted.model_fields_set).items():
                setattr(sample, column, value)
        return sample

    async def similar(self, user_id: str, sample_id: str) -> Sequence[SimilarSample] | None:
        """The person's other recordings that sound like this one, the most similar first; none while it has not been listened to.

        None: the index of voices is away.
        """
        async with self.stores.database.read() as session:
            embedding = await SampleRepository(session).embedding(user_id, sample_id)
        if embedding is None:
            return []
        # One more, as a recording is its own nearest neighbour.
        try:
            near = await self.stores.vectors.similar(user_id, unpack(embedding), MAX_SIMILAR + 1, "sample")
        except VectorsUnavailableError:
            return None
        alike = {each.id: each.similarity for each in near if each.id != sample_id and each.similarity >= self.similarity_threshold}
        async with self.stores.database.read() as session:
            # The index may know recordings that are gone; the rows say whose they are and what they are called.
            rows = await SampleRepository(session).owned_many(user_id, list(alike)[:MAX_SIMILAR])
        return [SimilarSample(sample_id=row.id, name=row.name, similarity=round(alike[row.id], 4)) for row in rows]

    async def process(self, user_id: str, sample_id: str, request_id: str) -> tuple[Job, Sample]:
        """Queue the processing of a recording once more, or name the job that is at it: uploads are processed by themselves.

        Its clones keep what they were made of.
        """
        async with self.stores.database.write() as session:
            samples = SampleRepository(session)
            # Of several who ask at once, those who come later find the job of the first.
            sample = found(await samples.owned_for_update(user_id, sample_id), "sample")
            running = await JobRepository(session).in_progress_of(sample_id)
            if running is not None:
                return running, sample
            if not await samples.begin_again(user_id, sample_id):
                raise ConflictError("The sample is being processed already; watch its status", code="SAMPLE_PROCESSING")
            await self.quotas.take_sample(session, user_id)
            job = _processing_job(user_id, sample_id, request_id)
            session.add(job)
        self.ring()
        return job, sample

    async def delete(self, user_id: str, sample_id: str, *, force: bool, request_id: str | None = None) -> Sequence[str]:
        """Remove the recording with all that was made of it; the ids of the clones that went along, which only `force` allows."""
        async with self.stores.database.write() as session:
            samples, clones = SampleRepository(session), CloneRepository(session)
            found(await samples.owned(user_id, sample_id), "sample")
            # Its jobs first, as a worker that ends one takes them. Who makes a clone of it meanwhile waits, or is waited for.
            await JobRepository(session).hold_of(sample_id)
            sample = found(await samples.owned_for_update(user_id, sample_id), "sample")
            trainings = TrainingRepository(session)
            learning = await trainings.of_sample(sample_id)
            using = await trainings.clones_with([job.id for job in learning])
            # A voice that was trained on it needs it too: the recording's owner wants nothing of it to be left.
            needing = list({clone.id: clone for clone in (*await samples.clones_of(sample_id), *using)}.values())
            if needing and not force:
                names = ", ".join(clone.id for clone in needing)
                raise ConflictError(
                    f"The sample is needed by {names}; delete those first, or all at once with force=true",
                    code="SAMPLE_IN_USE",
                    details={"clones": [clone.id for clone in needing]},
                )
            obsolete: list[str | None] = [sample.original_path, sample.prepared_path]
            for clone in needing:
                obsolete += [*clone.objects, *await PreviewRepository(session).objects(clone.id)]
                await JobRepository(session).delete_of(clone.id)
                await clones.delete(clone)
            for job in learning:
                await trainings.remove(job, request_id)
            await JobRepository(session).delete_of(sample_id)
            await samples.delete(sample)
        if learning:
            self.ring()
        # After the commit: what is left behind if we die here, the sweeper finds.
        await self.stores.objects.delete_or_leave(*obsolete)
        await self.stores.vectors.delete_or_leave([sample_id, *(clone.id for clone in needing)])
        return [clone.id for clone in needing]

    async def _read(self, file: UploadFile) -> bytes:
        content = await file.read(self.limits.max_bytes + 1)
        if len(content) > self.limits.max_bytes:
            raise PayloadTooLargeError(f"A recording may have at most {self.limits.max_bytes // 1024**2} MB")
        return content

    @staticmethod
    def _row(user_id: str, form: SampleUpload, facts: Recording, size: int) -> Sample:
        sample_id = new_id("vs")
        return Sample(
            id=sample_id,
            user_id=user_id,
            name=form.name,
            description=form.description,
            language=form.language,
            ref_text=form.ref_text,
            style=form.style,
            format=facts.format,
            duration=round(facts.duration_s, 3),
            sample_rate=facts.sample_rate,
            channels=facts.channels,
            size=size,
            original_path=f"samples/{sample_id}/original.{facts.format}",
            status="uploaded",
        )
