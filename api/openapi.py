"""The OpenAPI 3.1 document at `/openapi.json` and the page that shows it at `/docs`, both without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from litestar import Request, Response, Router, get
from litestar.handlers.http_handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIFormat,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Reference,
    Schema,
    SecurityRequirement,
    SecurityScheme,
    Tag,
)
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition

from api.document import completed
from api.errors import RouteNotFoundError
from api.limits.admission import UNLIMITED

# A router of public routes takes both; OPTIONS, which Litestar adds by itself, is then public too.
PUBLIC_OPT: dict[str, Any] = {"exclude_from_auth": True}
PUBLIC_SECURITY: list[SecurityRequirement] = [{}]
# Public and not limited: what looks after the process, or tells how to use it, must not be shut out.
UNLIMITED_OPT: dict[str, Any] = {**PUBLIC_OPT, UNLIMITED: True}
# For routes with the opt `session_only`.
SESSION_SECURITY: list[SecurityRequirement] = [{"bearer": []}]

VERSION = version("voxify")

SOUNDS = ("audio/wav", "audio/mpeg", "audio/flac", "audio/ogg", "audio/opus", "audio/mp4", "audio/webm")

_PAGE = Path(__file__).with_name("docs.html")


def operation_id(handler: HTTPRouteHandler, _method: Method, _path: list[str | PathParameterDefinition]) -> str:
    """``{room}_{function}``, such as ``auth_login``: stable as long as neither is renamed, whatever the path."""
    room = handler.fn.__module__.removeprefix("api.").split(".", maxsplit=1)[0]
    return f"{room}_{handler.fn.__name__}"


def _bytes(*media_types: str) -> dict[str, OpenAPIMediaType]:
    schema = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
    return {media_type: OpenAPIMediaType(schema=schema) for media_type in media_types}


@dataclass
class AlsoAnswers(Operation):
    """The `operation_class` of a route that may answer with bytes instead of JSON."""

    media_types: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        responses = self.responses or {}
        for answer in (answer for status, answer in responses.items() if status == str(HTTPStatus.OK.value)):
            assert isinstance(answer, OpenAPIResponse)
            answer.content = {**(answer.content or {}), **_bytes(*self.media_types)}


@dataclass
class Download(Operation):
    """The `operation_class` of a route that answers with a file, or says that the client has it."""

    media_types: ClassVar[tuple[str, ...]] = SOUNDS
    in_parts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        names = ["ETag", "Cache-Control", *(["Accept-Ranges", "Content-Disposition"] if self.in_parts else [])]
        text = Schema(type=OpenAPIType.STRING)
        headers: dict[str, OpenAPIHeader | Reference] = {name: OpenAPIHeader(schema=text) for name in names}
        content = _bytes(*self.media_types)
        self.responses = {
            **(self.responses or {}),
            "200": OpenAPIResponse("The file", headers=headers, content=content),
            "304": OpenAPIResponse("Not changed since the client had it", headers=headers),
        }
        if self.in_parts:
            self.responses["307"] = OpenAPIResponse("The whole file is at another address for a while, where the settings say so")
            headers = {**headers, "Content-Range": OpenAPIHeader(schema=text)}
            self.responses["206"] = OpenAPIResponse("The part that was asked for", headers=headers, content=content)


@dataclass
class EventStream(Operation):
    """The `operation_class` of a route that answers with server-sent events."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING)
        event = Schema(
            type=OpenAPIType.OBJECT,
            description="Each event. `data` is JSON",
            properties={"id": text, "event": text, "data": Schema(type=OpenAPIType.STRING, content_media_type="application/json")},
            required=["data"],
        )
        content = {"text/event-stream": OpenAPIMediaType(schema=event, example=_EVENTS)}
        self.responses = {**(self.responses or {}), "200": OpenAPIResponse("The events", content=content)}


_EVENTS = """id: 1
data: {"job_id": "job_01j8zk3v6f5q", "progress": 25.0, "status": "processing", "message": "Speaking"}

id: 2
data: {"job_id": "job_01j8zk3v6f5q", "progress": 100.0, "status": "completed", "message": null, "duration": 5.2}

data: {"event": "complete"}

"""


class Document(JsonRenderPlugin):
    """Serves the document with what :mod:`api.document` adds; made when it is first asked for."""

    _made: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._made is None:
            self._made = msgspec.json.encode(completed(self.render_json(request, openapi_schema)))
        return self._made


async def _only_the_document(response: Response[Any]) -> Response[Any]:
    # Litestar adds a page of its own for unknown addresses below the document's.
    if response.status_code != 200:
        raise RouteNotFoundError("There is nothing at this address")
    return response


def config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Voxify",
        version=VERSION,
        summary="Voice cloning and text-to-speech",
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(
                    type="http", scheme="bearer", bearer_format="JWT", description="An access token of /auth/login, or an API key"
                ),
                "api_key": SecurityScheme(
                    type="apiKey",
                    name="X-API-Key",
                    security_scheme_in="header",
                    description="A key of /auth/api-keys. With the scope `read` it is good for GET and HEAD, with `write` for the rest",
                ),
            }
        ),
        security=[{"bearer": []}, {"api_key": []}],
        tags=[
            Tag(name="auth", description="Accounts, sessions and API keys"),
            Tag(name="samples", description="Recordings of voices"),
            Tag(name="clones", description="Voices made of recordings"),
            Tag(name="library", description="All voices that there are to speak with"),
            Tag(name="jobs", description="Texts to be spoken"),
            Tag(name="files", description="Sounds to download"),
            Tag(name="webhooks", description="To be told when work has ended"),
            Tag(name="admin", description="For admins: accounts, settings, numbers, and what was changed"),
            Tag(name="health", description="For machines that look after the process"),
        ],
        use_handler_docstrings=True,
        operation_id_creator=operation_id,
        openapi_router=Router(
            "/openapi.json", route_handlers=[], opt=UNLIMITED_OPT, include_in_schema=False, after_request=_only_the_document
        ),
        render_plugins=[Document(path=["/", "/openapi.json"])],
    )


@get("/docs", opt=UNLIMITED_OPT, include_in_schema=False, media_type="text/html", sync_to_thread=False)
def docs() -> Response[bytes]:
    """A page that reads `/openapi.json` and lets a person try each operation."""
    page = _PAGE.read_bytes()
    return Response(page, headers={"Content-Security-Policy": page_policy(page)})


def page_policy(page: bytes) -> str:
    """The Content-Security-Policy (level 3) of a page: its own script and style, known by their digests, and no others."""

    def digest(tag: bytes) -> str:
        (inside,) = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), page, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(inside).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {digest(b'script')}; style-src {digest(b'style')}; connect-src 'self'; img-src data:; "
        "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
