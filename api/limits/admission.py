"""Lets requests in as long as whoever makes them has some left.

Every request counts one, however long its answer: a stream of events, a download, each part of a download. What is counted to whom:
a request with a good credential to its user, every other one, a bad credential too, to the address that it comes from. Services of
our own are not limited unless an admin gives them a limit. Health, metrics, the document and its page are not limited.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from api.auth.principal import Principal
from api.auth.throttle import network
from api.errors import RateLimitedError
from api.limits.rates import Allowance, RateLimiter
from store.models.user import SERVICE

# The opt of routes that are not limited, or that call `admit` themselves.
UNLIMITED = "unlimited"
_STATE = "rate_limit"


class Admission(ASGIMiddleware):
    """Admits the requests of routes that ask for no credential; the others are admitted where the credential is looked at."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = UNLIMITED

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if allowance_of(scope) is None and scope.get("user") is None:
            await admit(scope)
        await next_app(scope, receive, send)


async def admit(scope: Scope) -> None:
    """Count a request to its user or, without one, to its address.

    Raises:
        RateLimitedError: nothing is left; says when there is again.
    """
    if scope["type"] != ScopeType.HTTP:
        return
    state = scope["litestar_app"].state
    allowance = await _take(state.rates, scope.get("user"), scope.get("client"), state.address_key)
    if allowance is None:
        return
    scope.setdefault("state", {})[_STATE] = allowance
    if not allowance.allowed:
        raise RateLimitedError("Too many requests; wait a little and try again", retry_after=allowance.retry_after_s())


async def _take(rates: RateLimiter, user: Principal | None, client: Any, key: bytes) -> Allowance | None:
    if user is not None:
        if user.role == SERVICE and user.requests_per_minute is None:
            return None
        return await rates.of_user(user.user_id, user.requests_per_minute)
    if not client:
        return None  # a socket without addresses, such as a file: somebody in front has to limit
    return await rates.of_address(hashed(network(client[0]), key))


def allowance_of(scope: Any) -> Allowance | None:
    """What was left after the request with this ASGI scope, if it was counted."""
    found: Allowance | None = scope.get("state", {}).get(_STATE)
    return found


def limit_headers(scope: Any) -> list[tuple[bytes, bytes]]:
    """The headers that say so, for every answer to the request, refusals too."""
    allowance = allowance_of(scope)
    return [(name.lower().encode(), value.encode()) for name, value in allowance.headers.items()] if allowance is not None else []


def hashed(address: str, key: bytes) -> str:
    """What stands for an address in the counters: HMAC-SHA256, of which half is enough, so that none is readable there."""
    return hmac.new(key, f"address:{address}".encode(), hashlib.sha256).hexdigest()[:32]
