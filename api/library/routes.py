from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from litestar import Request, Response, Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, Parameter, QueryParameter

from api.auth.principal import Caller
from api.envelope import Envelope, Meta, ok
from api.errors import documented
from api.files.schemas import audio_path
from api.files.voices import voice_file_id
from api.library.info import VoiceInfoService
from api.library.previews import Preview, PreviewService
from api.library.schemas import FavoriteOut, PreviewOut, RatingIn, RatingOut, VoiceInfo, VoiceModelDetail, VoiceModelOut, VoiceType
from api.library.service import LibraryService
from api.library.voices import VoiceFilter
from api.pagination import AskedWindow, pagination, paging
from api.request_ids import request_id_of

Library = NamedDependency[LibraryService]
Previews = NamedDependency[PreviewService]
Info = NamedDependency[VoiceInfoService]
SORTABLE = ("created_at", "updated_at", "name", "language", "type", "quality_score", "usage_count", "user_rating")
ASK_AGAIN_S = 2


@get("/models", dependencies={"window": paging(SORTABLE)}, responses=documented(401), summary="List the voices to speak with")
async def list_voice_models(
    principal: Caller,
    library: Library,
    voice_info: Info,
    window: AskedWindow,
    tags: Annotated[str | None, Parameter(description="only those with all of these, commas between them", max_length=500)] = None,
    language: Annotated[str | None, Parameter(description="only these; `en` takes `en-US` too", max_length=16)] = None,
    voice_type: Annotated[VoiceType | None, QueryParameter(name="type", description="`preset`: everybody's; `custom`: your clones")] = None,
    owner: Annotated[str | None, Parameter(description="`me` or your id: your clones; `system`: presets", max_length=64)] = None,
    search: Annotated[str | None, Parameter(description="only those with this in their name or description", max_length=200)] = None,
    is_favorite: Annotated[bool | None, Parameter(description="only your favourites, or only the others")] = None,
) -> Envelope[list[VoiceModelOut]]:
    """The presets, the default voice under its own id, and your clones that are ready.

    `meta.filters` names what there is to filter by, `meta.capabilities` the models that speak and how well each language is spoken.
    """
    wanted = VoiceFilter(
        tags=[tag.strip() for tag in (tags or "").split(",") if tag.strip()],
        language=language,
        type=voice_type,
        owner=owner,
        search=search,
        is_favorite=is_favorite,
    )
    voices, total, filters = await library.list(principal.user_id, window, wanted)
    info = await voice_info.get()
    capabilities = {"default_model": info.default_model, "models": info.models, "languages": info.languages}
    return ok(voices, meta=Meta(pagination=pagination(window, total), filters=filters, capabilities=capabilities))


@get("/models/{voice_model_id:str}", responses=documented(401, 404, 409), summary="One voice")
async def get_voice_model(principal: Caller, library: Library, voice_model_id: FromPath[str]) -> Envelope[VoiceModelDetail]:
    return ok(await library.get(principal.user_id, voice_model_id))


@get(
    "/models/{voice_model_id:str}/preview",
    responses=documented(401, 404, 409, 503)
    | {202: ResponseSpec(Envelope[PreviewOut], generate_examples=False, description="It is being made; see `Retry-After`")},
    summary="Hear a voice",
)
async def get_preview(
    request: Request[Any, Any, Any], principal: Caller, previews: Previews, voice_model_id: FromPath[str]
) -> Response[Envelope[PreviewOut]]:
    """Where the preview of a voice is. It is made when it is first asked for, and anew when the voice has changed.

    While it is being made the answer is 202 with `Retry-After`, and `status` is `processing`.
    """
    preview = await previews.get(principal.user_id, voice_model_id, request_id_of(request.scope))
    said = _preview(voice_model_id, preview)
    if preview.ready:
        return Response(ok(said))
    return Response(
        ok(said, "The preview is being made; ask again"), status_code=HTTPStatus.ACCEPTED, headers={"Retry-After": str(ASK_AGAIN_S)}
    )


@post(
    "/models/{voice_model_id:str}/favorite", status_code=HTTPStatus.OK, responses=documented(401, 404), summary="Make a voice a favourite"
)
async def add_favorite(principal: Caller, library: Library, voice_model_id: FromPath[str]) -> Envelope[FavoriteOut]:
    return ok(await library.set_favorite(principal.user_id, voice_model_id, wanted=True), "Voice model added to favorites")


@delete(
    "/models/{voice_model_id:str}/favorite",
    status_code=HTTPStatus.OK,
    responses=documented(401, 404),
    summary="Make a voice no favourite any more",
)
async def remove_favorite(principal: Caller, library: Library, voice_model_id: FromPath[str]) -> Envelope[FavoriteOut]:
    return ok(await library.set_favorite(principal.user_id, voice_model_id, wanted=False), "Voice model removed from favorites")


@put("/models/{voice_model_id:str}/rating", responses=documented(401, 404, 409), summary="Say what you think of a voice")
async def rate_voice_model(
    principal: Caller, library: Library, voice_model_id: FromPath[str], data: JSONBody[RatingIn]
) -> Envelope[RatingOut]:
    """One rating a person: another one takes the place of the first."""
    return ok(await library.set_rating(principal.user_id, voice_model_id, data.rating), "Voice model rated")


@delete(
    "/models/{voice_model_id:str}/rating",
    status_code=HTTPStatus.OK,
    responses=documented(401, 404),
    summary="Take back what you said of a voice",
)
async def remove_rating(principal: Caller, library: Library, voice_model_id: FromPath[str]) -> Envelope[RatingOut]:
    return ok(await library.set_rating(principal.user_id, voice_model_id, None), "Rating taken back")


@get("/info", responses=documented(401), summary="What this installation can speak, and within which limits")
async def get_voice_info(voice_info: Info) -> Envelope[VoiceInfo]:
    """Answers too while the speech service is away, and then says so."""
    return ok(await voice_info.get())


def _preview(voice_model_id: str, preview: Preview) -> PreviewOut:
    job = preview.job
    return PreviewOut(
        voice_model_id=voice_model_id,
        status="ready" if preview.ready else "processing",
        preview_audio_url=audio_path(voice_file_id("preview", voice_model_id)) if preview.ready else None,
        preview_text=preview.text,
        language=preview.language,
        duration=job.duration,
        format=job.output_format,
        sample_rate=job.sample_rate,
        size=job.output_size,
        job_id=job.id,
        progress=job.progress,
        message=job.message,
    )


router = Router(
    "/voice",
    route_handlers=[
        list_voice_models,
        get_voice_model,
        get_preview,
        add_favorite,
        remove_favorite,
        rate_voice_model,
        remove_rating,
        get_voice_info,
    ],
    tags=["library"],
)
