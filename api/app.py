"""The one place that puts the API tier together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import structlog
from litestar import Litestar, Router
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ControllerRouterHandler
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import api.admin.routes
import api.auth.routes
import api.files.routes
import api.health.routes
import api.jobs.routes
import api.library.routes
import api.limits.routes
import api.webhooks.routes
from api import error_handling, openapi, rooms
from api.admin.live import LiveSettings
from api.admin.service import AdminService
from api.auth.middleware import Authentication
from api.auth.passwords import Passwords
from api.auth.principal import principal_of
from api.auth.room import AuthRoom
from api.auth.tokens import Tokens, signing_secret
from api.clones.routes import clones_router
from api.cors import Cors
from api.health.checks import store_checks
from api.health.metrics import Metrics
from api.limits.admission import Admission
from api.limits.room import LimitsRoom
from api.mail.transports import MailTransport
from api.options import before_request
from api.requests import RequestEnvelope
from api.samples.routes import samples_router
from api.stores import open_stores
from settings import Settings
from store import migrations
from store.stores import Stores

log = structlog.get_logger(__name__)

# JSON bodies; a route that takes files says its own `request_max_body_size`.
MAX_BODY_BYTES = 1024 * 1024


def create_app(
    settings: Settings,
    *,
    stores: Stores | None = None,
    passwords: Passwords | None = None,
    inference_transport: httpx.AsyncBaseTransport | None = None,
    mail_transport: MailTransport | None = None,
    routes: tuple[ControllerRouterHandler, ...] = (),
) -> Litestar:
    """The app, ready for an ASGI server.

    Args:
        stores: used and left open; without it they are opened at the start and closed at the end.
        passwords: hashes passwords; argon2id with the library's recommended costs unless given.
        inference_transport: how to reach the inference service; over the network unless given.
        mail_transport: how mail leaves; as the settings say unless given.
        routes: further routes under ``/api/v1``.

    Raises:
        SecretMissingError: there is no secret to sign tokens with.
    """
    secret = signing_secret(settings)
    tokens = Tokens(secret, access_ttl_s=settings.access_token_ttl_s, refresh_ttl_s=settings.refresh_token_ttl_s)
    metrics = Metrics()
    # Several processes will want another backend; within one, memory is enough.
    channels = ChannelsPlugin(MemoryChannelsBackend(), arbitrary_channels_allowed=True)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        # Not among the app's plugins: those are closed first, and a worker that stops has still something to say.
        async with _stores(settings, stores) as opened, channels:
            if settings.env == "dev" or opened.database.is_sqlite:
                await migrations.upgrade(opened.database.engine)
            app.state.stores = opened
            auth = AuthRoom.build(
                settings, opened.database, secret=secret, tokens=tokens, passwords=passwords or Passwords(), mail=mail_transport
            )
            app.state.auth, app.state.accounts, app.state.api_keys = auth.auth, auth.accounts, auth.api_keys
            app.state.background = auth.background
            limits = LimitsRoom.build(settings, opened.database)
            app.state.rates, app.state.quotas, app.state.address_key = limits.rates, limits.quotas, secret.encode()
            built = rooms.Rooms.build(settings, opened, channels, limits.quotas, inference_transport)
            app.state.rooms = built
            live = LiveSettings(opened.database, settings, _each(limits.apply, built.apply))
            app.state.live, app.state.admin = live, AdminService(opened, live, limits.quotas, built.inference.ready)
            app.state.checks = {**store_checks(opened), "queue": built.check_queue, "inference": built.check_inference}
            if limits.in_redis:
                app.state.checks["redis"] = limits.rates.counters.check
            await live.start()
            await built.start()
            log.info("api started", version=openapi.VERSION)
            try:
                yield
            finally:
                try:
                    await live.close()
                    await built.close()
                finally:
                    await auth.background.close(settings.shutdown_grace_s)
                    await limits.close()
        log.info("api stopped")

    app = Litestar(
        route_handlers=[
            Router(
                "/api/v1",
                route_handlers=[
                    api.auth.routes.router,
                    api.limits.routes.get_usage,
                    api.admin.routes.router,
                    samples_router(settings.max_upload_bytes),
                    clones_router(settings.max_upload_bytes),
                    api.jobs.routes.router,
                    api.library.routes.router,
                    api.files.routes.router,
                    api.webhooks.routes.router,
                    *routes,
                ],
            ),
            api.health.routes.router,
            openapi.docs,
        ],
        lifespan=[lifespan],
        state=State({"settings": settings, "metrics": metrics}),
        dependencies={
            "settings": Provide(_settings, sync_to_thread=False),
            "stores": Provide(_stores_of, sync_to_thread=False),
            **{name: Provide(_from_state(name), sync_to_thread=False) for name in ("auth", "accounts", "api_keys", "quotas", "admin")},
            "principal": Provide(principal_of, sync_to_thread=False),
            **rooms.dependencies(),
        },
        middleware=[Authentication(), Admission()],
        before_request=before_request,
        exception_handlers={Exception: error_handling.respond},
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=openapi.config(),
        logging_config=None,
        debug=False,
    )
    if settings.allowed_origins:
        app.asgi_handler = Cors(app.asgi_handler, settings.allowed_origins)
    app.asgi_handler = RequestEnvelope(app.asgi_handler, metrics)
    if settings.trusted_proxies:
        # Outermost, so that everybody inside sees the address of the client.
        app.asgi_handler = ProxyHeadersMiddleware(app.asgi_handler, trusted_hosts=settings.trusted_proxies)  # type: ignore[arg-type,assignment]
    return app


def _each(*apply: Callable[[Settings], None]) -> Callable[[Settings], None]:
    def all_of_them(settings: Settings) -> None:
        for one in apply:
            one(settings)

    return all_of_them


def _settings(state: State) -> Settings:
    found: Settings = state.settings
    return found


def _stores_of(state: State) -> Stores:
    found: Stores = state.stores
    return found


def _from_state(name: str) -> Callable[[State], Any]:
    def provide(state: State) -> Any:
        return getattr(state, name)

    return provide


def _stores(settings: Settings, given: Stores | None) -> AbstractAsyncContextManager[Stores]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Stores]:
        if given is not None:
            yield given
            return
        own = open_stores(settings)
        try:
            yield own
        finally:
            await own.close()

    return opened()
