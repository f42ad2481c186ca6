"""The OpenAPI 3.1 document at `/openapi.json` and the page that shows it at `/docs`, both without anything from elsewhere."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from litestar import Response, Router, get
from litestar.handlers.http_handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityRequirement, SecurityScheme, Tag
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition

from api.errors import RouteNotFoundError

# A router of public routes takes both; OPTIONS, which Litestar adds by itself, is then public too.
PUBLIC_OPT: dict[str, Any] = {"exclude_from_auth": True}
PUBLIC_SECURITY: list[SecurityRequirement] = [{}]
# For routes with the opt `session_only`.
SESSION_SECURITY: list[SecurityRequirement] = [{"bearer": []}]

VERSION = version("voxify")

_PAGE = Path(__file__).with_name("docs.html")


def operation_id(handler: HTTPRouteHandler, _method: Method, _path: list[str | PathParameterDefinition]) -> str:
    """``{room}_{function}``, such as ``auth_login``: stable as long as neither is renamed, whatever the path."""
    room = handler.fn.__module__.removeprefix("api.").split(".", maxsplit=1)[0]
    return f"{room}_{handler.fn.__name__}"


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
            Tag(name="health", description="For machines that look after the process"),
        ],
        use_handler_docstrings=True,
        operation_id_creator=operation_id,
        openapi_router=Router(
            "/openapi.json", route_handlers=[], opt=PUBLIC_OPT, include_in_schema=False, after_request=_only_the_document
        ),
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
    )


@get("/docs", opt=PUBLIC_OPT, include_in_schema=False, media_type="text/html", sync_to_thread=False)
def docs() -> Response[bytes]:
    """A page that reads `/openapi.json` and lets a person try each operation."""
    policy = "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; media-src blob:"
    return Response(_PAGE.read_bytes(), headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"})
