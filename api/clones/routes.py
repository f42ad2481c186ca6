from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Literal, get_args

from litestar import Request, Response, Router, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIMediaType, Operation, Reference, RequestBody
from litestar.params import FromPath, JSONBody, Parameter
from litestar.response import Stream

from api.auth.principal import Caller
from api.body import RequestModel, read_either
from api.clones.schemas import (
    CloneCreate,
    CloneDeleted,
    CloneDetail,
    CloneList,
    CloneOut,
    ClonePatch,
    DirectSynthesis,
    MeasuringStarted,
    Synthesised,
)
from api.clones.service import CloneService
from api.clones.similar import SimilarTo, SimilarToFile, SimilarVoices, VoiceSearch
from api.clones.synthesis import DirectSpeech
from api.envelope import Envelope, ok
from api.errors import documented
from api.jobs.schemas import OutputFormat, processing_time_ms
from api.openapi import AlsoAnswers
from api.pagination import AskedWindow, pagination, paging
from api.request_ids import request_id_of
from api.samples.routes import FORM_OVERHEAD
from audio.encode import content_type
from store.models import Job

Clones = NamedDependency[CloneService]
Speech = NamedDependency[DirectSpeech]
Search = NamedDependency[VoiceSearch]
SORTABLE = ("created_at", "name", "status")


@post("/", status_code=HTTPStatus.CREATED, responses=documented(401, 404), summary="Make a voice of recordings")
async def create_clone(
    request: Request[Any, Any, Any],
    principal: Caller,
    clones: Clones,
    data: JSONBody[CloneCreate],
) -> Envelope[CloneOut]:
    """It is made in the background: watch its `status`. Samples that are still being processed are waited for.

    With samples in several styles it gets a reference for each. `consent` may be required here.
    """
    address = request.client.host if request.client else None
    clone, job_id = await clones.create(principal.user_id, data, request_id_of(request.scope), address)
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
async def get_clone(principal: Caller, clones: Clones, clone_id: FromPath[str]) -> Envelope[CloneDetail]:
    clone = await clones.get(principal.user_id, clone_id)
    out = CloneOut.of(clone, active_clone_id=await clones.active_id(principal.user_id))
    return ok(CloneDetail.with_consent(out, await clones.consent(clone_id)))


@patch("/{clone_id:str}", responses=documented(401, 404, 409, 413, 415), summary="Let a voice speak with what was trained")
async def update_clone(
    request: Request[Any, Any, Any], principal: Caller, clones: Clones, clone_id: FromPath[str], data: JSONBody[ClonePatch]
) -> Envelope[CloneOut]:
    clone = await clones.set_training(principal.user_id, clone_id, data.training_job_id, request_id_of(request.scope))
    return ok(CloneOut.of(clone, active_clone_id=await clones.active_id(principal.user_id)), "Voice clone updated")


@delete("/{clone_id:str}", status_code=HTTPStatus.OK, responses=documented(401, 404), summary="Delete a voice")
async def delete_clone(principal: Caller, clones: Clones, clone_id: FromPath[str]) -> Envelope[CloneDeleted]:
    await clones.delete(principal.user_id, clone_id)
    return ok(CloneDeleted(clone_id=clone_id), "Voice clone deleted")


@post("/{clone_id:str}/select", status_code=HTTPStatus.OK, responses=documented(401, 404), summary="Speak with this voice by default")
async def select_clone(principal: Caller, clones: Clones, clone_id: FromPath[str]) -> Envelope[CloneOut]:
    clone = await clones.select(principal.user_id, clone_id)
    return ok(CloneOut.of(clone, active_clone_id=clone_id), "Voice clone selected")


@post("/{clone_id:str}/measure", status_code=HTTPStatus.ACCEPTED, responses=documented(401, 404, 409), summary="Measure a voice anew")
async def measure_clone(
    request: Request[Any, Any, Any], principal: Caller, clones: Clones, clone_id: FromPath[str]
) -> Envelope[MeasuringStarted]:
    """Every voice is measured once without being asked. While a job is at it, that job is the answer."""
    job = await clones.measure(principal.user_id, clone_id, request_id_of(request.scope))
    return ok(MeasuringStarted.of(job), "Voice clone is being measured")


@dataclass
class _FormOrJson(Operation):
    """A route that reads either has no `data` for Litestar to describe."""

    def __post_init__(self) -> None:
        forms: dict[str, type[RequestModel]] = {"application/json": SimilarTo, "multipart/form-data": SimilarToFile}
        content = {kind: OpenAPIMediaType(schema=Reference(ref=f"#/components/schemas/{form.__name__}")) for kind, form in forms.items()}
        self.request_body = RequestBody(required=True, content=content)


class _JsonOrSound(AlsoAnswers):
    media_types = tuple(content_type(format) for format in get_args(OutputFormat))


@post(
    "/",
    status_code=HTTPStatus.OK,
    operation_class=_FormOrJson,
    responses=documented(401, 404, 409, 413, 415, 503),
    summary="Find voices that sound alike",
)
async def find_similar(request: Request[Any, Any, Any], principal: Caller, voice_search: Search) -> Envelope[SimilarVoices]:
    """Among the presets and your samples and clones: like the one with this `id`, or like the recording in `file`, which is not kept."""
    wanted = await read_either(request, SimilarToFile, SimilarTo)
    if isinstance(wanted, SimilarTo):
        return ok(await voice_search.like(principal.user_id, wanted))
    return ok(await voice_search.like_file(principal.user_id, wanted, request_id_of(request.scope)))


@post(
    "/{clone_id:str}/synthesize",
    status_code=HTTPStatus.OK,
    operation_class=_JsonOrSound,
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


def clones_router(max_upload_bytes: int) -> Router:
    similar = Router("/similar", route_handlers=[find_similar], request_max_body_size=max_upload_bytes + FORM_OVERHEAD)
    return Router(
        "/voice/clones",
        route_handlers=[create_clone, list_clones, similar, get_clone, update_clone, delete_clone, select_clone, measure_clone, synthesize],
        tags=["clones"],
    )
