from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

from litestar import Request, Response, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, Parameter
from litestar.response import Stream

from api.auth.principal import Caller
from api.clones.schemas import CloneCreate, CloneDeleted, CloneList, CloneOut, DirectSynthesis, Synthesised
from api.clones.service import CloneService
from api.clones.synthesis import DirectSpeech
from api.envelope import Envelope, ok
from api.errors import documented
from api.jobs.schemas import processing_time_ms
from api.pagination import AskedWindow, pagination, paging
from api.request_ids import request_id_of
from audio.encode import content_type
from store.models import Job

Clones = NamedDependency[CloneService]
Speech = NamedDependency[DirectSpeech]
SORTABLE = ("created_at", "name", "status")


@post("/", status_code=HTTPStatus.CREATED, responses=documented(401, 404), summary="Make a voice of recordings")
async def create_clone(
    request: Request[Any, Any, Any],
    principal: Caller,
    clones: Clones,
    data: JSONBody[CloneCreate],
) -> Envelope[CloneOut]:
    """It is made in the background: watch its `status`. Samples that are still being processed are waited for."""
    clone, job_id = await clones.create(principal.user_id, data, request_id_of(request.scope))
    return ok(CloneOut.of(clone, job_id=job_id), "Voice clone is being made")


@get("/", dependencies={"window": paging(SORTABLE)}, responses=documented(401), summary="List your voices")
async def list_clones(
    principal: Caller,
    clones: Clones,
    window: AskedWindow,
    status: Annotated[Literal["pending", "processing", "ready", "failed"] | None, Parameter(description="only these")] = None,
) -> Envelope[CloneList]:
    rows, total = await clones.list(principal.user_id, window, status)
    active = await clones.active_id(principal.user_id)
    out = [CloneOut.of(row, active_clone_id=active) for row in rows]
    return ok(CloneList(clones=out, pagination=pagination(window, total)))


@get("/{clone_id:str}", responses=documented(401, 404), summary="One voice")
async def get_clone(principal: Caller, clones: Clones, clone_id: FromPath[str]) -> Envelope[CloneOut]:
    clone = await clones.get(principal.user_id, clone_id)
    return ok(CloneOut.of(clone, active_clone_id=await clones.active_id(principal.user_id)))


@delete("/{clone_id:str}", status_code=HTTPStatus.OK, responses=documented(401, 404), summary="Delete a voice")
async def delete_clone(principal: Caller, clones: Clones, clone_id: FromPath[str]) -> Envelope[CloneDeleted]:
    await clones.delete(principal.user_id, clone_id)
    return ok(CloneDeleted(clone_id=clone_id), "Voice clone deleted")


@post("/{clone_id:str}/select", status_code=HTTPStatus.OK, responses=documented(401, 404), summary="Speak with this voice by default")
async def select_clone(principal: Caller, clones: Clones, clone_id: FromPath[str]) -> Envelope[CloneOut]:
    clone = await clones.select(principal.user_id, clone_id)
    return ok(CloneOut.of(clone, active_clone_id=clone_id), "Voice clone selected")


@post(
    "/{clone_id:str}/synthesize",
    status_code=HTTPStatus.OK,
    responses=documented(401, 404, 409, 503),
    summary="Speak at once",
)
async def synthesize(
    request: Request[Any, Any, Any],
    principal: Caller,
    speech: Speech,
    clone_id: FromPath[str],
    data: JSONBody[DirectSynthesis],
) -> Response[Envelope[Synthesised]]:
    """Answers with JSON and keeps the file; with `stream=true` or `Accept: audio/*` it sends the sound while it is being made."""
    request_id = request_id_of(request.scope)
    if data.stream or request.headers.get("accept", "").strip().startswith("audio/"):
        sound = await speech.stream(principal.user_id, clone_id, data, request_id)
        return Stream(sound, media_type=content_type(data.output_format))  # type: ignore[return-value]
    return Response(ok(_synthesised(await speech.speak(principal.user_id, clone_id, data, request_id)), "Synthesis completed"))


def _synthesised(job: Job) -> Synthesised:
    said = job.result or {}
    return Synthesised(
        job_id=job.id,
        clone_id=job.voice_model_id or "",
        status=job.status,
        output_path=f"/api/v1/file/synthesis/{job.id}",
        output_format=job.output_format,
        sample_rate=job.sample_rate,
        duration=job.duration or 0.0,
        size=job.output_size or 0,
        model=said.get("model", ""),
        is_speech=said.get("speech", False),
        processing_time_ms=processing_time_ms(job) or 0,
    )


router = Router(
    "/voice/clones",
    route_handlers=[create_clone, list_clones, get_clone, delete_clone, select_clone, synthesize],
    tags=["clones"],
)
