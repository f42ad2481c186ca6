"""What the tests of the API share."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from litestar import Litestar
from litestar.types import ControllerRouterHandler
from pydantic import SecretStr

from api.app import create_app
from api.auth.passwords import Passwords
from audio.decode_pool import Decoders
from settings import Settings

PASSWORD = "Correct-Horse-7!"
AUTH = "/api/v1/auth"
# One for all apps: its processes take longer to start than most tests.
DECODERS = Decoders()


def quick_passwords() -> Passwords:
    """argon2id at its cheapest: the tests hash hundreds of times."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def make_app(settings: Settings, *routes: ControllerRouterHandler, **options: Any) -> Litestar:
    return create_app(settings, passwords=quick_passwords(), routes=routes, **{"decoders": DECODERS} | options)


def processes(settings: Settings, folder: Path) -> list[Settings]:
    """The settings of two processes with one database and one secret, each with a folder of its own for the vectors."""
    url = settings.database_url or f"sqlite+aiosqlite:///{folder / 'shared.db'}"
    shared = {"database_url": url, "jwt_secret": SecretStr("x" * 32)}
    return [settings.model_copy(update={**shared, "data_dir": folder / name}) for name in ("one", "two")]


@asynccontextmanager
async def running(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app between its start and its end, all in the caller's loop."""
    started, over = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        # A task of its own: a fixture is begun and ended in different ones, and the lifespan must not be.
        async with app.lifespan():
            started.set()
            await over.wait()

    life = asyncio.create_task(live())
    first = asyncio.create_task(started.wait())
    await asyncio.wait({life, first}, return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        first.cancel()
        await life
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://voxify.test") as client:
            yield client
    finally:
        over.set()
        await life


@dataclass(frozen=True)
class SignedIn:
    """Somebody who has registered and signed in."""

    id: str
    email: str
    access_token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}


async def sign_up(client: httpx.AsyncClient, email: str) -> SignedIn:
    credentials = {"email": email, "password": PASSWORD}
    registered = await client.post(f"{AUTH}/register", json=credentials)
    assert registered.status_code == 201, registered.text
    data = (await client.post(f"{AUTH}/login", json=credentials)).json()["data"]
    return SignedIn(data["user"]["id"], email, data["access_token"], data["refresh_token"])


@dataclass(frozen=True)
class Logs:
    """What the process has logged, as it would be read by a machine."""

    stream: io.StringIO

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error in an answer, after a look at the form that all errors have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert body.keys() == {"success", "error", "timestamp"}
    assert body["success"] is False
    error: dict[str, Any] = body["error"]
    assert {"code", "message", "timestamp"} <= error.keys() <= {"code", "message", "timestamp", "details"}
    assert error["code"] == code, answer.text
    assert error["message"]
    assert error["timestamp"].endswith("Z")
    assert body["timestamp"].endswith("Z")
    assert answer.headers["x-request-id"]
    return error
