from __future__ import annotations

import asyncio
import shutil
from typing import Any

import httpx
import pytest
from litestar import Litestar

from api.health.checks import examine
from settings import Settings
from tests.api.support import AUTH, Logs, make_app, running

PARTS = ["database", "objects", "vectors", "queue", "inference"]


async def well() -> None:
    return None


async def ill() -> None:
    raise ConnectionError("10.0.0.7 refused")


async def test_live(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live")
    assert answer.status_code == 200
    assert answer.json()["data"] == {"status": "alive"}


async def test_ready_names_every_part(settings: Settings) -> None:
    app = make_app(settings)
    async with running(app) as client:
        app.state.checks["inference"] = well
        answer = await client.get("/health/ready")
    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] is True
    assert body["data"]["status"] == "ready"
    assert {name: part["status"] for name, part in body["data"]["parts"].items()} == dict.fromkeys(PARTS, "ok")


async def test_not_ready_says_which_part_and_not_why(settings: Settings, logs: Logs) -> None:
    app = make_app(settings)
    async with running(app) as client:
        app.state.checks["inference"] = ill
        answer = await client.get("/health/ready")
    assert answer.status_code == 503
    body = answer.json()
    assert body["success"] is False
    assert body["data"]["status"] == "not_ready"
    assert body["message"] == "Not ready: inference"
    assert {name: part["status"] for name, part in body["data"]["parts"].items()} == dict.fromkeys(PARTS, "ok") | {"inference": "failed"}
    assert "10.0.0.7" not in answer.text
    assert "10.0.0.7" in logs.text


async def test_a_database_that_is_gone_or_old(app: Litestar, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def outdated(_: Any) -> bool:
        return False

    monkeypatch.setattr("store.migrations.is_current", outdated)
    answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["data"]["parts"]["database"]["status"] == "failed"


async def test_vectors_that_are_gone(app: Litestar, client: httpx.AsyncClient, settings: Settings) -> None:
    await asyncio.to_thread(app.state.stores.vectors._index._client.delete_collection, "voice-samples")
    shutil.rmtree(settings.vectors_dir)
    answer = await client.get("/health/ready")
    assert answer.json()["data"]["parts"]["vectors"]["status"] == "failed"


async def test_a_check_that_hangs_is_cut_off() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    parts = await examine({"slow": hangs, "quick": well, "none": None}, timeout_s=0.01)
    assert {name: part.status for name, part in parts.items()} == {"slow": "timeout", "quick": "ok", "none": "unchecked"}


async def test_metrics_have_bounded_labels(client: httpx.AsyncClient) -> None:
    for path in ("/health/live", "/private/1", "/private/2"):
        await client.get(path)
    await client.request("BREW", "/health/live")
    await client.get(f"{AUTH}/profile")
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    for line in (
        'voxify_http_requests_total{method="GET",route="/health/live",status="200"} 1.0',
        'voxify_http_requests_total{method="GET",route="unmatched",status="404"} 2.0',
        'voxify_http_requests_total{method="OTHER",route="unmatched",status="405"} 1.0',
        f'voxify_http_requests_total{{method="GET",route="{AUTH}/profile",status="401"}} 1.0',
        "voxify_http_requests_in_progress 1.0",
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)
    assert "private" not in answer.text
