"""Trainings: jobs that make a voice of recordings, what they learn from, and who speaks with what came of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select

from store.clock import utcnow
from store.ids import new_id
from store.models import Clone, CloneTraining, Job, Sample, TrainingSample
from store.models.job import COMPLETED, PENDING, PROCESSING, TRAINING, TRAINING_REMOVAL
from store.repositories.base import Repository


class TrainingRepository(Repository[Job]):
    model = Job

    async def owned_training(self, user_id: str, job_id: str) -> Job | None:
        found: Job | None = await self.session.scalar(self._owned(user_id).where(Job.id == job_id, Job.kind == TRAINING))
        return found

    async def under_way(self, user_id: str) -> Job | None:
        """The person's training that has not ended."""
        found: Job | None = await self.session.scalar(
            self._owned(user_id).where(Job.kind == TRAINING, Job.status.in_((PENDING, PROCESSING))).limit(1)
        )
        return found

    async def kept(self, user_id: str) -> int:
        """How many trained voices the person has."""
        results = await self.session.scalars(
            select(Job.result).where(Job.user_id == user_id, Job.kind == TRAINING, Job.status == COMPLETED)
        )
        return sum(bool((result or {}).get("offered")) for result in results)

    async def of_sample(self, sample_id: str) -> Sequence[Job]:
        """The trainings that learn from the sample, the newest first."""
        rows = await self.session.scalars(
            select(Job).join(TrainingSample).where(TrainingSample.sample_id == sample_id).order_by(Job.created_at.desc(), Job.id.desc())
        )
        return rows.all()

    async def samples(self, job_id: str) -> Sequence[Sample]:
        """What the training learns from, in the order asked for."""
        rows = await self.session.scalars(
            select(Sample).join(TrainingSample).where(TrainingSample.job_id == job_id).order_by(TrainingSample.position)
        )
        return rows.all()

    async def clones_with(self, job_ids: Collection[str]) -> Sequence[Clone]:
        """The clones that speak with what these trainings have made."""
        rows = await self.session.scalars(select(Clone).join(CloneTraining).where(CloneTraining.job_id.in_(job_ids)).order_by(Clone.id))
        return rows.all()

    async def remove(self, job: Job, request_id: str | None) -> None:
        """Delete the training, and queue the removal of its files, which lie where the models are.

        A worker that is at it loses its lease and stops.
        """
        self.session.add(
            Job(
                id=new_id("job"),
                user_id=job.user_id,
                kind=TRAINING_REMOVAL,
                subject_id=job.id,
                available_at=utcnow(),
                request_id=request_id,
            )
        )
        await self.session.delete(job)
        await self.session.flush()
