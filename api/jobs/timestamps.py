"""When the words of a job are said."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import msgspec
from litestar import Response
from sqlalchemy.exc import IntegrityError

from api.auth.principal import Principal
from api.envelope import ok
from api.errors import ConflictError, NotFoundError, UnavailableError
from api.files.service import Sound
from api.jobs import captions
from api.jobs.captions import Word
from api.jobs.schemas import Granularity
from api.jobs.service import JobService
from api.jobs.transitions import require_synthesis
from audio.errors import AudioError
from store.models import Job, JobTimestamps
from store.models.job import FINAL
from store.objects import ObjectNotFoundError
from store.repositories.jobs import JobRepository
from worker.errors import JobFailedError, NotYetError, WorkError
from worker.inference import InferenceClient
from worker.temporary import sound_folder
from worker.timestamps import align_stored

Form = Literal["json", "srt", "vtt"]
MEDIA_TYPES: dict[Form, str] = {"json": "application/json", "srt": "application/x-subrip; charset=utf-8", "vtt": "text/vtt"}


class TimedText(msgspec.Struct, frozen=True, kw_only=True):
    """A word or a sentence: `text` is what stands from character `char_start` to before `char_end` of the job's text; `start` and `end` are
    seconds of its sound. `score` is how surely the word was heard there, 0 to 1, where it was.
    """

    text: str
    start: float
    end: float
    char_start: int
    char_end: int
    score: float | None = None


class TimestampsOut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`method`: `ctc` where a network found every word in the sound, `estimated` where pauses and lengths had to do. Of `words` and
    `sentences` there is the one that was asked for. `duration` is that of the sound in seconds, null once it is deleted.
    """

    job_id: str
    language: str
    duration: float | None
    method: str
    granularity: Granularity
    words: list[TimedText] | None = None
    sentences: list[TimedText] | None = None


class TimestampService:
    def __init__(self, jobs: JobService, inference: InferenceClient) -> None:
        self.jobs = jobs
        self.stores = jobs.stores
        self.inference = inference

    async def of(self, principal: Principal, job_id: str) -> tuple[Job, JobTimestamps]:
        """The job and the times of its words, found now and kept if nobody has asked before.

        Raises:
            ConflictError: it is not done yet.
            NotFoundError: there is no such job, or it has no sound.
            UnavailableError: the speech service is not there to find them.
        """
        job, _ = await self.jobs.get(principal, job_id)
        require_synthesis(job)
        async with self.stores.database.read() as session:
            known = await JobRepository(session).timestamps(job_id)
        if known is not None:
            return job, known
        if job.status not in FINAL:  # a service may have named the sound before it is done
            raise ConflictError(f"The job is {job.status}; its words have times when it has completed", code="JOB_NOT_COMPLETED")
        Sound.of_job(job)
        found = await self._find(job)
        try:
            async with self.stores.database.write() as session:
                await JobRepository(session).keep_timestamps(found)
        except IntegrityError:
            # Deleted meanwhile, or kept by another process; what was found is right all the same.
            pass
        return job, found

    async def _find(self, job: Job) -> JobTimestamps:
        try:
            with sound_folder() as folder:
                return await align_stored(self.stores, Path(folder), job, self.inference)
        except (ObjectNotFoundError, AudioError):
            raise NotFoundError("file") from None
        except JobFailedError as failure:
            raise ConflictError(failure.message, code=failure.code, details=failure.details) from failure
        except NotYetError as wait:
            raise UnavailableError("The speech service cannot be reached", retry_after=wait.retry_in_s) from wait
        except WorkError as failure:
            raise UnavailableError("The words could not be found; try again", code="ALIGNMENT_FAILED", retry_after=5) from failure


def answer(job: Job, found: JobTimestamps, form: Form, granularity: Granularity | None) -> Response[Any]:
    """In the form that is asked for. Unless it is said, JSON has what the job's config says, or words; captions have readable cues."""
    text, words = job.text_content, [Word(*word) for word in found.words]
    if form == "json":
        wanted: Granularity = granularity or job.config.get("timestamp_granularity") or "word"
        return Response(ok(_out(job, found, wanted, words)), media_type=MEDIA_TYPES[form], status_code=HTTPStatus.OK)
    cues = words if granularity == "word" else captions.readable(text, words)
    body = captions.srt(text, cues) if form == "srt" else captions.vtt(text, cues)
    headers = {"Content-Disposition": f'attachment; filename="{job.id}.{form}"', "Cache-Control": "private, no-cache"}
    return Response(body.encode(), media_type=MEDIA_TYPES[form], headers=headers, status_code=HTTPStatus.OK)


def _out(job: Job, found: JobTimestamps, granularity: Granularity, words: list[Word]) -> TimestampsOut:
    text = job.text_content
    stretches = words if granularity == "word" else captions.sentences(text, words)
    timed = [
        TimedText(
            text=text[each.start : each.end], start=each.start_s, end=each.end_s, char_start=each.start, char_end=each.end, score=each.score
        )
        for each in stretches
    ]
    return TimestampsOut(
        job_id=job.id,
        language=job.text_language,
        duration=job.duration,
        method=found.method,
        granularity=granularity,
        words=timed if granularity == "word" else None,
        sentences=timed if granularity == "sentence" else None,
    )
