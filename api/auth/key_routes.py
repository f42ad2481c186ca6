"""`/auth/api-keys`: only for somebody who has signed in; a key makes no keys."""

from __future__ import annotations

from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.auth.api_keys import ApiKeyService
from api.auth.principal import Principal
from api.auth.schemas import ApiKeyRequest, ApiKeyView, NewApiKeyView, RevokedData
from api.envelope import Envelope, Meta, ok
from api.errors import documented
from api.pagination import AskedWindow, pagination, paging


@post("/", responses=documented(401, 403, 413, 415), summary="Make an API key")
async def create_api_key(
    data: JSONBody[ApiKeyRequest], principal: NamedDependency[Principal], api_keys: NamedDependency[ApiKeyService]
) -> Envelope[NewApiKeyView]:
    """Make a key. It is shown in this answer and never again."""
    row, key = await api_keys.create(principal.user_id, data.name, data.scopes, data.expires_at)
    return ok(NewApiKeyView.made(row, key), "API key made; keep it, it is not shown again")


@get(
    "/",
    responses=documented(401, 403),
    dependencies={"window": paging(["created_at", "last_used_at", "name"])},
    summary="List your API keys",
)
async def list_api_keys(
    principal: NamedDependency[Principal], api_keys: NamedDependency[ApiKeyService], window: AskedWindow
) -> Envelope[list[ApiKeyView]]:
    """Your keys, without their secrets."""
    rows, total = await api_keys.list(principal.user_id, window)
    return ok([ApiKeyView.of(row) for row in rows], "API keys", Meta(pagination=pagination(window, total)))


@delete("/{key_id:str}", status_code=200, responses=documented(401, 403, 404), summary="Revoke an API key")
async def revoke_api_key(
    key_id: FromPath[str], principal: NamedDependency[Principal], api_keys: NamedDependency[ApiKeyService]
) -> Envelope[RevokedData]:
    """End a key at once."""
    await api_keys.revoke(principal.user_id, key_id)
    return ok(RevokedData(id=key_id, revoked=True), "API key revoked")


router = Router("/api-keys", route_handlers=[create_api_key, list_api_keys, revoke_api_key])
