"""The sounds that people have: what they spoke and what they uploaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from litestar import Response

from api.errors import ConflictError, NotFoundError, found
from api.files.links import FileLinks
from api.files.serving import Conditions, serve
from api.files.voices import VoiceFile, voice_file
from audio.encode import content_type, encoded_rate, extension
from store.models import Job, Sample
from store.models.job import FINAL, SYNTHESIS
from store.objects import ObjectNotFoundError, Objects, ObjectStat, media_type
from store.presets import recordings
from store.repositories.jobs import JobRepository
from store.repositories.samples import SampleRepository
from store.repositories.users import UserRepository
from store.stores import Stores
from worker.inference import SAMPLE_RATE

CLONE_PREFIX = "vc_"


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound file that somebody has. `duration` is in seconds, `sample_rate` in Hz."""

    file_id: str
    kind: Literal["synthesis", "sample", "reference", "preview"]
    key: str
    filename: str
    format: str
    media_type: str
    duration: float | None
    sample_rate: int
    channels: int
    created_at: datetime
    shipped: bool = False  # one of `store.presets.recordings`

    @classmethod
    def of_job(cls, job: Job) -> Sound:
        """Raises ConflictError while it is not spoken, NotFoundError when there is no file."""
        if job.output_path is None:
            if job.status not in FINAL:
                raise ConflictError(f"The job is {job.status}; its file is there when it has completed", code="JOB_NOT_COMPLETED")
            raise NotFoundError("file")
        return cls(
            file_id=job.id,
            kind="synthesis",
            key=job.output_path,
            filename=f"{job.id}{extension(job.output_format)}",
            format=job.output_format,
            media_type=content_type(job.output_format),
            duration=job.duration,
            sample_rate=encoded_rate(job.output_format, job.sample_rate),
            channels=1,
            created_at=job.completed_at or job.created_at,
        )

    @classmethod
    def of_sample(cls, sample: Sample, *, prepared: bool = False) -> Sound:
        """The recording as it came, or its `prepared` form. Raises ConflictError while that is not made, NotFoundError when it was not."""
        if not prepared:
            return cls(
                file_id=sample.id,
                kind="sample",
                key=sample.original_path,
                filename=f"{sample.id}.{sample.format}",
                format=sample.format,
                media_type=media_type(sample.format),
                duration=sample.duration,
                sample_rate=sample.sample_rate,
                channels=sample.channels,
                created_at=sample.created_at,
            )
        if sample.prepared_path is None:
            if sample.status != "failed":
                raise ConflictError("The sample is still being processed; watch its status", code="SAMPLE_NOT_READY")
            raise NotFoundError("file")
        return cls(
            file_id=sample.id,
            kind="sample",
            key=sample.prepared_path,
            filename=f"{sample.id}-prepared.wav",
            format="wav",
            media_type="audio/wav",
            duration=sample.prepared_duration,
            sample_rate=SAMPLE_RATE,
            channels=1,
            created_at=sample.updated_at,
        )

    @classmethod
    def of_voice(cls, file: VoiceFile) -> Sound:
        """Raises ConflictError while it is being made, NotFoundError when there is none."""
        if file.key is None:
            if file.pending:
                raise ConflictError(f"The {file.kind} of this voice is being made; try again soon", code=f"{file.kind.upper()}_NOT_READY")
            raise NotFoundError("file")
        return cls(
            file_id=file.file_id,
            kind=file.kind,
            key=file.key,
            filename=f"{file.file_id}{extension(file.format)}",
            format=file.format,
            media_type=content_type(file.format),
            duration=file.duration,
            sample_rate=file.sample_rate,
            channels=1,
            created_at=file.created_at,
            shipped=file.shipped,
        )


class FileService:
    """`presigned`: downloads are sent on to the bucket, if there is one."""

    def __init__(self, stores: Stores, links: FileLinks, notify: Callable[[str], None], *, presigned: bool = False) -> None:
        self.stores = stores
        self.links = links
        self.notify = notify
        self.elsewhere_s = links.ttl_s if presigned else None

    async def of_job(self, user_id: str, job_id: str) -> Sound:
        """What a job of this person has spoken. Raises NotFoundError, ConflictError."""
        return Sound.of_job(await self._job(user_id, job_id))

    async def of_clone_job(self, user_id: str, job_id: str) -> Sound:
        """As `of_job`, but only what was spoken in a clone."""
        job = await self._job(user_id, job_id)
        if job.kind != SYNTHESIS or not (job.voice_model_id or "").startswith(CLONE_PREFIX):
            raise NotFoundError("file")
        return Sound.of_job(job)

    async def of(self, user_id: str, file_id: str) -> Sound:
        """The person's sound under the id of a job, a sample or a voice's sound. Raises NotFoundError, ConflictError."""
        # Ids of different kinds differ in their prefix, so that at most one of them is found.
        async with self.stores.database.read() as session:
            row = await JobRepository(session).owned(user_id, file_id) or await SampleRepository(session).owned(user_id, file_id)
            file = await voice_file(session, file_id)
        if file is not None and file.owner_id in {None, user_id}:
            return Sound.of_voice(file)
        return _sound(row)

    async def linked(self, file_id: str, signature: str) -> Sound:
        """The sound, whoever it belongs to, for one who has its address. Raises ForbiddenError, NotFoundError, ConflictError."""
        self.links.check(file_id, signature)
        async with self.stores.database.read() as session:
            row = await JobRepository(session).get(file_id) or await SampleRepository(session).get(file_id)
            file = await voice_file(session, file_id)
            owner_id = file.owner_id if file else row.user_id if row else None
            owner = await UserRepository(session).get(owner_id) if owner_id else None
        if file is not None and (file.owner_id is None or (owner is not None and owner.is_active)):
            return Sound.of_voice(file)
        # What a disabled account has given away ends with it.
        return _sound(row if owner is not None and owner.is_active else None)

    async def serve(self, sound: Sound, asked: Conditions) -> Response[Any]:
        """The answer to a download. Raises NotFoundError when the object is gone, RangeNotSatisfiableError."""
        about = {"media_type": sound.media_type, "filename": sound.filename}
        return await serve(self._objects(sound), sound.key, asked, **about, elsewhere_s=self.elsewhere_s)

    async def stat(self, sound: Sound) -> ObjectStat:
        """Raises NotFoundError when the object is gone."""
        try:
            return await self._objects(sound).stat(sound.key)
        except ObjectNotFoundError:
            raise NotFoundError("file") from None

    async def delete_of_job(self, user_id: str, job_id: str) -> None:
        """Remove what a job has spoken and what its row says of it; the job stays. Raises NotFoundError, ConflictError."""
        sound = await self.of_job(user_id, job_id)
        async with self.stores.database.write() as session:
            # Fenced on the very object: of two who delete at once, one finds nothing.
            if not await JobRepository(session).forget_output(job_id, sound.key):
                raise NotFoundError("file")
        # After the commit: what is left behind if we die here, the sweeper finds.
        await self.stores.objects.delete_or_leave(sound.key)
        self.notify(job_id)

    def _objects(self, sound: Sound) -> Objects:
        return recordings() if sound.shipped else self.stores.objects

    async def _job(self, user_id: str, job_id: str) -> Job:
        async with self.stores.database.read() as session:
            job = found(await JobRepository(session).owned(user_id, job_id), "job")
        return job


def _sound(row: Job | Sample | None) -> Sound:
    if row is None:
        raise NotFoundError("file")
    return Sound.of_job(row) if isinstance(row, Job) else Sound.of_sample(row)
