"""Who listens live comes before jobs, and does not starve them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from benchmarks.overload import item
from inference.dispatch import HEAD_START_S, LiveFirst, is_live
from tests.servers import inference_server

JOBS = 16


@pytest.mark.parametrize("priority", ["u=1", "u=0, i", "i,u=2"])
def test_an_urgent_request_is_live(priority: str) -> None:
    assert is_live(priority)


@pytest.mark.parametrize("priority", ["", "i", "u=3", "u=7", "u=12", "u=", "mu=1", "u=1x"])
def test_any_other_is_not(priority: str) -> None:
    assert not is_live(priority)


def entry(name: str, at: float, *, live: bool = False) -> Any:
    return SimpleNamespace(name=name, data=[SimpleNamespace(arrived=at, live=live)])


def test_a_live_one_overtakes_what_has_not_waited_for_long() -> None:
    queue = LiveFirst()
    for name, at in (("old", 0.0), ("a", 100.0), ("b", 101.0)):
        queue.append(entry(name, at))
    queue.append(entry("live", HEAD_START_S + 1, live=True))
    queue.append(entry("live too", HEAD_START_S + 2, live=True))
    queue.append(entry("c", 102.0))
    queue.append(entry("late", 100.5 + HEAD_START_S, live=True))
    assert [each.name for each in queue] == ["old", "live", "live too", "a", "late", "b", "c"]


async def test_a_service_full_of_jobs_answers_the_live_one_first(tmp_path: Path) -> None:
    ended: list[str] = []

    async def ask(http: httpx.AsyncClient, name: str, **headers: str) -> None:
        answer = await http.post("/synthesize", json={"items": [item(477)]}, headers=headers)
        assert answer.json()[0]["ok"], answer.text
        ended.append(name)

    with inference_server(tmp_path, VOXIFY_MAX_BATCH_SIZE="2") as url:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=httpx.Limits(max_connections=None)) as http:
            jobs = [asyncio.create_task(ask(http, "job")) for _ in range(JOBS)]
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            await ask(http, "live", Priority="u=1")
            await asyncio.gather(*jobs)
    assert ended.index("live") < JOBS - 4, "the last of all, if it waited in its order"
