"""What surrounds every request: its id, what is left of its limit, its one line in the access log, its place in the metrics."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from api.errors import InternalError
from api.health.metrics import Metrics
from api.limits.admission import limit_headers
from api.request_ids import HEADER, request_id_of

log = structlog.get_logger("api.access")

UNMATCHED = "unmatched"


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
                message["headers"] = [*message.get("headers", ()), named, *limit_headers(scope)]
            await send(message)

        with bound_contextvars(request_id=request_id), self.metrics.in_progress.track_inprogress():
            try:
                await self.app(scope, receive, send_named)
            except Exception:
                # What gets here has passed the app's own handler: an answer that broke off midway, or an error of the handler.
                log.exception("request broke off")
                if status:
                    raise
                await _answer(InternalError(request_id), send_named)
            finally:
                self._record(scope, status or HTTPStatus.INTERNAL_SERVER_ERROR, time.perf_counter() - began)

    def _record(self, scope: Any, status: int, seconds: float) -> None:
        # The template, never the path or the query: they hold ids and what people typed.
        route = scope.get("path_template") or UNMATCHED
        user = scope.get("user")
        self.metrics.observe(scope["method"], route, status, seconds)
        log.info(
            "request",
            method=scope["method"],
            route=route,
            status=int(status),
            ms=round(seconds * 1000, 1),
            user_id=user.user_id if user is not None else None,
        )


async def _answer(error: InternalError, send: Send) -> None:
    body = msgspec.json.encode(error.envelope())
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
