"""The limits of several processes in one Redis, a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from api.limits.counters import CountersUnavailableError, RedisCounters, now_ms
from settings import Settings
from tests.api.support import AUTH, make_app, processes, running, sign_up
from tests.engines import redis_server
from tests.servers import need

PROFILE = f"{AUTH}/profile"


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need(find_spec("redis"), "the Python package redis")
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
async def counters(redis_url: str) -> AsyncIterator[RedisCounters]:
    made = RedisCounters.at(redis_url)
    await made._redis.flushdb()
    yield made
    await made.close()


async def test_counting_and_the_end_of_a_window(counters: RedisCounters) -> None:
    began = now_ms()
    first = await counters.add({"a": 2, "b": 1}, 60_000)
    assert {key: each.count for key, each in first.items()} == {"a": 2, "b": 1}
    assert began + 60_000 <= first["a"].ends_at_ms <= now_ms() + 60_000
    await counters._redis.pexpire("voxify:a", 30_000)
    again = await counters.add({"a": 1}, 60_000)
    assert again["a"].count == 3
    assert again["a"].ends_at_ms <= now_ms() + 30_000, "counting does not put the end off"
    await counters._redis.persist("voxify:b")
    assert (await counters.add({"b": 1}, 60_000))["b"].ends_at_ms <= now_ms() + 60_000, "no counter stays for ever"
    await counters._redis.pexpire("voxify:a", 0)
    assert (await counters.add({"a": 1}, 60_000))["a"].count == 1


async def test_processes_keep_one_limit_together(settings: Settings, redis_url: str, counters: RedisCounters, tmp_path: Path) -> None:
    limited = settings.model_copy(update={"requests_per_minute": 30, "redis_url": SecretStr(redis_url)})
    first, second = processes(limited, tmp_path)
    async with running(make_app(first)) as one, running(make_app(second)) as two:
        me = await sign_up(one, "me@example.com")
        asked: list[httpx.AsyncClient] = [one, two]
        answers = await asyncio.gather(*(asked[number % 2].get(PROFILE, headers=me.headers) for number in range(50)))
        assert sum(answer.status_code == 200 for answer in answers) == 30
        parts = (await one.get("/health/ready")).json()["data"]["parts"]
        assert parts["redis"]["status"] == "ok"


async def test_without_redis_requests_pass_and_the_process_is_not_ready(settings: Settings, tmp_path: Path) -> None:
    need(find_spec("redis"), "the Python package redis")
    nowhere = f"unix://{tmp_path / 'nothing.sock'}"
    lost = RedisCounters.at(nowhere)
    with pytest.raises(CountersUnavailableError):
        await lost.add({"a": 1}, 60_000)
    await lost.close()
    async with running(make_app(settings.model_copy(update={"requests_per_minute": 1, "redis_url": SecretStr(nowhere)}))) as client:
        me = await sign_up(client, "me@example.com")
        assert [(await client.get(PROFILE, headers=me.headers)).status_code for _ in range(3)] == [200] * 3
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["data"]["parts"]["redis"]["status"] == "failed"
