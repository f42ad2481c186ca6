"""What surrounds the endpoints: request ids, access lines, bodies that are not JSON, and the routes BentoML has no place for."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import tracing
from inference import metrics, wire
from inference.admission import Admission
from inference.dispatch import is_live

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 64 * 1024 * 1024
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
SOUND = "/synthesize"
QUIET = {"/livez", "/readyz", "/healthz", "/metrics"}

log = structlog.get_logger("access")


class RequestMiddleware:
    """Gives every request its id (its ``X-Request-ID`` where that is sound), logs it, and turns away bodies that are not JSON."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app = app
        self.admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        identity = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status, answered = message["status"], MutableHeaders(scope=message)
                answered["X-Request-ID"] = identity
                if status == 503 and scope["path"] == SOUND:
                    # BentoML's own, when it reckons that the batch would take too long, does not say when to come back.
                    answered.setdefault("Retry-After", str(self.admission.retry_after_s))
            await send(message)

        token, live = wire.request_id.set(identity), wire.live.set(is_live(headers.get("priority", "")))
        started = time.perf_counter()
        quiet = scope["path"] in QUIET
        sent = tracing.sent(scope["headers"])
        try:
            with (
                tracing.NONE if quiet else tracing.span("request", {"voxify.request_id": identity}, parent=sent, kind="SERVER") as span,
                structlog.contextvars.bound_contextvars(request_id=identity),
            ):
                refused = self._refuse(scope, headers)
                await (refused or self._admitted)(scope, receive, send_with_id)
                span.rename(f"{scope['method']} {route_of(scope['path'])}")
                span.set({"http.response.status_code": status})
                if not quiet:
                    seconds = round(time.perf_counter() - started, 4)
                    log.info("request", method=scope["method"], path=scope["path"], status=status, seconds=seconds)
        finally:
            wire.request_id.reset(token)
            wire.live.reset(live)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request for sound in, or refuse it with the time to come back."""
        if scope["path"] != SOUND:
            await self.app(scope, receive, send)
            return
        live = wire.live.get()
        if not self.admission.enter(live=live):
            metrics.refused.inc()
            # Without a look at the body: who sends slowly need not finish to be told. The server reads on and throws away what still
            # comes, so that the connection lives.
            headers = {"Retry-After": str(self.admission.retry_after_s)}
            await JSONResponse({"error": "Too many requests wait for sound."}, status_code=429, headers=headers)(scope, receive, send)
            return
        try:
            with metrics.in_flight.track_inprogress():
                await self.app(scope, receive, send)
        finally:
            self.admission.leave(live=live)

    @staticmethod
    def _refuse(scope: Scope, headers: Headers) -> Response | None:
        if scope["method"] != "POST":
            return None
        if headers.get("content-type", "application/json").split(";")[0].strip().lower() != "application/json":
            return JSONResponse({"error": "The body must be application/json."}, status_code=415)
        if "transfer-encoding" in headers:
            # Its length is known when it is in memory, which is too late.
            return JSONResponse({"error": "The body must have a Content-Length."}, status_code=411)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            return JSONResponse({"error": f"The body must not be longer than {MAX_BODY} bytes."}, status_code=413)
        return None


def route_of(path: str) -> str:
    """The path without the id of a training in it, to name a span with."""
    return "/".join(path.split("/")[:2])


def pages(models: Callable[[], Any], device: Callable[[], Any], further: Sequence[Route] = ()) -> Starlette:
    """``GET /models``, ``GET /device`` and further routes; the functions return the answer, or None while the service starts."""

    def answering(ask: Callable[[], Any]) -> Callable[[Request], Response]:
        def answer(_: Request) -> Response:
            found = ask()
            if found is None:
                return JSONResponse({"error": "The service is starting."}, status_code=503, headers={"Retry-After": "5"})
            return Response(found.model_dump_json(), media_type="application/json")

        return answer

    found = {"/models": models, "/device": device}
    return Starlette(routes=[*(Route(path, answering(ask), methods=["GET"]) for path, ask in found.items()), *further])
