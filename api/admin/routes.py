"""`/admin`, for admins alone. What changes anything asks for somebody who has signed in; API keys of admins may read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from litestar import Request, Router, get, patch, post, put
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIMediaType, Operation, Reference, RequestBody
from litestar.params import FromPath, JSONBody, Parameter

from api.admin.live import SettingsChange
from api.admin.schemas import AccountData, AccountView, AuditView, ConfigData, Statistics, UsageView, UserChange
from api.admin.service import AdminService
from api.auth.guards import require_role
from api.auth.principal import SESSION_ONLY, Caller
from api.auth.schemas import RegisterRequest
from api.envelope import Envelope, Meta, ok
from api.errors import documented
from api.openapi import SESSION_SECURITY
from api.pagination import AskedWindow, pagination, paging
from api.request_ids import request_id_of
from store.models.user import ADMIN

Admin = NamedDependency[AdminService]
READ = documented(401, 403)
CHANGED = documented(401, 403, 404, 409, 413, 415)
USERS_SORTABLE = ("created_at", "updated_at", "last_login_at", "email", "role")


@get("/stats", responses=READ, summary="Numbers about the platform")
async def get_stats(admin: Admin) -> Envelope[Statistics]:
    """They are counted anew for every request."""
    return ok(await admin.statistics())


@get("/users", dependencies={"window": paging(USERS_SORTABLE)}, responses=READ, summary="List accounts")
async def list_users(
    admin: Admin,
    window: AskedWindow,
    role: Annotated[Literal["user", "admin", "service"] | None, Parameter(description="only these")] = None,
    is_active: Annotated[bool | None, Parameter(description="only those that may, or may not, sign in")] = None,
    search: Annotated[str | None, Parameter(description="only those with this in their address or names", max_length=200)] = None,
) -> Envelope[list[AccountView]]:
    rows, total = await admin.users(window, role=role, is_active=is_active, search=search)
    return ok([AccountView.of(row) for row in rows], meta=Meta(pagination=pagination(window, total)))


@post(
    "/users",
    opt={SESSION_ONLY: True},
    security=SESSION_SECURITY,
    responses=documented(401, 403, 409, 413, 415),
    summary="Make an account for somebody",
)
async def create_user(
    request: Request[Any, Any, Any], principal: Caller, admin: Admin, data: JSONBody[RegisterRequest]
) -> Envelope[AccountData]:
    """Also while the registration is closed. Whose account it is can set another password, with `/auth/forgot-password` too."""
    user, usage = await admin.create_user(principal.user_id, data, request_id_of(request.scope))
    return ok(AccountData(user=AccountView.of(user), usage=UsageView.of(usage)), "Account created")


@get("/users/{user_id:str}", responses=documented(401, 403, 404), summary="One account, with what it has used")
async def get_user(admin: Admin, user_id: FromPath[str]) -> Envelope[AccountData]:
    user, usage = await admin.user(user_id)
    return ok(AccountData(user=AccountView.of(user), usage=UsageView.of(usage)))


@patch(
    "/users/{user_id:str}",
    opt={SESSION_ONLY: True},
    security=SESSION_SECURITY,
    responses=CHANGED,
    summary="Disable or enable an account, change its role or its limits",
)
async def change_user(
    request: Request[Any, Any, Any], principal: Caller, admin: Admin, user_id: FromPath[str], data: JSONBody[UserChange]
) -> Envelope[AccountData]:
    """What is disabled loses its sessions and API keys at once. Nobody can do so to themselves, nor to the last admin."""
    user, usage = await admin.change_user(principal.user_id, user_id, data, request_id_of(request.scope))
    return ok(AccountData(user=AccountView.of(user), usage=UsageView.of(usage)), "User changed")


@get("/config", responses=READ, summary="The settings that can be changed while the platform runs", sync_to_thread=False)
def get_config(admin: Admin) -> Envelope[ConfigData]:
    return ok(admin.config())


@dataclass
class _Settings(Operation):
    """Each setting is checked as its own field says, so that the route takes any object."""

    def __post_init__(self) -> None:
        schema = Reference(ref=f"#/components/schemas/{SettingsChange.__name__}")
        self.request_body = RequestBody(required=True, content={"application/json": OpenAPIMediaType(schema=schema)})


@put(
    "/config",
    operation_class=_Settings,
    opt={SESSION_ONLY: True},
    security=SESSION_SECURITY,
    responses=documented(401, 403, 409, 413, 415),
    summary="Change settings while the platform runs",
)
async def change_config(
    request: Request[Any, Any, Any], principal: Caller, admin: Admin, data: JSONBody[dict[str, Any]]
) -> Envelope[ConfigData]:
    """Settings by name; what is left out stays, `null` goes back to what the environment says. In effect on every process within
    two seconds, and kept over restarts.
    """
    return ok(await admin.change_config(principal.user_id, data, request_id_of(request.scope)), "Settings changed")


@get("/audit", dependencies={"window": paging(("created_at",))}, responses=READ, summary="What admins have changed")
async def list_audit(
    admin: Admin,
    window: AskedWindow,
    actor_id: Annotated[str | None, Parameter(description="only what this admin changed", max_length=64)] = None,
    action: Annotated[Literal["user.create", "user.change", "config.change"] | None, Parameter(description="only these")] = None,
    subject: Annotated[str | None, Parameter(description="only changes of this: a user's id, or `config`", max_length=64)] = None,
) -> Envelope[list[AuditView]]:
    rows, total = await admin.audit(window, actor_id=actor_id, action=action, subject=subject)
    return ok([AuditView.of(row) for row in rows], meta=Meta(pagination=pagination(window, total)))


router = Router(
    "/admin",
    route_handlers=[get_stats, list_users, create_user, get_user, change_user, get_config, change_config, list_audit],
    guards=[require_role(ADMIN)],
    tags=["admin"],
)
