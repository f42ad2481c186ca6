"""`/auth`: accounts and sessions."""

from __future__ import annotations

from typing import Any

from litestar import Request, Router, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.auth import key_routes
from api.auth.account import AccountService
from api.auth.middleware import bearer
from api.auth.principal import SESSION_ONLY, Principal
from api.auth.schemas import (
    AcceptedData,
    ChangeProfileRequest,
    ForgotPasswordRequest,
    LoginRequest,
    LogoutData,
    RefreshRequest,
    RegisterRequest,
    ReplaceProfileRequest,
    ResetData,
    ResetPasswordRequest,
    SessionData,
    UserData,
    UserView,
)
from api.auth.service import AuthService, Session
from api.envelope import Envelope, ok
from api.errors import UnauthorizedError, documented
from api.openapi import PUBLIC_OPT, PUBLIC_SECURITY, SESSION_SECURITY


@post("/register", responses=documented(403, 409, 413, 415), summary="Make an account")
async def register(data: JSONBody[RegisterRequest], auth: NamedDependency[AuthService]) -> Envelope[UserData]:
    """Make an account, unless the operator has closed the registration: then 403 `REGISTRATION_CLOSED`, whatever the address."""
    user = await auth.register(data.email, data.password, data.first_name, data.last_name)
    return ok(UserData(user=UserView.of(user)), "Account created")


@post("/login", status_code=200, responses=documented(401, 403, 413, 415), summary="Sign in")
async def login(request: Request[Any, Any, Any], data: JSONBody[LoginRequest], auth: NamedDependency[AuthService]) -> Envelope[SessionData]:
    """Begin a session: an access token and a refresh token. Too many wrong passwords are answered with 429 for a while."""
    return ok(_view(await auth.login(data.email, data.password, _address(request))), "Signed in")


@post("/refresh", status_code=200, responses=documented(401, 403, 413, 415), summary="Renew a session")
async def refresh(
    request: Request[Any, Any, Any], auth: NamedDependency[AuthService], data: JSONBody[RefreshRequest | None] = None
) -> Envelope[SessionData]:
    """Exchange a refresh token, from the body or as the bearer token, for a new pair. It is good once; using it again ends the session."""
    token = (data.refresh_token if data else None) or bearer(request.headers)
    if token is None:
        raise UnauthorizedError("Send the refresh token as bearer token, or as refresh_token in the body")
    return ok(_view(await auth.refresh(token)), "Session renewed")


@post("/logout", status_code=200, responses=documented(401, 403), summary="Sign out")
async def logout(principal: NamedDependency[Principal], auth: NamedDependency[AuthService]) -> Envelope[LogoutData]:
    """End this session: its access and refresh tokens are no longer taken."""
    await auth.logout(principal)
    return ok(LogoutData(logged_out=True), "Signed out")


@post("/logout-all", status_code=200, responses=documented(401, 403), summary="Sign out everywhere")
async def logout_all(principal: NamedDependency[Principal], auth: NamedDependency[AuthService]) -> Envelope[LogoutData]:
    """End all sessions of the account, this one too. API keys go on until they are revoked."""
    await auth.logout_everywhere(principal)
    return ok(LogoutData(logged_out=True), "Signed out everywhere")


@post("/forgot-password", status_code=200, responses=documented(413, 415), summary="Ask for a mail that lets you set a new password")
async def forgot_password(
    request: Request[Any, Any, Any], data: JSONBody[ForgotPasswordRequest], accounts: NamedDependency[AccountService]
) -> Envelope[AcceptedData]:
    """Have a token mailed that sets a new password. The answer is the same whether or not there is such an account."""
    await accounts.forgot(data.email, _address(request))
    return ok(AcceptedData(accepted=True), "If there is an account with this address, a mail is on its way to it")


@post("/reset-password", status_code=200, responses=documented(403, 413, 415), summary="Set a new password")
async def reset_password(
    request: Request[Any, Any, Any], data: JSONBody[ResetPasswordRequest], accounts: NamedDependency[AccountService]
) -> Envelope[ResetData]:
    """Set a new password with the mailed token, which is good once. All sessions end."""
    await accounts.reset(data.token, data.password, _address(request))
    return ok(ResetData(password_reset=True), "The new password is set; sign in with it")


@get("/profile", responses=documented(401, 403), summary="Your profile")
async def profile(principal: NamedDependency[Principal], auth: NamedDependency[AuthService]) -> Envelope[UserData]:
    """Who is signed in."""
    return ok(UserData(user=UserView.of(await auth.profile(principal.user_id))), "Profile")


@put(
    "/profile",
    opt={SESSION_ONLY: True},
    security=SESSION_SECURITY,
    responses=documented(401, 403, 409, 413, 415),
    summary="Replace your profile",
)
async def replace_profile(
    request: Request[Any, Any, Any],
    data: JSONBody[ReplaceProfileRequest],
    principal: NamedDependency[Principal],
    accounts: NamedDependency[AccountService],
) -> Envelope[UserData]:
    """Replace the profile. Another e-mail address or a new password asks for `current_password`; a new password ends other sessions."""
    user = await accounts.change(principal, data.changes(), _address(request))
    return ok(UserData(user=UserView.of(user)), "Profile replaced")


@patch(
    "/profile",
    opt={SESSION_ONLY: True},
    security=SESSION_SECURITY,
    responses=documented(401, 403, 409, 413, 415),
    summary="Change your profile",
)
async def change_profile(
    request: Request[Any, Any, Any],
    data: JSONBody[ChangeProfileRequest],
    principal: NamedDependency[Principal],
    accounts: NamedDependency[AccountService],
) -> Envelope[UserData]:
    """Change what is sent. Another e-mail address or a new password asks for `current_password`; a new password ends other sessions."""
    user = await accounts.change(principal, data.changes(), _address(request))
    return ok(UserData(user=UserView.of(user)), "Profile changed")


def _address(request: Request[Any, Any, Any]) -> str | None:
    return request.client.host if request.client else None


def _view(session: Session) -> SessionData:
    return SessionData(
        access_token=session.access_token,
        refresh_token=session.refresh_token,
        token_type="Bearer",  # noqa: S106 - the name of a scheme
        expires_in=session.expires_in,
        user=UserView.of(session.user),
    )


_open = Router("/", route_handlers=[register, login, refresh, forgot_password, reset_password], opt=PUBLIC_OPT, security=PUBLIC_SECURITY)
_signed_in = Router("/", route_handlers=[logout, logout_all, key_routes.router], opt={SESSION_ONLY: True}, security=SESSION_SECURITY)
router = Router("/auth", route_handlers=[_open, _signed_in, profile, replace_profile, change_profile], tags=["auth"])
