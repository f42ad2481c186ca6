"""Voices made of recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from api.clones.schemas import CONSENT_REQUIRED, CloneCreate, Consent
from api.errors import ConflictError, NotFoundError, ValidationFailedError, found
from api.limits.quotas import Quotas
from store.clock import utcnow
from store.ids import new_id
from store.models import Clone, CloneConsent, CloneSample, CloneTraining, Job
from store.models.job import CLONE_BUILD, CLONE_QUALITY, COMPLETED, PROCESSING
from store.repositories.base import Window
from store.repositories.clones import CloneRepository
from store.repositories.jobs import JobRepository
from store.repositories.library import PreviewRepository
from store.repositories.samples import SampleRepository
from store.repositories.trainings import TrainingRepository
from store.repositories.users import UserRepository
from store.stores import Stores
from worker.handlers.clone import quality_job
from worker.handlers.clone_quality import PENDING, not_measured


class CloneService:
    def __init__(self, stores: Stores, quotas: Quotas, ring: Callable[[], None], *, require_consent: bool) -> None:
        self.stores = stores
        self.quotas = quotas
        self.ring = ring
        self.require_consent = require_consent

    async def create(self, user_id: str, wanted: CloneCreate, request_id: str, address: str | None) -> tuple[Clone, str]:
        """A new clone and the id of the job that makes it. It may be made of samples that are still being processed.

        `address` is that of the client, for the record of the consent.
        """
        if self.require_consent and wanted.consent is None:
            missing = {f"consent.{field}": "is missing" for field in Consent.model_fields}
            raise ValidationFailedError(missing, "A clone needs a statement about the consent of its speaker", code=CONSENT_REQUIRED)
        if len(set(wanted.sample_ids)) != len(wanted.sample_ids):
            raise ValidationFailedError({"sample_ids": "names a sample twice"})
        clone_id = new_id("vc")
        job = Job(id=new_id("job"), user_id=user_id, kind=CLONE_BUILD, subject_id=clone_id, available_at=utcnow(), request_id=request_id)
        async with self.stores.database.write() as session:
            samples = await SampleRepository(session).owned_many(user_id, wanted.sample_ids, keep=True)
            if len(samples) != len(wanted.sample_ids):
                raise NotFoundError("sample")
            # One that is still being processed may yet be written down.
            if not wanted.ref_text and all(sample.status == "ready" and not sample.ref_text for sample in samples):
                raise ValidationFailedError(
                    {"ref_text": "is needed, as none of the samples came with the text that is spoken in it"},
                    code="REFERENCE_TEXT_REQUIRED",
                )
            clone = Clone(
                id=clone_id,
                user_id=user_id,
                name=wanted.name,
                description=wanted.description,
                language=wanted.language,
                ref_text=wanted.ref_text,
                status="pending",
                parameters=wanted.parameters,
                samples=[CloneSample(sample_id=sample.id, position=place, style=sample.style) for place, sample in enumerate(samples)],
                references=[],
                training=None,
            )
            await self.quotas.require_some_room(session, user_id)
            session.add(clone)
            if wanted.consent is not None:
                said = wanted.consent.model_dump()
                session.add(CloneConsent(clone_id=clone_id, user_id=user_id, client_address=address, **said))
            session.add(job)
        self.ring()
        return clone, job.id

    async def list(self, user_id: str, window: Window, status: str | None) -> tuple[Sequence[Clone], int]:
        async with self.stores.database.read() as session:
            return await CloneRepository(session).list(user_id, window, status=status)

    async def get(self, user_id: str, clone_id: str) -> Clone:
        async with self.stores.database.read() as session:
            clone = found(await CloneRepository(session).owned(user_id, clone_id), "clone")
        return clone

    async def consent(self, clone_id: str) -> CloneConsent | None:
        """What was said of the speaker's consent; for who has checked whose the clone is."""
        async with self.stores.database.read() as session:
            return await CloneRepository(session).consent(clone_id)

    async def measure(self, user_id: str, clone_id: str, request_id: str) -> Job:
        """Queue a measurement of the voice, or name the job that is at it. What was measured before stays until there is something new."""
        async with self.stores.database.write() as session:
            clone = found(await CloneRepository(session).owned_for_update(user_id, clone_id), "clone")
            if clone.status != "ready":
                raise ConflictError("The clone is not ready; watch its status", code="CLONE_NOT_READY")
            running = await JobRepository(session).in_progress_of(clone_id)
            if running is not None and running.kind == CLONE_QUALITY:
                return running
            clone.quality_metrics = {**(clone.quality_metrics or not_measured(None)), "reason": PENDING}
            job = quality_job(clone, request_id)
            session.add(job)
        self.ring()
        return job

    async def set_training(self, user_id: str, clone_id: str, training_job_id: str | None, request_id: str) -> Clone:
        """Let the clone speak with what a training has made, or, with None, with the model that everybody has. It is measured anew."""
        async with self.stores.database.write() as session:
            clone = found(await CloneRepository(session).owned_for_update(user_id, clone_id), "clone")
            if training_job_id is None:
                clone.training = None
            else:
                job = found(await TrainingRepository(session).owned_training(user_id, training_job_id), "training")
                if job.status != COMPLETED:
                    raise ConflictError(f"The training is {job.status}; it can be used when it has completed", code="TRAINING_NOT_READY")
                if not (job.result or {}).get("offered"):
                    raise ConflictError("The training has made the voice worse, and is not offered", code="TRAINING_NOT_BETTER")
                if clone.training is None:
                    clone.training = CloneTraining(clone_id=clone_id, job_id=job.id)
                else:
                    clone.training.job_id = job.id
            running = await JobRepository(session).in_progress_of(clone_id)
            if clone.status == "ready" and (running is None or running.status == PROCESSING):
                clone.quality_metrics = {**(clone.quality_metrics or not_measured(None)), "reason": PENDING}
                session.add(quality_job(clone, request_id))
        self.ring()
        return clone

    async def select(self, user_id: str, clone_id: str) -> Clone:
        """Make the clone the one that speaks where a job names no voice."""
        async with self.stores.database.write() as session:
            clone = await CloneRepository(session).owned_for_update(user_id, clone_id)
            user = await UserRepository(session).get(user_id)
            if clone is None or user is None:
                raise NotFoundError("clone")
            user.active_clone_id = clone.id
        return clone

    async def active_id(self, user_id: str) -> str | None:
        async with self.stores.database.read() as session:
            user = await UserRepository(session).get(user_id)
        return user.active_clone_id if user else None

    async def delete(self, user_id: str, clone_id: str) -> None:
        """Remove the voice. Its samples stay, and so does what it has spoken."""
        async with self.stores.database.write() as session:
            clones = CloneRepository(session)
            clone = found(await clones.owned(user_id, clone_id), "clone")
            previews = await PreviewRepository(session).objects(clone_id)
            await JobRepository(session).delete_of(clone_id)
            await clones.delete(clone)
        await self.stores.objects.delete_or_leave(*clone.objects, *previews)
        await self.stores.vectors.delete_or_leave([clone_id])
