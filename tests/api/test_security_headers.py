"""What browsers are told not to do with our answers."""

from __future__ import annotations

import base64
import hashlib
import re

import httpx
import pytest
from litestar import Litestar, get

from settings import Settings
from tests.api.inference import FakeInference
from tests.api.rooms import Caller
from tests.api.support import AUTH, PASSWORD, make_app

ORIGIN = "https://app.example.com"
NOTHING = "default-src 'none'; frame-ancestors 'none'"


@get("/broken", opt={"exclude_from_auth": True})
async def broken() -> None:
    raise RuntimeError


@pytest.fixture
def app(settings: Settings, inference: FakeInference) -> Litestar:
    return make_app(settings.model_copy(update={"cors_origins": ORIGIN}), broken, inference_transport=inference.transport)


async def test_every_answer_is_data_and_stays_in_no_cache(client: httpx.AsyncClient, me: Caller) -> None:
    answers = [
        await me.ask("GET", "/job"),
        await client.get("/health/live"),
        await client.get("/openapi.json"),
        await client.get("/metrics"),
        await client.get(f"{AUTH}/profile"),
        await client.get("/nowhere"),
        await client.put("/health/live"),
        await me.ask("POST", "/job", content=b"{"),
        await client.get("/api/v1/broken"),
        await client.options("/api/v1/job", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 401, 404, 405, 400, 500, 204]
    for answer in answers:
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers.get_list("referrer-policy") == ["no-referrer"]
        assert answer.headers.get_list("content-security-policy") == [NOTHING]
        assert answer.headers.get_list("cache-control") == ["no-store"]
        assert "strict-transport-security" not in answer.headers, "that is for whoever ends TLS to say"


async def test_files_may_be_kept_by_whoever_has_them_and_are_saved_not_shown(me: Caller) -> None:
    await me.stores.objects.put("jobs/job_1/1.mp3", b"sound")
    answer = await me.ask("GET", f"/file/synthesis/{await me.job_row(output_path='jobs/job_1/1.mp3', output_format='mp3')}")
    assert answer.headers.get_list("cache-control") == ["private, no-cache"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment;")


async def test_the_page_runs_its_own_script_and_no_other(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    (policy,) = page.headers.get_list("content-security-policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert (rules["default-src"], rules["connect-src"]) == ("'none'", "'self'")
    assert (rules["base-uri"], rules["form-action"], rules["frame-ancestors"]) == ("'none'", "'none'", "'none'")
    # Under such a policy these would do nothing.
    assert not re.findall(r"\son\w+\s*=\s*[\"']|\sstyle\s*=\s*[\"']|javascript:|\bstyle:", page.text.partition("<h1")[2])


async def test_nothing_is_kept_in_cookies(client: httpx.AsyncClient, me: Caller) -> None:
    credentials = {"email": me.who.email, "password": PASSWORD}
    for answer in (await client.post(f"{AUTH}/login", json=credentials), await me.ask("GET", "/auth/profile"), await client.get("/docs")):
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
    assert (await client.get(f"{AUTH}/profile", headers={"Cookie": f"access_token={me.who.access_token}"})).status_code == 401
