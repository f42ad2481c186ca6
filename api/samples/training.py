"""Fine-tuning on recordings: what may be trained, what is under way, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth.principal import Caller
from api.body import RequestModel
from api.envelope import Envelope, ok
from api.errors import BadRequestError, ConflictError, UnavailableError, ValidationFailedError, documented, found
from api.fields import JsonObject
from api.request_ids import request_id_of
from store.clock import utcnow
from store.ids import new_id
from store.models import Job, Sample, TrainingSample
from store.models.job import PROCESSING, TRAINING
from store.repositories.limits import UsageRepository
from store.repositories.samples import SampleRepository
from store.repositories.trainings import TrainingRepository
from store.stores import Stores
from worker.errors import InferenceUnavailableError, JobFailedError, WorkError
from worker.handlers.training import UNNAMED_LANGUAGE
from worker.training import MAX_SOUND_S, TrainingClient, TrainingEstimate

MAX_FURTHER = 19


class TrainingConfig(RequestModel):
    """How to train; what is left out is chosen by the model and the machine.

    `epochs` is how often all of the speech is heard, up to the server's limit of steps. `batch_size` counts pieces of four seconds in a
    step, as far as the machine carries them. Without `enable_timestamp_alignment` recordings are not cut into pieces by the times of
    their words, but learnt from as they are, unless the model needs the times.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000, strict=True)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=0.01, strict=True)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=1024, strict=True)] | None = None
    enable_timestamp_alignment: Annotated[bool, Field(strict=True)] = True


class TrainingRequest(RequestModel):
    """`sample_ids` are further recordings of the same voice."""

    sample_ids: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=MAX_FURTHER)] = Field(default_factory=list)
    config: TrainingConfig = TrainingConfig()


class TrainingFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """`voice_quality_enhancement`: the recordings are levelled, and a voice that came out worse than before is not offered."""

    timestamp_alignment_enabled: bool
    voice_quality_enhancement: bool = True


class TrainingStarted(msgspec.Struct, frozen=True, kw_only=True):
    """`estimated_duration` is in seconds, from what a step takes on this machine; null where nothing could be measured yet.

    Watch `/job/{training_job_id}` and its progress; `PATCH` it to cancelled to stop it.
    """

    training_job_id: str
    sample_id: str
    sample_ids: list[str]
    status: str
    estimated_duration: float | None
    features: TrainingFeatures
    model: str
    steps: int
    created_at: datetime


class BeforeAndAfter(msgspec.Struct, frozen=True, kw_only=True):
    before: float
    after: float


class TrainingOut(msgspec.Struct, frozen=True, kw_only=True):
    """A training and, once it has completed, what it brought, measured on speech that it did not learn from.

    `loss` is the mean squared error of the flow, `speaker_similarity` the mean cosine of what the model says and the recordings, -1 to 1.
    A voice that is no worse is `offered`: `PATCH /voice/clones/{clone_id}` with its `training_job_id` lets a clone speak with it. If it is
    not, `reason` says why. `left_out_seconds` of the recordings could not be cut into pieces.
    """

    training_job_id: str
    sample_id: str
    status: str
    progress: float
    message: str | None
    config: JsonObject
    model: str | None
    steps: int | None
    offered: bool | None
    reason: str | None
    loss: BeforeAndAfter | None
    speaker_similarity: BeforeAndAfter | None
    trained_seconds: float | None
    held_out_seconds: float | None
    left_out_seconds: float | None
    error_code: str | None
    error_message: str | None
    created_at: datetime
    completed_at: datetime | None

    @classmethod
    def of(cls, row: Job) -> TrainingOut:
        said = row.result or {}
        return cls(
            training_job_id=row.id,
            sample_id=row.subject_id or "",
            status=row.status,
            progress=row.progress,
            message=row.message,
            config=row.config,
            model=said.get("model"),
            steps=said.get("steps"),
            offered=said.get("offered"),
            reason=said.get("reason"),
            loss=_both(said.get("loss")),
            speaker_similarity=_both(said.get("speaker_similarity")),
            trained_seconds=said.get("trained_seconds"),
            held_out_seconds=said.get("held_out_seconds"),
            left_out_seconds=said.get("left_out_seconds"),
            error_code=row.error_code,
            error_message=row.error_message,
            created_at=row.created_at,
            completed_at=row.completed_at,
        )


class TrainingDeleted(msgspec.Struct, frozen=True, kw_only=True):
    training_job_id: str


def _both(value: Any) -> BeforeAndAfter | None:
    return None if value is None else BeforeAndAfter(**value)


class TrainingService:
    """`min_speech_s`: seconds of speech that a training needs; `max_trainings`: trained voices that one person may keep."""

    def __init__(
        self, stores: Stores, trainings: TrainingClient, ring: Callable[[], None], *, min_speech_s: float, max_trainings: int
    ) -> None:
        self.stores = stores
        self.trainings = trainings
        self.ring = ring
        self.min_speech_s = min_speech_s
        self.max_trainings = max_trainings

    async def start(self, user_id: str, sample_id: str, wanted: TrainingRequest, request_id: str) -> tuple[Job, TrainingEstimate]:
        """Queue a training on the sample and the further ones.

        Raises:
            NotFoundError: one of the samples.
            ConflictError: one is not ready, another training is under way, or as many voices are kept as may be.
            ValidationFailedError: too little or too much sound, no text, or several languages.
            UnavailableError: the speech service cannot be reached.
        """
        sample_ids = [sample_id, *wanted.sample_ids]
        if len(set(sample_ids)) != len(sample_ids):
            raise ValidationFailedError({"sample_ids": "names a sample twice"})
        manner = wanted.config.model_dump(exclude_none=True)
        async with self.stores.database.read() as session:
            samples = await self._check(session, user_id, sample_ids)
        # No database is held for it: the first estimate for a model takes a while.
        estimate = await self._estimate(samples, manner, request_id)
        job = Job(
            id=new_id("job"),
            user_id=user_id,
            kind=TRAINING,
            subject_id=sample_id,
            config=manner,
            available_at=utcnow(),
            request_id=request_id,
        )
        async with self.stores.database.write() as session:
            await SampleRepository(session).owned_many(user_id, sample_ids, keep=True)
            await UsageRepository(session).lock(user_id)  # of two at once, the second sees the first
            await self._check(session, user_id, sample_ids)
            session.add(job)
            await session.flush()
            session.add_all(TrainingSample(job_id=job.id, sample_id=each, position=place) for place, each in enumerate(sample_ids))
        self.ring()
        return job, estimate

    async def of_sample(self, user_id: str, sample_id: str) -> Sequence[Job]:
        """The trainings that learn from the sample, the newest first."""
        async with self.stores.database.read() as session:
            found(await SampleRepository(session).owned(user_id, sample_id), "sample")
            return await TrainingRepository(session).of_sample(sample_id)

    async def delete(self, user_id: str, sample_id: str, job_id: str, request_id: str) -> None:
        """Remove a training and the voice that it has made. Raises ConflictError while a clone speaks with it."""
        async with self.stores.database.write() as session:
            trainings = TrainingRepository(session)
            found(await SampleRepository(session).owned(user_id, sample_id), "sample")
            job = found(await trainings.owned_training(user_id, job_id), "training")
            if all(sample.id != sample_id for sample in await trainings.samples(job_id)):
                found(None, "training")
            if job.status == PROCESSING:
                raise ConflictError("A training that is under way cannot be deleted; cancel it first", code="JOB_PROCESSING")
            using = await trainings.clones_with([job_id])
            if using:
                raise ConflictError(
                    "A voice speaks with it; give that another training, or none",
                    code="TRAINING_IN_USE",
                    details={"clones": [c.id for c in using]},
                )
            await trainings.remove(job, request_id)
        self.ring()

    async def _check(self, session: AsyncSession, user_id: str, sample_ids: Sequence[str]) -> list[Sample]:
        samples = await SampleRepository(session).owned_many(user_id, sample_ids)
        if len(samples) != len(sample_ids):
            found(None, "sample")
        trainings = TrainingRepository(session)
        running = await trainings.under_way(user_id)
        if running is not None:
            raise ConflictError(
                "Another training of yours is under way; wait for it, or cancel it",
                code="TRAINING_RUNNING",
                details={"training_job_id": running.id},
            )
        if await trainings.kept(user_id) >= self.max_trainings:
            raise ConflictError(
                f"You keep {self.max_trainings} trained voices already; delete one first",
                code="TRAINING_LIMIT",
                details={"limit": self.max_trainings},
            )
        if any(sample.status != "ready" for sample in samples):
            raise ConflictError("A sample is not ready; watch its status", code="SAMPLE_NOT_READY")
        silent = [sample.id for sample in samples if not sample.ref_text]
        if silent:
            raise ValidationFailedError(
                {"ref_text": f"is needed of {', '.join(silent)}"}, "Nobody has said what is spoken there", code="REFERENCE_TEXT_REQUIRED"
            )
        if len({_language(sample).partition("-")[0] for sample in samples}) > 1:
            raise ValidationFailedError({"sample_ids": "are in several languages"})
        self._check_length(samples)
        return samples

    def _check_length(self, samples: Sequence[Sample]) -> None:
        speech_s = round(sum(map(speech_seconds, samples)), 1)
        if speech_s < self.min_speech_s:
            raise BadRequestError(
                f"The recordings have {speech_s:g} s of speech; a training needs {self.min_speech_s:g} s; name further ones",
                code="TRAINING_TOO_SHORT",
                details={"seconds": speech_s, "needed_s": self.min_speech_s},
            )
        sound_s = round(_sound_seconds(samples), 1)
        if sound_s > MAX_SOUND_S:
            raise BadRequestError(
                f"The recordings are {sound_s:g} s long together; at most {MAX_SOUND_S:g} s can be learnt from at once.",
                code="TRAINING_TOO_LONG",
                details={"seconds": sound_s, "limit_s": MAX_SOUND_S},
            )

    async def _estimate(self, samples: Sequence[Sample], manner: JsonObject, request_id: str) -> TrainingEstimate:
        try:
            return await self.trainings.estimate(
                _sound_seconds(samples), language=_language(samples[0]), manner=manner, request_id=request_id
            )
        except JobFailedError as failure:
            raise ConflictError(failure.message, code=failure.code, details=failure.details) from failure
        except InferenceUnavailableError as away:
            raise UnavailableError("The speech service cannot be reached", retry_after=away.retry_in_s) from away
        except WorkError as failure:
            raise UnavailableError("The speech service cannot train now; try again", retry_after=5) from failure


def speech_seconds(sample: Sample) -> float:
    """Seconds of speech in a recording that is ready, pauses left out."""
    whole = sample.prepared_duration or sample.duration
    ratio = (sample.quality_metrics or {}).get("speech_ratio")
    return whole if ratio is None else min(whole, sample.duration * float(ratio))


def _sound_seconds(samples: Sequence[Sample]) -> float:
    return sum(sample.prepared_duration or sample.duration for sample in samples)


def _language(sample: Sample) -> str:
    return sample.language or UNNAMED_LANGUAGE


Trainings = NamedDependency[TrainingService]


@post(
    "/{sample_id:str}/train",
    status_code=HTTPStatus.ACCEPTED,
    responses=documented(401, 404, 409, 413, 415, 503),
    summary="Fine-tune the model on a recording",
)
async def train_sample(
    request: Request[Any, Any, Any], principal: Caller, trainings: Trainings, sample_id: FromPath[str], data: JSONBody[TrainingRequest]
) -> Envelope[TrainingStarted]:
    """Takes minutes to hours, one training of yours at a time, and holds up no other job. The sample's `training` says what came of it."""
    job, estimate = await trainings.start(principal.user_id, sample_id, data, request_id_of(request.scope))
    started = TrainingStarted(
        training_job_id=job.id,
        sample_id=sample_id,
        sample_ids=[sample_id, *data.sample_ids],
        status=job.status,
        estimated_duration=estimate.seconds,
        features=TrainingFeatures(timestamp_alignment_enabled=data.config.enable_timestamp_alignment),
        model=estimate.model,
        steps=estimate.steps,
        created_at=job.created_at,
    )
    return ok(started, "Voice training job created")


@get("/{sample_id:str}/train", responses=documented(401, 404), summary="The trainings on a recording")
async def list_trainings(principal: Caller, trainings: Trainings, sample_id: FromPath[str]) -> Envelope[list[TrainingOut]]:
    """The newest first."""
    return ok([TrainingOut.of(job) for job in await trainings.of_sample(principal.user_id, sample_id)])


@delete(
    "/{sample_id:str}/train/{job_id:str}", status_code=HTTPStatus.OK, responses=documented(401, 404, 409), summary="Delete a trained voice"
)
async def delete_training(
    request: Request[Any, Any, Any], principal: Caller, trainings: Trainings, sample_id: FromPath[str], job_id: FromPath[str]
) -> Envelope[TrainingDeleted]:
    await trainings.delete(principal.user_id, sample_id, job_id, request_id_of(request.scope))
    return ok(TrainingDeleted(training_job_id=job_id), "Training deleted")
