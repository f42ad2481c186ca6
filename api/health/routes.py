"""`/health/live`, `/health/ready` and `/metrics`, for machines that look after the process. No authentication."""

from __future__ import annotations

import msgspec
from litestar import Response, Router, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.envelope import Envelope, ok
from api.health.checks import Part, examine
from api.openapi import PUBLIC_SECURITY, UNLIMITED_OPT
from store.clock import utcnow


class Live(msgspec.Struct, frozen=True, kw_only=True):
    status: str


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is ``ready`` or ``not_ready``; `parts`: database, objects, vectors, queue and inference; `redis` where it is
    used; `process` when it stops.
    """

    status: str
    parts: dict[str, Part]


@get("/health/live", summary="Whether the process answers")
async def live() -> Envelope[Live]:
    """The process answers."""
    return ok(Live(status="alive"), "Alive")


@get(
    "/health/ready",
    summary="Whether all parts are well",
    responses={503: ResponseSpec(Envelope[Ready], generate_examples=False, description="A part is not well; the same body")},
)
async def ready(state: State) -> Response[Envelope[Ready]]:
    """Each part that the tier needs, by name. 200 when all are well, else 503 with the same body."""
    parts = await examine(state.checks)
    if state.stopping:
        parts["process"] = Part(status="stopping", ms=0.0)
    well = all(part.status in {"ok", "unchecked"} for part in parts.values())
    ailing = [name for name, part in parts.items() if part.status not in {"ok", "unchecked"}]
    body = Envelope(
        success=well,
        data=Ready(status="ready" if well else "not_ready", parts=parts),
        message="Ready" if well else f"Not ready: {', '.join(ailing)}",
        timestamp=utcnow(),
    )
    return Response(body, status_code=200 if well else 503)


@get("/metrics", media_type="text/plain", include_in_schema=False)
async def metrics(state: State) -> Response[bytes]:
    """Prometheus text format."""
    await state.metrics.queue.refresh(state.stores.database)
    return Response(generate_latest(state.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


router = Router("/", route_handlers=[live, ready, metrics], tags=["health"], opt=UNLIMITED_OPT, security=PUBLIC_SECURITY)
