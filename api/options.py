"""What an address takes, for `OPTIONS` (RFC 9110, section 9.3.7)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from litestar import HttpMethod, Request, Response
from litestar.routes import HTTPRoute

from api.body import read_request


async def before_request(request: Request[Any, Any, Any]) -> Response[None] | None:
    """Litestar's `before_request`: refuses what no route can make sense of, and answers `OPTIONS`.

    Litestar's own answer names the method of the handler that was registered first alone.
    """
    await read_request(request)
    if request.method != HttpMethod.OPTIONS:
        return None
    template = request.scope["path_template"]
    routes = (route for route in request.app.routes if isinstance(route, HTTPRoute) and route.path_format == template)
    methods = {method for route in routes for method in route.methods}
    return Response(None, status_code=HTTPStatus.NO_CONTENT, headers={"Allow": ", ".join(sorted(methods))})
