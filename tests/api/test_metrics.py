"""What the API counts of its answers."""

from __future__ import annotations

import httpx
import pytest
from litestar import Litestar, get

from api.errors import QuotaExceededError
from api.health.metrics import Metrics
from api.limits.quotas import storage_full
from api.openapi import PUBLIC_OPT
from settings import Settings
from tests.api.rooms import Caller
from tests.api.support import AUTH, make_app, running


async def told(client: httpx.AsyncClient) -> list[str]:
    return (await client.get("/metrics")).text.splitlines()


async def test_errors_are_counted_by_code_and_never_by_what_was_asked(client: httpx.AsyncClient) -> None:
    await client.get("/heron/1")
    await client.get(f"{AUTH}/profile")
    await client.post(f"{AUTH}/login", content=b"{heron", headers={"Content-Type": "application/json"})
    lines = await told(client)
    for code, status in (("ROUTE_NOT_FOUND", 404), ("UNAUTHORIZED", 401), ("MALFORMED_JSON", 400)):
        assert f'voxify_http_errors_total{{code="{code}",status="{status}"}} 1.0' in lines
    assert "heron" not in "".join(lines)


async def test_an_error_of_ours_is_counted_once(settings: Settings) -> None:
    @get("/broken", opt=PUBLIC_OPT)
    async def broken() -> None:
        raise RuntimeError("The heron")

    async with running(make_app(settings, broken)) as client:
        await client.get("/api/v1/broken")
        lines = await told(client)
    assert 'voxify_http_errors_total{code="INTERNAL_ERROR",status="500"} 1.0' in lines
    assert 'voxify_http_requests_total{method="GET",route="/api/v1/broken",status="500"} 1.0' in lines


async def test_each_limit_is_counted_as_itself(settings: Settings) -> None:
    few = settings.model_copy(update={"anonymous_requests_per_minute": 2, "login_failures": 1})
    login = {"email": "nobody@example.com", "password": "Wrong-Horse-7!"}
    async with running(make_app(few)) as client:
        assert [(await client.post(f"{AUTH}/login", json=login)).status_code for _ in range(3)] == [401, 429, 429]
        lines = await told(client)
    assert 'voxify_limits_hit_total{limit="attempts"} 1.0' in lines
    assert 'voxify_limits_hit_total{limit="requests"} 1.0' in lines


async def test_a_quota_is_counted_by_its_name(me: Caller, app: Litestar) -> None:
    app.state.quotas.jobs_per_day = 0
    voice = await me.voice()
    assert await me.refused("POST", "/job", json={"text_content": "Hello.", "voice_model_id": voice}) == (429, "QUOTA_EXCEEDED")
    assert 'voxify_limits_hit_total{limit="jobs_per_day"} 1.0' in await told(me.client)


@pytest.mark.parametrize(
    ("error", "limit"), [(storage_full(), "storage_bytes"), (QuotaExceededError("Full", details={"quota": "of tomorrow"}), "other")]
)
def test_other_quotas(error: QuotaExceededError, limit: str) -> None:
    metrics = Metrics()
    metrics.refused(error)
    assert metrics.registry.get_sample_value("voxify_limits_hit_total", {"limit": limit}) == 1.0


async def test_jobs_of_the_embedded_worker_and_the_queue_are_told_of(me: Caller) -> None:
    voice = await me.voice()
    wanted = {"text_content": "Hello there. And more.", "voice_model_id": voice, "config": {"seed": 7}}
    for _ in range(2):
        job = await me.data("POST", "/job", json=wanted)
        await me.until(f"/job/{job['id']}", "completed")
    lines = await told(me.client)
    for line in (
        'voxify_job_duration_seconds_count{end="completed",kind="synthesis"} 2.0',
        'voxify_job_claim_delay_seconds_count{lane="speech"} 2.0',
        'voxify_chunk_duration_seconds_count{end="ok"} 2.0',
        'voxify_speech_cache_total{result="hit"} 1.0',
        'voxify_speech_cache_total{result="miss"} 1.0',
        "voxify_speech_real_time_factor_count 1.0",
        'voxify_queue_depth{lane="speech",status="due"} 0.0',
    ):
        assert line in lines, line
