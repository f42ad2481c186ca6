"""Web pages of origins that the operator names may call the API; browsers keep all others out."""

from __future__ import annotations

import httpx
import pytest
from litestar import Litestar
from pydantic import ValidationError

from settings import Settings
from tests.api.inference import FakeInference
from tests.api.rooms import Caller
from tests.api.support import AUTH, error_of, make_app

OURS, THEIRS = "https://app.example.com", "https://elsewhere.example.com"
PREFLIGHT = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.fixture
def app(settings: Settings, inference: FakeInference, request: pytest.FixtureRequest) -> Litestar:
    origins = getattr(request, "param", f"{OURS}, http://localhost:5173")
    return make_app(settings.model_copy(update={"cors_origins": origins}), inference_transport=inference.transport)


async def test_a_page_of_ours_may_ask_and_reads_the_answer(me: Caller, client: httpx.AsyncClient) -> None:
    asked = await client.options(f"/api/v1/job/{await me.job_row()}", headers={"Origin": OURS, **PREFLIGHT})
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["access-control-allow-origin"] == OURS
    assert "PATCH" in asked.headers["access-control-allow-methods"]
    allowed = asked.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("authorization", "content-type", "x-api-key", "idempotency-key", "range"))
    assert "access-control-allow-credentials" not in asked.headers
    answer = await me.ask("GET", "/job", headers={"Origin": OURS})
    assert answer.headers["access-control-allow-origin"] == OURS
    assert "Origin" in answer.headers["vary"]
    shown = answer.headers["access-control-expose-headers"].lower()
    assert all(name in shown for name in ("retry-after", "x-ratelimit-remaining", "x-request-id", "content-disposition"))


async def test_errors_can_be_read_too(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{AUTH}/profile", headers={"Origin": OURS})
    error_of(answer, 401, "UNAUTHORIZED")
    assert answer.headers["access-control-allow-origin"] == OURS


async def test_a_page_from_elsewhere_is_told_nothing(client: httpx.AsyncClient) -> None:
    asked = await client.options(f"{AUTH}/profile", headers={"Origin": THEIRS, **PREFLIGHT})
    error_of(asked, 401, "UNAUTHORIZED")
    for answer in (asked, await client.get("/health/live", headers={"Origin": THEIRS}), await client.get("/health/live")):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("app", [""], indirect=True)
async def test_without_the_setting_no_page_may(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live", headers={"Origin": OURS})
    assert not [name for name in answer.headers if name.startswith("access-control") or name == "vary"]


@pytest.mark.parametrize("app", ["*"], indirect=True)
async def test_all_pages_may_where_the_operator_says_so(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live", headers={"Origin": THEIRS})).headers["access-control-allow-origin"] == THEIRS


@pytest.mark.parametrize(
    "origins", ["app.example.com", "https://app.example.com/", "https://a.example.com;https://b.example.com", "https://"]
)
def test_what_is_no_origin_is_refused_at_the_start(origins: str) -> None:
    with pytest.raises(ValidationError, match="VOXIFY_CORS_ORIGINS"):
        Settings(env="dev", cors_origins=origins, _env_file=None)  # type: ignore[call-arg]
