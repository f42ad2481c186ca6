from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any, Literal

from litestar import HttpMethod, Request, Response, Router, delete, get, patch, post, route
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, JSONBody, Parameter

from api.auth.principal import Caller
from api.envelope import Envelope, ok
from api.errors import documented
from api.files.service import FileService, Sound
from api.files.serving import AskedConditions, conditions
from api.limits.guards import upload_guard
from api.openapi import Download
from api.pagination import AskedWindow, pagination, paging
from api.request_ids import request_id_of
from api.samples.pictures import SamplePictures
from api.samples.schemas import (
    ProcessingStarted,
    SampleDeleted,
    SampleDetail,
    SampleList,
    SampleOut,
    SamplePatch,
    SampleUpload,
    Waveform,
)
from api.samples.service import SampleService
from api.samples.training import Trainings, delete_training, list_trainings, train_sample
from audio.picture import MAX_HEIGHT, MAX_WIDTH, MIN_HEIGHT, MIN_WIDTH

Samples = NamedDependency[SampleService]
Pictures = NamedDependency[SamplePictures]
Files = NamedDependency[FileService]
Prepared = Annotated[bool, Parameter(description="the prepared form, 24 kHz mono and trimmed, instead of the recording as it came")]
SORTABLE = ("created_at", "name", "duration", "status")
MAX_POINTS = 4000
FORM_OVERHEAD = 64 * 1024  # the other parts of the form and the borders between them


@post(
    "/",
    status_code=HTTPStatus.CREATED,
    guards=[upload_guard(FORM_OVERHEAD)],
    responses=documented(401, 413, 415, 503),
    summary="Upload a recording of a voice",
)
async def upload_sample(
    request: Request[Any, Any, Any],
    principal: Caller,
    samples: Samples,
    data: Annotated[SampleUpload, Body(media_type=RequestEncodingType.MULTI_PART)],
) -> Envelope[SampleOut]:
    """WAV, MP3, FLAC, OGG, M4A or WebM, told by decoding it. It is processed in the background: watch its `status`."""
    sample = await samples.upload(principal.user_id, data, request_id_of(request.scope))
    return ok(SampleOut.of(sample), "Voice sample uploaded")


@get("/", dependencies={"window": paging(SORTABLE)}, responses=documented(401), summary="List your recordings")
async def list_samples(
    principal: Caller,
    samples: Samples,
    window: AskedWindow,
    status: Annotated[Literal["uploaded", "processing", "ready", "failed"] | None, Parameter(description="only these")] = None,
    language: Annotated[str | None, Parameter(description="only these; `en` takes `en-US` too", max_length=16)] = None,
    style: Annotated[str | None, Parameter(description="only these", max_length=50)] = None,
    search: Annotated[str | None, Parameter(description="only those with this in their name or description", max_length=200)] = None,
) -> Envelope[SampleList]:
    rows, total = await samples.list(principal.user_id, window, status=status, language=language, style=style, search=search)
    return ok(SampleList(samples=[SampleOut.of(row) for row in rows], pagination=pagination(window, total)))


@get("/{sample_id:str}", responses=documented(401, 404), summary="One recording, with its quality")
async def get_sample(principal: Caller, samples: Samples, trainings: Trainings, sample_id: FromPath[str]) -> Envelope[SampleDetail]:
    sample = await samples.get(principal.user_id, sample_id)
    similar = await samples.similar(principal.user_id, sample_id)
    return ok(SampleDetail.with_similar(sample, similar, next(iter(await trainings.of_sample(principal.user_id, sample_id)), None)))


@patch("/{sample_id:str}", responses=documented(401, 404, 413, 415), summary="Describe a recording anew")
async def update_sample(principal: Caller, samples: Samples, sample_id: FromPath[str], data: JSONBody[SamplePatch]) -> Envelope[SampleOut]:
    """What is left out stays as it is. Clones that are ready keep the text that they were made with."""
    return ok(SampleOut.of(await samples.update(principal.user_id, sample_id, data)), "Voice sample updated")


@post(
    "/{sample_id:str}/process",
    status_code=HTTPStatus.ACCEPTED,
    responses=documented(401, 404, 409),
    summary="Process a recording once more",
)
async def process_sample(
    request: Request[Any, Any, Any], principal: Caller, samples: Samples, sample_id: FromPath[str]
) -> Envelope[ProcessingStarted]:
    """An upload is processed without being asked. While a job is at the recording, that job is the answer."""
    job, sample = await samples.process(principal.user_id, sample_id, request_id_of(request.scope))
    return ok(ProcessingStarted.of(job, sample), "Voice sample is being processed")


@get("/{sample_id:str}/audio", operation_class=Download, responses=documented(401, 404, 409, 416), summary="Download a recording")
async def download_sample(
    principal: Caller, samples: Samples, files: Files, asked: AskedConditions, sample_id: FromPath[str], prepared: Prepared = False
) -> Response[Any]:
    """Whole, or the single range that is asked for."""
    return await files.serve(await _sound(samples, principal.user_id, sample_id, prepared), asked)


@route(
    "/{sample_id:str}/audio",
    http_method=HttpMethod.HEAD,
    operation_class=Download,
    responses=documented(401, 404, 409, 416),
    summary="What a download of a recording would say of itself",
)
async def look_at_sample(
    principal: Caller, samples: Samples, files: Files, asked: AskedConditions, sample_id: FromPath[str], prepared: Prepared = False
) -> Response[Any]:
    # RFC 9110, section 14.2: only GET knows ranges.
    return await files.serve(await _sound(samples, principal.user_id, sample_id, prepared), replace(asked, range=None))


@get("/{sample_id:str}/waveform", responses=documented(401, 404, 409, 503), summary="The shape of a recording")
async def get_waveform(
    principal: Caller,
    samples: Samples,
    pictures: Pictures,
    sample_id: FromPath[str],
    points: Annotated[int, Parameter(ge=1, le=MAX_POINTS, description="how many peaks")] = 200,
    prepared: Prepared = False,
) -> Envelope[Waveform]:
    return ok(await pictures.waveform(await _sound(samples, principal.user_id, sample_id, prepared), points))


class _Picture(Download):
    media_types = ("image/png",)
    in_parts = False


@get(
    "/{sample_id:str}/spectrogram.png",
    media_type="image/png",
    operation_class=_Picture,
    responses=documented(401, 404, 409, 503),
    summary="The log-mel spectrogram of a recording",
)
async def get_spectrogram(
    principal: Caller,
    samples: Samples,
    files: Files,
    pictures: Pictures,
    asked: AskedConditions,
    sample_id: FromPath[str],
    width: Annotated[int, Parameter(ge=MIN_WIDTH, le=MAX_WIDTH, description="points in time")] = 800,
    height: Annotated[int, Parameter(ge=MIN_HEIGHT, le=MAX_HEIGHT, description="bands, the highest at the top")] = 256,
    prepared: Prepared = False,
) -> Response[bytes]:
    """80 dB from the darkest to the lightest colour. Is not drawn again for who has it, by its ETag."""
    sound = await _sound(samples, principal.user_id, sample_id, prepared)
    etag = f'"{(await files.stat(sound)).etag}-{width}x{height}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if asked.have(etag):
        return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, media_type="image/png", headers=headers)
    return Response(await pictures.spectrogram(sound, width=width, height=height), media_type="image/png", headers=headers)


async def _sound(samples: SampleService, user_id: str, sample_id: str, prepared: bool) -> Sound:
    return Sound.of_sample(await samples.get(user_id, sample_id), prepared=prepared)


@delete("/{sample_id:str}", status_code=HTTPStatus.OK, responses=documented(401, 404, 409), summary="Delete a recording")
async def delete_sample(
    principal: Caller,
    samples: Samples,
    sample_id: FromPath[str],
    force: Annotated[bool, Parameter(description="delete the clones that need it too")] = False,
) -> Envelope[SampleDeleted]:
    deleted = await samples.delete(principal.user_id, sample_id, force=force)
    return ok(SampleDeleted(sample_id=sample_id, deleted_clones=list(deleted)), "Voice sample deleted")


def samples_router(max_upload_bytes: int) -> Router:
    return Router(
        "/voice/samples",
        route_handlers=[
            upload_sample,
            list_samples,
            get_sample,
            update_sample,
            delete_sample,
            process_sample,
            train_sample,
            list_trainings,
            delete_training,
            download_sample,
            look_at_sample,
            get_waveform,
            get_spectrogram,
        ],
        dependencies={"asked": conditions},
        request_max_body_size=max_upload_bytes + FORM_OVERHEAD,
        tags=["samples"],
    )
