"""Fine-tune a model on somebody's recordings. The work itself is done by the inference service, in a process of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from audio.decode import decode
from audio.errors import AudioError
from store.models import Job
from store.models.job import CANCELLED, COMPLETED, PENDING, PROCESSING
from store.objects import ObjectNotFoundError
from store.repositories.jobs import JobRepository
from store.repositories.trainings import TrainingRepository
from store.stores import Stores
from worker.errors import AttemptFailedError, JobFailedError, LeaseLostError, NotYetError, WorkError
from worker.handlers.base import Outcome, Report
from worker.training import TrainingClient, TrainingState
from worker.voices import STORED_LIMITS

LOOK_S = 1.0
LET_GO_S = 5.0
UNNAMED_LANGUAGE = "en-US"

log = structlog.get_logger(__name__)


class TrainingHandler:
    """Begins the training or finds it again by the id of the job, and watches it.

    A training that was stopped, be it by a kill, goes on from its last state. One whose job was cancelled is removed; one whose worker has
    stopped goes on by itself for a while, and the next worker finds it where it is then.
    """

    def __init__(self, stores: Stores, trainings: TrainingClient, *, look_s: float = LOOK_S) -> None:
        self.stores = stores
        self.trainings = trainings
        self.look_s = look_s

    async def run(self, job: Job, report: Report) -> Outcome:
        try:
            return await self._run(job, report)
        except (asyncio.CancelledError, LeaseLostError):
            await self._let_go(job)
            raise

    async def _run(self, job: Job, report: Report) -> Outcome:
        state = await self.trainings.look(job.id)
        if state.status == "failed":
            # Of an earlier attempt, which its owner wants to be made again.
            await self.trainings.remove(job.id)
        if state.status != "done":
            state = await self._begin(job)
        begun_at, told = state.step, (-1.0, "")
        while state.status == "running":
            if (state.progress, state.message) != told:
                told = state.progress, state.message
                await report(state.progress, state.message)
            await asyncio.sleep(self.look_s)
            state = await self.trainings.look(job.id)
            if state.status in {"stopped", "unknown"} and state.step > begun_at:
                state = await self._begin(job)
                begun_at = state.step
        return await self._ended(job, state)

    async def _ended(self, job: Job, state: TrainingState) -> Outcome:
        if state.status == "done" and state.result is not None:
            return Outcome(columns={"result": state.result})
        if state.status == "failed" and state.error is not None:
            await self.trainings.remove(job.id)
            raise JobFailedError(state.error.code, state.error.message, state.error.details)
        if state.status == "waiting":
            raise NotYetError("Waiting for another training", retry_in_s=10)
        raise AttemptFailedError("TRAINING_INTERRUPTED", "The training was interrupted")

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:
        """A training's failure concerns its own row alone."""

    async def _begin(self, job: Job) -> TrainingState:
        async with self.stores.database.read() as session:
            samples = await TrainingRepository(session).samples(job.id)
        if not samples:
            raise JobFailedError("SAMPLE_NOT_FOUND", "The sample is gone")
        recordings = []
        for sample in samples:
            if sample.prepared_path is None:
                raise NotYetError("Waiting for the samples to be processed")
            if not sample.ref_text:
                raise JobFailedError("REFERENCE_TEXT_REQUIRED", "Nobody has said what is spoken in one of the samples")
            recordings.append((await self._sound(sample.prepared_path), sample.ref_text))
        language = next((sample.language for sample in samples if sample.language), UNNAMED_LANGUAGE)
        return await self.trainings.start(job.id, recordings, language=language, manner=job.config, request_id=job.request_id)

    async def _sound(self, key: str) -> NDArray[np.float32]:
        try:
            stored = await self.stores.objects.get(key)
            return (await asyncio.to_thread(decode, stored, STORED_LIMITS)).mono
        except (ObjectNotFoundError, AudioError) as missing:
            raise JobFailedError("FILE_NOT_FOUND", "The sound of a sample is gone") from missing

    async def _let_go(self, job: Job) -> None:
        """Remove the training if its owner has taken it back, and not when this worker merely stops."""
        async with self.stores.database.read() as session:
            row = await JobRepository(session).get(job.id)
        if row is not None and row.status != CANCELLED:
            return
        with suppress(WorkError, TimeoutError):
            async with asyncio.timeout(LET_GO_S):
                await self.trainings.remove(job.id)
            log.info("training removed", reason="it was cancelled")


class TrainingRemovalHandler:
    """Removes what is left of a training whose job is gone. `subject_id` names it."""

    def __init__(self, stores: Stores, trainings: TrainingClient) -> None:
        self.stores = stores
        self.trainings = trainings

    async def run(self, job: Job, report: Report) -> Outcome:  # noqa: ARG002 - there is no progress in one request
        async with self.stores.database.read() as session:
            training = await JobRepository(session).get(job.subject_id or "")
        if training is None or training.status not in {PENDING, PROCESSING, COMPLETED}:
            await self.trainings.remove(job.subject_id or "")
        return Outcome()

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:
        """There is nothing that could be told of it: the training is gone for its owner."""
