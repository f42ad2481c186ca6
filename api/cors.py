"""Lets web pages from other origins call the API (Fetch standard, section 3.3): those that the operator names."""

from __future__ import annotations

from http import HTTPStatus

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

ANY = "*"
METHODS = "DELETE, GET, HEAD, PATCH, POST, PUT"
ASKED = "Authorization, Content-Type, Idempotency-Key, If-None-Match, If-Range, Last-Event-ID, Range, X-API-Key, X-Request-ID"
SHOWN = (
    "Accept-Ranges, Content-Disposition, Content-Range, Deprecation, ETag, Link, Retry-After, "
    "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-ID"
)
MAX_AGE_S = 3600


class Cors:
    """ASGI middleware. Credentials are headers that a page sets itself, never cookies, so that none need be allowed.

    The page of an origin that is not named gets the same answers as everybody; its browser keeps them from it.
    """

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        self.app = app
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        headers = Headers.from_scope(scope)
        origin = headers.get("origin")
        named = origin is not None and (origin in self.origins or ANY in self.origins)
        if origin is not None and named and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await send({"type": "http.response.start", "status": HTTPStatus.NO_CONTENT, "headers": self._preflight(origin)})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers(origin if named else None)]
            await send(message)

        await self.app(scope, receive, send_named)

    def _headers(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        # A cache must not give the answer for one origin to another.
        varies = [(b"vary", b"Origin")]
        if origin is None:
            return varies
        return [*varies, (b"access-control-allow-origin", origin.encode("latin-1")), (b"access-control-expose-headers", SHOWN.encode())]

    def _preflight(self, origin: str) -> list[tuple[bytes, bytes]]:
        return [
            (b"vary", b"Origin"),
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-methods", METHODS.encode()),
            (b"access-control-allow-headers", ASKED.encode()),
            (b"access-control-max-age", str(MAX_AGE_S).encode()),
        ]
