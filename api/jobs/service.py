"""Jobs as their owners deal with them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy.exc import IntegrityError

from api.auth.principal import Principal
from api.errors import ConflictError, ForbiddenError, ValidationFailedError, found
from api.jobs.estimates import ENDED, Standing
from api.jobs.making import check_emotion, check_length, synthesis_job, text_columns
from api.jobs.outlook import Outlook
from api.jobs.schemas import JobCreate, JobPatch, JobUpdate
from api.jobs.transitions import OWNERS, check_transition, invalid_transition, require_own, require_synthesis
from api.limits.quotas import Quotas
from store.models import Clone, Job
from store.models.job import CANCELLED
from store.models.user import ADMIN, SERVICE
from store.presets import Preset, shipped
from store.repositories.base import Window
from store.repositories.clones import CloneRepository
from store.repositories.jobs import JobFilter, JobRepository
from store.repositories.users import UserRepository
from store.stores import Stores
from worker.events import announce
from worker.lanes import LANES, SPEECH

MAX_KEY_LENGTH = 255


class JobService:
    def __init__(
        self,
        stores: Stores,
        quotas: Quotas,
        outlook: Outlook,
        *,
        max_text_length: int,
        ring: Callable[..., None],
        notify: Callable[[str], None],
    ) -> None:
        self.stores = stores
        self.quotas = quotas
        self.outlook = outlook
        self.max_text_length = max_text_length
        self.ring = ring
        self.notify = notify

    async def create(self, user_id: str, wanted: JobCreate, *, request_id: str, idempotency_key: str | None) -> tuple[Job, bool]:
        """The job, and whether it is new: the same key with the same request is the same job."""
        check_length(wanted.text_content, "text_content", self.max_text_length)
        if idempotency_key is not None and not 1 <= len(idempotency_key) <= MAX_KEY_LENGTH:
            raise ValidationFailedError({"Idempotency-Key": f"must have 1 to {MAX_KEY_LENGTH} characters"})
        request_hash = hashlib.sha256(msgspec.json.encode(wanted.model_dump(mode="json"), order="sorted")).hexdigest()
        if idempotency_key is not None and (repeated := await self._repeated(user_id, idempotency_key, request_hash)):
            return repeated, False
        try:
            async with self.stores.database.write(brief=True) as session:
                voice = await self._voice(user_id, wanted.voice_model_id, CloneRepository(session), UserRepository(session))
                check_emotion(voice, wanted.config.emotion, "config.emotion")
                job = synthesis_job(
                    user_id,
                    voice,
                    text=wanted.text_content,
                    language=wanted.text_language,
                    speed=wanted.speed,
                    pitch=wanted.pitch,
                    volume=wanted.volume,
                    output_format=wanted.output_format,
                    sample_rate=wanted.sample_rate,
                    config=wanted.config.model_dump(exclude_none=True),
                    request_id=request_id,
                )
                job.idempotency_key, job.request_hash = idempotency_key, request_hash
                await self.quotas.take_job(session, user_id)
                session.add(job)
        except IntegrityError:
            # Two requests with one key at the same time: the other one was first.
            if idempotency_key is None or (repeated := await self._repeated(user_id, idempotency_key, request_hash)) is None:
                raise
            return repeated, False
        self.ring(LANES[SPEECH])
        return job, True

    async def list(self, user_id: str, window: Window, wanted: JobFilter) -> tuple[Sequence[Job], dict[str, Standing], int]:
        """The jobs of the window, how those of them stand that have not ended, and how many there are in all."""
        rows, total = await self.stores.database.glance(lambda session: JobRepository(session).list(user_id, window, wanted))
        return rows, await self.outlook.of_many(rows), total

    async def get(self, principal: Principal, job_id: str) -> tuple[Job, Standing]:
        """The job and how it stands. A service sees every job, as it may be the one to speak it."""
        owner = None if principal.role == SERVICE else principal.user_id
        job = found(await self.stores.database.glance(lambda session: JobRepository(session).seen(job_id, owner)), "job")
        return job, (await self.outlook.of_many([job])).get(job.id, ENDED)

    async def update(self, user_id: str, job_id: str, wanted: JobUpdate) -> tuple[Job, Standing]:
        """Change what a job is to do, as long as nobody has begun with it."""
        columns = wanted.model_dump(include=wanted.model_fields_set - {"text_content", "config"})
        if wanted.text_content is not None:
            check_length(wanted.text_content, "text_content", self.max_text_length)
            columns |= text_columns(wanted.text_content)
        async with self.stores.database.write() as session:
            jobs = JobRepository(session)
            job = found(await jobs.owned_for_update(user_id, job_id), "job")
            require_synthesis(job)
            if wanted.config is not None:
                if wanted.config.emotion is not None:
                    voice = await self._voice(user_id, job.voice_model_id, CloneRepository(session), UserRepository(session))
                    check_emotion(voice, wanted.config.emotion, "config.emotion")
                columns["config"] = job.config | wanted.config.model_dump(exclude_none=True)
            if not await jobs.update_pending(job_id, **columns):
                raise ConflictError(f"The job is {job.status}; only a pending one can be changed", code="JOB_NOT_PENDING")
            standing = await self.outlook.of(session, job)
        self.notify(job_id)
        return job, standing

    async def patch(self, user_id: str, job_id: str, wanted: JobPatch) -> tuple[Job, Standing]:
        """What the owner may say of a job, which is its status alone. Raises ForbiddenError for what is a service's."""
        services = wanted.model_fields_set - {"status"}
        if services or wanted.status is None:
            async with self.stores.database.read() as session:
                found(await JobRepository(session).owned(user_id, job_id), "job")
            raise ForbiddenError("Only a service may say this of a job", details=dict.fromkeys(sorted(services), "is for services"))
        return await self.set_status(user_id, job_id, wanted.status)

    async def set_status(self, user_id: str, job_id: str, status: str) -> tuple[Job, Standing]:
        """Cancel a job that has not ended, or put a failed or cancelled one back in the queue."""
        async with self.stores.database.write() as session:
            jobs = JobRepository(session)
            job = found(await jobs.owned(user_id, job_id), "job")
            require_own(job)
            check_transition(job, status)
            if status not in OWNERS:
                raise ForbiddenError(f"Only a service may make a job {status}", details={"status": "is for services"})
            changed = await jobs.cancel(job_id) if status == CANCELLED else await jobs.retry(job_id)
            if not changed:
                raise invalid_transition(job.status, status)
            await announce(session, job)
            standing = await self.outlook.of(session, job)
        self.notify(job_id)
        self.ring()
        return job, standing

    async def delete(self, user_id: str, job_id: str) -> None:
        """Remove the job and what it spoke."""
        async with self.stores.database.write() as session:
            jobs = JobRepository(session)
            job = found(await jobs.owned(user_id, job_id), "job")
            require_synthesis(job)
            if not await jobs.delete(job_id):
                raise ConflictError("A job that is being worked on cannot be deleted; cancel it first", code="JOB_PROCESSING")
        await self.stores.objects.delete_or_leave(job.output_path)
        self.notify(job_id)

    async def _repeated(self, user_id: str, key: str, request_hash: str) -> Job | None:
        job = await self.stores.database.glance(lambda session: JobRepository(session).by_idempotency_key(user_id, key))
        if job is not None and job.request_hash != request_hash:
            raise ConflictError("This Idempotency-Key was used with another request", code="IDEMPOTENCY_KEY_REUSED")
        return job

    @staticmethod
    async def _voice(user_id: str, voice_id: str | None, clones: CloneRepository, users: UserRepository) -> Clone | Preset:
        """The voice that is named; without a name the clone that the person has selected, or else the default voice."""
        if voice_id is None:
            user = await users.get(user_id)
            voice_id = (user.active_clone_id if user else None) or shipped().default_id
        if (preset := shipped().get(voice_id)) is not None:
            return preset
        clone = found(await clones.owned(user_id, voice_id), "voice model")
        if clone.status == "failed":
            raise ConflictError(f"The clone could not be made: {clone.error_message}", code="CLONE_NOT_READY")
        return clone


def whose_jobs(principal: Principal, user_id: str | None) -> str:
    """Whose jobs a list is of: one's own, or, to an admin, anybody's. Raises ForbiddenError, whether or not there is such a person."""
    if user_id is None or user_id == principal.user_id or principal.role == ADMIN:
        return user_id or principal.user_id
    raise ForbiddenError("Only your own jobs can be listed")
