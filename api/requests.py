"""What surrounds every request: its id, what is left of its limit, its one line in the access log, its place in the metrics."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

import tracing
from api.errors import InternalError
from api.health.metrics import Metrics, known_method
from api.limits.admission import limit_headers
from api.protection import protective
from api.request_ids import HEADER, request_id_of

log = structlog.get_logger("api.access")

UNMATCHED = "unmatched"
UNTRACED = frozenset({"/metrics", "/health/live", "/health/ready"})


class RequestEnvelope:
    """ASGI middleware around the whole app, so that answers which no route gave (404, 405, CORS) are covered too."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        status = 0
        began = time.perf_counter()

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                named = (HEADER.lower().encode(), request_id.encode())
                given = list(message.get("headers", ()))
                message["headers"] = [*given, named, *limit_headers(scope), *protective(given)]
            await send(message)

        with _span(scope) as span, bound_contextvars(request_id=request_id), self.metrics.in_progress.track_inprogress():
            try:
                await self.app(scope, receive, send_named)
            except Exception:
                # What gets here has passed the app's own handler: an answer that broke off midway, or an error of the handler.
                log.exception("request broke off")
                if status:
                    raise
                error = InternalError(request_id)
                self.metrics.refused(error)
                await _answer(error, send_named)
            finally:
                self._record(scope, span, status or HTTPStatus.INTERNAL_SERVER_ERROR, time.perf_counter() - began)

    def _record(self, scope: Any, span: tracing.Span, status: int, seconds: float) -> None:
        # The template, never the path or the query: they hold ids and what people typed.
        route = scope.get("path_template") or UNMATCHED
        user = scope.get("user")
        self.metrics.observe(scope["method"], route, status, seconds)
        method = known_method(scope["method"])
        span.rename(f"{method} {route}")
        span.set({"http.request.method": method, "http.route": route, "http.response.status_code": int(status)})
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            span.fail(str(int(status)))
        log.info(
            "request",
            method=scope["method"],
            route=route,
            status=int(status),
            ms=round(seconds * 1000, 1),
            user_id=user.user_id if user is not None else None,
        )


def _span(scope: Any) -> tracing.Span:
    if scope["path"] in UNTRACED:
        return tracing.NONE
    return tracing.span("request", {"voxify.request_id": request_id_of(scope)}, parent=tracing.sent(scope["headers"]), kind="SERVER")


async def _answer(error: InternalError, send: Send) -> None:
    body = msgspec.json.encode(error.envelope())
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
