"""Who asks: read from the credential of every request, unless its route opts out with `exclude_from_auth`."""

from __future__ import annotations

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from api.auth.api_keys import PREFIX, ApiKeyService
from api.auth.guards import check_credential
from api.auth.principal import Principal
from api.auth.service import AuthService
from api.errors import ApiError, UnauthorizedError
from api.limits.admission import admit

API_KEY_HEADER = "x-api-key"


def bearer(headers: Headers) -> str | None:
    """The token of the `Authorization` header (RFC 6750), or None without that header.

    Raises:
        UnauthorizedError: the header is there and has another form.
    """
    given = headers.get("authorization")
    if given is None:
        return None
    scheme, _, token = given.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or " " in token:
        raise UnauthorizedError("The Authorization header must read: Bearer <token>")
    return token


class Authentication(ASGIMiddleware):
    """Puts a :class:`~api.auth.principal.Principal` on the request. No method is let through, HEAD and OPTIONS neither.

    An access token, a service token or an API key comes as ``Authorization: Bearer``, an API key also as ``X-API-Key``; where both
    headers are there, the first counts. What a credential may be used for is looked at here too, for all routes, and whether whoever
    asks may still make requests.
    """

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)
    exclude_opt_key = "exclude_from_auth"

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        try:
            principal = await _authenticate(scope)
        except ApiError:
            # Whoever tries credentials out is limited like everybody who has none.
            await admit(scope)
            raise
        scope["user"] = principal
        await admit(scope)
        check_credential(principal, scope["method"] if scope["type"] == ScopeType.HTTP else "GET", scope["route_handler"].opt)
        with bound_contextvars(user_id=principal.user_id):
            await next_app(scope, receive, send)


async def _authenticate(scope: Scope) -> Principal:
    headers, state = Headers.from_scope(scope), scope["litestar_app"].state
    auth: AuthService = state.auth
    keys: ApiKeyService = state.api_keys
    if (token := bearer(headers)) is not None:
        return await (keys.authenticate(token) if token.startswith(PREFIX) else auth.authenticate(token))
    if (key := headers.get(API_KEY_HEADER)) is not None:
        return await keys.authenticate(key.strip())
    raise UnauthorizedError
