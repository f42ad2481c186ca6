from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qs

from litestar import HttpMethod, Request, Response, Router, delete, get, post, route
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import ASGIApp, Receive, Scope, Send

from api.auth.middleware import Authentication
from api.auth.principal import Caller, Principal
from api.envelope import Envelope, ok
from api.errors import UnauthorizedError, documented
from api.files.schemas import FileDeleted, FileInfo, FileLink, LinkRequest, audio_path
from api.files.service import FileService, Sound
from api.files.serving import AskedConditions, conditions
from api.limits.admission import admit
from api.openapi import UNLIMITED_OPT, Download

Files = NamedDependency[FileService]
SoundOfAddress = NamedDependency[Sound]
Signature = Annotated[
    str | None, QueryParameter(name="sig", description="of an address made by `POST /files/{file_id}/link`; stands in for a token")
]

FOUND = documented(401, 404, 409)
DOWNLOADED = documented(401, 404, 409, 416)
OPEN_DOWNLOADED = documented(401, 403, 404, 409, 416)
# RFC 9110, section 14.2: only GET knows ranges.
NO_RANGE = "What a download would say of itself"


@get("/file/synthesis/{job_id:str}", operation_class=Download, responses=DOWNLOADED, summary="Download the sound of a job")
async def download(principal: Caller, files: Files, asked: AskedConditions, job_id: FromPath[str]) -> Response[Any]:
    """Whole, or the single range that is asked for."""
    return await files.serve(await files.of_job(principal.user_id, job_id), asked)


@route("/file/synthesis/{job_id:str}", http_method=HttpMethod.HEAD, operation_class=Download, responses=DOWNLOADED, summary=NO_RANGE)
async def look(principal: Caller, files: Files, asked: AskedConditions, job_id: FromPath[str]) -> Response[Any]:
    return await files.serve(await files.of_job(principal.user_id, job_id), replace(asked, range=None))


@get("/file/synthesis/{job_id:str}/info", responses=FOUND, summary="What is known of the sound of a job")
async def get_synthesis_info(principal: Caller, files: Files, job_id: FromPath[str]) -> Envelope[FileInfo]:
    return await _info(files, await files.of_job(principal.user_id, job_id))


@delete("/file/synthesis/{job_id:str}", status_code=HTTPStatus.OK, responses=FOUND, summary="Delete the sound of a job")
async def delete_synthesis(principal: Caller, files: Files, job_id: FromPath[str]) -> Envelope[FileDeleted]:
    """The file goes, and what the job says of it; the job stays."""
    await files.delete_of_job(principal.user_id, job_id)
    return ok(FileDeleted(job_id=job_id), "Audio file deleted")


@get("/file/voice-clone/{job_id:str}", operation_class=Download, responses=DOWNLOADED, summary="Download what was spoken in a cloned voice")
async def download_voice_clone(principal: Caller, files: Files, asked: AskedConditions, job_id: FromPath[str]) -> Response[Any]:
    """As `/file/synthesis/{job_id}`, for jobs and direct syntheses in a clone."""
    return await files.serve(await files.of_clone_job(principal.user_id, job_id), asked)


@route("/file/voice-clone/{job_id:str}", http_method=HttpMethod.HEAD, operation_class=Download, responses=DOWNLOADED, summary=NO_RANGE)
async def look_at_voice_clone(principal: Caller, files: Files, asked: AskedConditions, job_id: FromPath[str]) -> Response[Any]:
    return await files.serve(await files.of_clone_job(principal.user_id, job_id), replace(asked, range=None))


@get("/file/voice-clone/{job_id:str}/info", responses=FOUND, summary="What is known of what was spoken in a cloned voice")
async def get_voice_clone_info(principal: Caller, files: Files, job_id: FromPath[str]) -> Envelope[FileInfo]:
    return await _info(files, await files.of_clone_job(principal.user_id, job_id))


@get("/files/{file_id:str}/info", responses=FOUND, summary="What is known of a file")
async def get_file_info(principal: Caller, files: Files, file_id: FromPath[str]) -> Envelope[FileInfo]:
    """`file_id` is the id of a job, a sample, or a sound of a voice, as `/voice/models` names them."""
    return await _info(files, await files.of(principal.user_id, file_id))


@post(
    "/files/{file_id:str}/link", status_code=HTTPStatus.OK, responses=documented(401, 404, 409, 413, 415), summary="Make a download address"
)
async def link_file(
    principal: Caller, files: Files, file_id: FromPath[str], data: JSONBody[LinkRequest | None] = None
) -> Envelope[FileLink]:
    """An address that needs no token, for at most an hour. Whoever has it can download this one file."""
    sound = await files.of(principal.user_id, file_id)
    await files.stat(sound)
    signature, expires_at = files.links.sign(sound.file_id, data.expires_in if data else None)
    url = f"{audio_path(sound.file_id)}?sig={signature}"
    return ok(FileLink(file_id=sound.file_id, url=url, expires_at=datetime.fromtimestamp(expires_at, UTC)), "Download address made")


async def sound_of_address(request: Request[Any, Any, Any], files: Files, file_id: FromPath[str], sig: Signature = None) -> Sound:
    """Litestar dependency: the sound that the address is good for, or that belongs to the caller."""
    if sig is not None:
        return await files.linked(file_id, sig)
    caller: Principal | None = request.scope.get("user")
    if caller is None:
        raise UnauthorizedError
    return await files.of(caller.user_id, file_id)


@get("/files/audio/{file_id:str}", operation_class=Download, responses=OPEN_DOWNLOADED, summary="Download a sound")
async def download_audio(files: Files, asked: AskedConditions, sound: SoundOfAddress) -> Response[Any]:
    """`file_id` is the id of a job, a sample, or a sound of a voice, as `/voice/models` names them.

    Takes a token, or the signature of a download address.
    """
    return await files.serve(sound, asked)


@route("/files/audio/{file_id:str}", http_method=HttpMethod.HEAD, operation_class=Download, responses=OPEN_DOWNLOADED, summary=NO_RANGE)
async def look_at_audio(files: Files, asked: AskedConditions, sound: SoundOfAddress) -> Response[Any]:
    return await files.serve(sound, replace(asked, range=None))


async def _info(files: FileService, sound: Sound) -> Envelope[FileInfo]:
    return ok(FileInfo.of(sound, await files.stat(sound)))


class _SignatureOrCredential(Authentication):
    """Lets a request with a signature pass, which :func:`sound_of_address` judges; asks all others for a credential as everywhere."""

    # The app's own authentication passes these routes over by their opt; this one must not.
    exclude_opt_key = "exclude_from_signature_or_credential"

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if "sig" in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            await admit(scope)
            await next_app(scope, receive, send)
        else:
            await super().handle(scope, receive, send, next_app)


_open = Router(
    "/",
    route_handlers=[download_audio, look_at_audio],
    dependencies={"sound": Provide(sound_of_address)},
    middleware=[_SignatureOrCredential()],
    opt=UNLIMITED_OPT,  # by the app: the middleware knows to whom a request counts
    security=[{"bearer": []}, {"api_key": []}, {}],
)

router = Router(
    "/",
    route_handlers=[
        download,
        look,
        get_synthesis_info,
        delete_synthesis,
        download_voice_clone,
        look_at_voice_clone,
        get_voice_clone_info,
        get_file_info,
        link_file,
        _open,
    ],
    dependencies={"asked": conditions},
    tags=["files"],
)
