"""The app of one test, in the test's own event loop, with real stores in a folder of the test."""

from __future__ import annotations

import asyncio
import io
import logging as stdlib_logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
import structlog
from litestar import Litestar

from api import logging
from settings import Settings
from tests.api.inference import FakeInference
from tests.api.rooms import Caller, caller
from tests.api.support import Logs, SignedIn, make_app, running, sign_up
from tests.conftest import emptied


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    # Tests ask more often than people do, and look again and again; the limits have tests of their own.
    often = {"requests_per_minute": 10**6, "anonymous_requests_per_minute": 10**6}
    url = ""
    if request.config.getoption("--database") == "postgresql":
        url = request.getfixturevalue("shared_postgres")
        asyncio.run(_empty(url))
    return Settings(env="dev", data_dir=tmp_path / "data", database_url=url, _env_file=None, **often)  # type: ignore[call-arg,arg-type]


async def _empty(url: str) -> None:
    await (await emptied(url)).close()


@pytest.fixture
async def inference() -> FakeInference:
    return FakeInference()


@pytest.fixture
def app(settings: Settings, inference: FakeInference) -> Litestar:
    return make_app(settings, inference_transport=inference.transport)


@pytest.fixture
async def me(client: httpx.AsyncClient, app: Litestar, inference: FakeInference) -> Caller:
    return await caller(client, app, inference)


@pytest.fixture
async def stranger(client: httpx.AsyncClient, app: Litestar, inference: FakeInference) -> Caller:
    return await caller(client, app, inference)


@pytest.fixture
async def client(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    async with running(app) as made:
        yield made


@pytest.fixture
def user(client: httpx.AsyncClient) -> Callable[[], Awaitable[SignedIn]]:
    """Call it for a new person each time."""
    numbers = count(1)

    async def new() -> SignedIn:
        return await sign_up(client, f"person{next(numbers)}@example.com")

    return new


@pytest.fixture
def logs() -> Iterator[Logs]:
    root = stdlib_logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logging.configure("DEBUG", "json", stream)
    yield Logs(stream)
    root.handlers[:] = handlers
    root.setLevel(level)
    stdlib_logging.captureWarnings(False)
    structlog.reset_defaults()
