"""The one place that puts the API tier together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import structlog
from litestar import Litestar, Router
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
import tracing
from api import error_handling, openapi, rooms
from api.admin.live import LiveSettings
from api.admin.service import AdminService
from api.auth.middleware import Authentication
from api.auth.passwords import Passwords
from api.auth.principal import principal_of
from api.auth.room import AuthRoom
from api.auth.tokens import Tokens, signing_secret
from api.bodies import Bodies
from api.channels import channels_of
from api.clones.routes import clones_router
from api.cors import Cors
from api.dependencies import made_in_turn
from api.health.checks import store_checks
from api.health.metrics import Metrics
from api.limits.admission import Admission
from api.limits.room import LimitsRoom
from api.mail.transports import MailTransport
from api.notices import Notices
from api.options import before_request
from api.requests import RequestEnvelope
from api.samples.routes import samples_router
from api.stores import open_decoders, open_stores
from audio.decode_pool import Decoders
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
    decoders: Decoders | None = None,
    routes: tuple[ControllerRouterHandler, ...] = (),
) -> Litestar:
    """The app, ready for an ASGI server.

    Args:
        stores: used and left open; without it they are opened at the start and closed at the end.
        passwords: hashes passwords; argon2id with the library's recommended costs unless given.
        inference_transport: how to reach the inference service; over the network unless given.
        mail_transport: how mail leaves; as the settings say unless given.
        decoders: decode what people send; used and left open, as the stores are.
        routes: further routes under ``/api/v1``.

    Raises:
        SecretMissingError: there is no secret to sign tokens with.
    """
    secret = signing_secret(settings)
    tokens = Tokens(
        secret,
        access_ttl_s=settings.access_token_ttl_s,
        refresh_ttl_s=settings.refresh_token_ttl_s,
        previous=settings.previous_jwt_secrets,
    )
    metrics = Metrics()
    channels = channels_of(settings)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        tracing.start(settings.otlp_endpoint, "voxify-api", headers=settings.otlp_headers.get_secret_value(), ratio=settings.trace_ratio)
        # Not among the app's plugins: those are closed first, and a worker that stops has still something to say.
        async with _stores(settings, stores) as opened, _decoders(settings, decoders) as decoding, channels:
            if settings.env == "dev" or opened.database.is_sqlite:
                await migrations.upgrade(opened.database.unhurried)
            app.state.stores = opened
            limits = LimitsRoom.build(settings, opened.database)
            app.state.rates, app.state.quotas, app.state.address_key = limits.rates, limits.quotas, secret.encode()
            built = rooms.Rooms.build(
                settings, opened, channels, limits.quotas, inference_transport, decoding, metrics.work, mail_transport
            )
            app.state.rooms = built
            hasher = passwords or Passwords()
            auth = AuthRoom.build(settings, opened.database, secret=secret, tokens=tokens, passwords=hasher, ring=built.bell.ring)
            app.state.auth, app.state.accounts, app.state.api_keys = auth.auth, auth.accounts, auth.api_keys
            app.state.background = auth.background
            live = LiveSettings(opened.database, settings, _each(auth.apply, limits.apply, built.apply))
            app.state.live, app.state.admin = live, AdminService(opened, live, limits.quotas, hasher, built.inference.ready)
            app.state.checks = {**store_checks(opened), "queue": built.check_queue, "inference": built.check_inference}
            if limits.in_redis:
                app.state.checks["redis"] = limits.rates.counters.check
            notices = Notices(channels, opened.database, live)
            await live.start()
            if limits.in_redis:  # there may be other processes
                await notices.start()
            await built.start()
            log.info("api started", version=openapi.VERSION)
            try:
                yield
            finally:
                try:
                    await notices.close()
                    await live.close()
                    await auth.background.close(settings.shutdown_grace_s)  # it may still ring
                    await built.close()
                finally:
                    await limits.close()
        log.info("api stopped")
        await asyncio.to_thread(tracing.stop)

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
        state=State({"settings": settings, "stopping": False, "metrics": metrics}),
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
    app.asgi_handler = Bodies(RequestEnvelope(app.asgi_handler, metrics), settings.body_timeout_s)
    if settings.trusted_proxies:
        # Outermost, so that everybody inside sees the address of the client.
        app.asgi_handler = ProxyHeadersMiddleware(app.asgi_handler, trusted_hosts=settings.trusted_proxies)  # type: ignore[arg-type,assignment]
    return made_in_turn(app)


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


@asynccontextmanager
async def _decoders(settings: Settings, given: Decoders | None) -> AsyncIterator[Decoders]:
    if given is not None:
        yield given
        return
    own = open_decoders(settings)
    try:
        yield own
    finally:
        own.close()


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
