from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, Router, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody, Parameter, QueryParameter
from litestar.response import ServerSentEvent

from api.auth.principal import Caller
from api.envelope import Envelope, Meta, ok
from api.errors import ValidationFailedError, documented
from api.jobs.estimates import ENDED
from api.jobs.events import ProgressStreams
from api.jobs.handover import Handover
from api.jobs.schemas import Granularity, JobCreate, JobOut, JobPatch, JobUpdate
from api.jobs.service import JobService, whose_jobs
from api.jobs.timestamps import Form, TimestampService, TimestampsOut, answer
from api.openapi import AlsoAnswers, EventStream
from api.pagination import AskedWindow, pagination, paging
from api.request_ids import request_id_of
from store.models.job import CANCELLED
from store.models.user import SERVICE
from store.repositories.jobs import JobFilter

Jobs = NamedDependency[JobService]
Streams = NamedDependency[ProgressStreams]
TIME = "ISO 8601, such as `2026-01-31T12:00:00Z`; in UTC if it names no zone"
SORTABLE = ("created_at", "updated_at", "started_at", "completed_at", "status", "progress", "duration", "text_length")
IdempotencyKey = Annotated[
    str | None, HeaderParameter(name="Idempotency-Key", description="the same key with the same body is the same job")
]
LastEventId = Annotated[str | None, HeaderParameter(name="Last-Event-ID", description="the last event seen, when connecting again")]


class JobDeleted(msgspec.Struct, frozen=True, kw_only=True):
    id: str


@post(
    "/",
    status_code=HTTPStatus.CREATED,
    responses=documented(401, 404, 409)
    | {200: ResponseSpec(Envelope[JobOut], generate_examples=False, description="The job that this `Idempotency-Key` has made before")},
    summary="Have a text spoken",
)
async def create_job(
    request: Request[Any, Any, Any],
    principal: Caller,
    jobs: Jobs,
    data: JSONBody[JobCreate],
    idempotency_key: IdempotencyKey = None,
) -> Response[Envelope[JobOut]]:
    """Answers at once; watch `/job/{id}/progress` and download the sound when it has completed."""
    job, new = await jobs.create(principal.user_id, data, request_id=request_id_of(request.scope), idempotency_key=idempotency_key)
    message = "Synthesis job created successfully" if new else "This job was created before"
    return Response(ok(JobOut.of(job), message), status_code=HTTPStatus.CREATED if new else HTTPStatus.OK)


@get("/", dependencies={"window": paging(SORTABLE)}, responses=documented(401, 403), summary="List your jobs")
async def list_jobs(
    principal: Caller,
    jobs: Jobs,
    window: AskedWindow,
    status: Annotated[
        Literal["pending", "processing", "completed", "failed", "cancelled"] | None, Parameter(description="only these")
    ] = None,
    voice_model_id: Annotated[str | None, Parameter(description="only those in this voice", max_length=64)] = None,
    text_search: Annotated[str | None, Parameter(description="only those whose text has this in it", max_length=200)] = None,
    user_id: Annotated[str | None, Parameter(description="your own id; to an admin, anybody's", max_length=64)] = None,
    created_after: Annotated[str | None, Parameter(description=f"only those made then or later: {TIME}", max_length=64)] = None,
    created_before: Annotated[str | None, Parameter(description=f"only those made before: {TIME}", max_length=64)] = None,
    include_text: Annotated[bool, Parameter(description="whole texts instead of their first 100 characters")] = False,
) -> Envelope[list[JobOut]]:
    wanted = JobFilter(status, voice_model_id, text_search, _time(created_after, "created_after"), _time(created_before, "created_before"))
    rows, standings, total = await jobs.list(whose_jobs(principal, user_id), window, wanted)
    out = [JobOut.of(row, standing=standings.get(row.id, ENDED), whole_text=include_text) for row in rows]
    return ok(out, meta=Meta(pagination=pagination(window, total)))


@get("/{job_id:str}", responses=documented(401, 404), summary="One job")
async def get_job(principal: Caller, jobs: Jobs, job_id: FromPath[str]) -> Envelope[JobOut]:
    job, standing = await jobs.get(principal, job_id)
    return ok(JobOut.of(job, standing=standing))


@put("/{job_id:str}", responses=documented(401, 404, 409, 413, 415), summary="Change a job that waits")
async def update_job(principal: Caller, jobs: Jobs, job_id: FromPath[str], data: JSONBody[JobUpdate]) -> Envelope[JobOut]:
    """Only while it is pending; what is left out stays as it is."""
    job, standing = await jobs.update(principal.user_id, job_id, data)
    return ok(JobOut.of(job, standing=standing), "Job updated successfully")


@patch("/{job_id:str}", responses=documented(401, 403, 404, 409), summary="Cancel a job, or try it again")
async def patch_job(
    principal: Caller, jobs: Jobs, handover: NamedDependency[Handover], job_id: FromPath[str], data: JSONBody[JobPatch]
) -> Envelope[JobOut]:
    """To its owner. A service says here that it takes a job, how far it is, and what came of it."""
    if principal.role == SERVICE:
        job, lease = await handover.patch(principal.user_id, job_id, data)
        return ok(JobOut.of(job, lease=lease), f"Job is {job.status}")
    job, standing = await jobs.patch(principal.user_id, job_id, data)
    return ok(JobOut.of(job, standing=standing), f"Job is {job.status}")


@post("/{job_id:str}/cancel", status_code=HTTPStatus.OK, deprecated=True, responses=documented(401, 404, 409), summary="Cancel a job")
async def cancel_job(principal: Caller, jobs: Jobs, job_id: FromPath[str]) -> Response[Envelope[JobOut]]:
    """Use `PATCH /job/{job_id}` with `{"status": "cancelled"}` instead."""
    job, _ = await jobs.set_status(principal.user_id, job_id, CANCELLED)
    successor = f'</api/v1/job/{job.id}>; rel="successor-version"'
    return Response(ok(JobOut.of(job), "Job is cancelled"), headers={"Deprecation": "true", "Link": successor})


@delete("/{job_id:str}", status_code=HTTPStatus.OK, responses=documented(401, 404, 409), summary="Delete a job and its sound")
async def delete_job(principal: Caller, jobs: Jobs, job_id: FromPath[str]) -> Envelope[JobDeleted]:
    await jobs.delete(principal.user_id, job_id)
    return ok(JobDeleted(id=job_id), "Job deleted successfully")


@get("/{job_id:str}/progress", operation_class=EventStream, responses=documented(401, 404), summary="Watch a job")
async def watch_job(
    principal: Caller,
    jobs: Jobs,
    streams: Streams,
    job_id: FromPath[str],
    last_event_id: LastEventId = None,
) -> ServerSentEvent:
    """Server-sent events, the last of which is `{"event": "complete"}`."""
    await jobs.get(principal, job_id)
    return ServerSentEvent(streams.follow(job_id, last_event_id), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})


class _JsonOrCaptions(AlsoAnswers):
    media_types = ("application/x-subrip", "text/vtt")


@get(
    "/{job_id:str}/timestamps",
    operation_class=_JsonOrCaptions,
    responses=documented(401, 404, 409, 503) | {200: ResponseSpec(Envelope[TimestampsOut], generate_examples=False)},
    summary="When each word of a job is said",
)
async def get_timestamps(
    principal: Caller,
    timestamps: NamedDependency[TimestampService],
    job_id: FromPath[str],
    form: Annotated[Form, QueryParameter(name="format", description="captions as `srt` or `vtt`")] = "json",
    granularity: Annotated[
        Granularity | None,
        Parameter(description="one entry for each; unless given, what the job's config says, and readable lines in captions"),
    ] = None,
) -> Response[Any]:
    """In the job's own text and sound. Found when it is first asked, unless the job was made with `include_timestamps`."""
    job, found = await timestamps.of(principal, job_id)
    return answer(job, found, form, granularity)


def _time(value: str | None, name: str) -> datetime | None:
    """A time of ISO 8601, in UTC where it names no zone. Raises ValidationFailedError."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        # The latter: a time at the very end of the calendar whose zone carries it beyond.
        raise ValidationFailedError({name: f"must be a time: {TIME}"}) from None


router = Router(
    "/job",
    route_handlers=[create_job, list_jobs, get_job, update_job, patch_job, cancel_job, delete_job, watch_job, get_timestamps],
    tags=["jobs"],
)
