"""What a caller must be, beyond being known."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from api.auth.principal import READ, SESSION_ONLY, WRITE, Principal
from api.errors import ForbiddenError

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def require_role(*roles: str) -> Guard:
    """A Litestar guard: only callers with one of these roles, such as ``require_role(ADMIN)``.

    Raises, when it guards:
        ForbiddenError: ``FORBIDDEN``.
    """

    def guard(connection: ASGIConnection[Any, Principal, Any, Any], _handler: BaseRouteHandler) -> None:
        if connection.user.role not in roles:
            raise ForbiddenError("Your account may not do this")

    return guard


def check_credential(principal: Principal, method: str, opt: dict[str, Any]) -> None:
    """Whether what the caller came with is good for this route at all. `opt`: of the route.

    Raises:
        ForbiddenError: the key lacks the scope, or the route wants somebody who has signed in.
    """
    scope = READ if method in _READING else WRITE
    if scope not in principal.scopes:
        raise ForbiddenError(f"This API key has not the scope {scope}")
    if opt.get(SESSION_ONLY) and principal.session_id is None:
        raise ForbiddenError("Sign in to do this; API keys and service tokens may not")
