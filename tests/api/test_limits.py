"""How many requests somebody may make in a minute."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from api.limits import counters as counting
from api.limits.counters import Counters, CountersUnavailableError, SqlCounters
from api.limits.rates import RateLimiter
from settings import Settings
from store.database import Database
from store.migrations import upgrade
from store.repositories.limits import Count
from tests.api.accounts import NewUser, change_user
from tests.api.support import AUTH, PASSWORD, Logs, SignedIn, error_of, make_app, processes, running, sign_up

PROFILE = f"{AUTH}/profile"
LIMIT = 100
HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"requests_per_minute": LIMIT, "anonymous_requests_per_minute": 20})


@pytest.fixture
async def me(user: NewUser) -> SignedIn:
    return await user()


def shown(answer: httpx.Response) -> tuple[int, int]:
    """The limit and what is left of it."""
    return int(answer.headers["x-ratelimit-limit"]), int(answer.headers["x-ratelimit-remaining"])


async def test_of_many_at_once_exactly_the_limit_passes(client: httpx.AsyncClient, me: SignedIn) -> None:
    answers = await asyncio.gather(*(client.get(PROFILE, headers=me.headers) for _ in range(120)))
    passed = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(passed) == LIMIT
    assert sorted(shown(answer)[1] for answer in passed) == list(range(LIMIT)), "each sees its own place"
    for answer in refused:
        error_of(answer, 429, "RATE_LIMITED")
        assert shown(answer) == (LIMIT, 0)
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert len({answer.headers["x-ratelimit-reset"] for answer in answers}) == 1


async def test_processes_keep_one_limit_together(settings: Settings, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(running(make_app(one))) for one in processes(settings, tmp_path)]
        me = await sign_up(clients[0], "me@example.com")
        answers = await asyncio.gather(*(clients[number % 2].get(PROFILE, headers=me.headers) for number in range(120)))
    assert sum(answer.status_code == 200 for answer in answers) == LIMIT


async def test_a_window_ends_and_another_begins(client: httpx.AsyncClient, me: SignedIn, monkeypatch: pytest.MonkeyPatch) -> None:
    began = counting.now_ms()
    first = await client.get(PROFILE, headers=me.headers)
    answered = counting.now_ms()
    await asyncio.gather(*(client.get(PROFILE, headers=me.headers) for _ in range(LIMIT)))
    error_of(await client.get(PROFILE, headers=me.headers), 429, "RATE_LIMITED")
    assert began / 1000 + 59 <= int(first.headers["x-ratelimit-reset"]) <= answered / 1000 + 61
    now = counting.now_ms()
    for module in ("api.limits.counters", "api.limits.rates"):
        monkeypatch.setattr(f"{module}.now_ms", lambda: now + 61_000)
    again = await client.get(PROFILE, headers=me.headers)
    assert (again.status_code, shown(again)) == (200, (LIMIT, LIMIT - 1))


async def test_everybody_has_a_limit_of_their_own(client: httpx.AsyncClient, user: NewUser) -> None:
    one, other = await user(), await user()
    for left in (99, 98):
        assert shown(await client.get(PROFILE, headers=one.headers)) == (LIMIT, left)
    assert shown(await client.get(PROFILE, headers=other.headers)) == (LIMIT, 99)


async def test_keys_count_to_their_owner_and_every_answer_says_what_is_left(client: httpx.AsyncClient, me: SignedIn) -> None:
    key = (await client.post(f"{AUTH}/api-keys", headers=me.headers, json={"name": "k", "scopes": ["read"]})).json()["data"]["key"]
    by_key = await client.get(PROFILE, headers={"X-API-Key": key})
    assert shown(by_key) == (LIMIT, 98)
    wrong_scope = await client.post("/api/v1/job", headers={"X-API-Key": key}, json={})
    error_of(wrong_scope, 403, "FORBIDDEN")
    assert shown(wrong_scope) == (LIMIT, 97)
    missing = await client.get("/api/v1/job/job_none", headers=me.headers)
    error_of(missing, 404, "JOB_NOT_FOUND")
    assert shown(missing) == (LIMIT, 96)
    bad = await client.post("/api/v1/job", headers=me.headers, content=b"{")
    assert (bad.status_code, shown(bad)) == (400, (LIMIT, 95))
    forbidden = await client.get("/api/v1/admin/stats", headers=me.headers)
    assert (forbidden.status_code, shown(forbidden)) == (403, (LIMIT, 94))


async def test_an_admin_may_give_somebody_another_limit(client: httpx.AsyncClient, app: Litestar, me: SignedIn) -> None:
    await change_user(app, me.id, limit_requests_per_minute=2)
    assert [(await client.get(PROFILE, headers=me.headers)).status_code for _ in range(3)] == [200, 200, 429]
    await change_user(app, me.id, limit_requests_per_minute=5)
    allowed = await client.get(PROFILE, headers=me.headers)
    assert (allowed.status_code, shown(allowed)[0]) == (200, 5), "who was refused is not refused for longer than their limit says"


async def test_what_looks_after_the_process_is_not_limited(client: httpx.AsyncClient) -> None:
    for path in ("/health/live", "/metrics", "/docs", "/openapi.json"):
        answers = [await client.get(path) for _ in range(25)]
        assert {answer.status_code for answer in answers} == {200}, path
        assert not any(name in answers[-1].headers for name in HEADERS)


async def test_who_has_no_good_credential_counts_to_their_address(client: httpx.AsyncClient, me: SignedIn, logs: Logs) -> None:
    # Signing up was two requests.
    sign_in = {"email": me.email, "password": PASSWORD}
    answers = [await client.post(f"{AUTH}/login", json=sign_in) for _ in range(10)]
    answers += [await client.get(PROFILE, headers={"Authorization": "Bearer nonsense"}) for _ in range(4)]
    answers += [await client.get(PROFILE) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [401] * 8
    assert [shown(answer) for answer in answers] == [(20, left) for left in range(17, -1, -1)]
    for refused in (await client.get(PROFILE), await client.post(f"{AUTH}/login", json=sign_in)):
        error_of(refused, 429, "RATE_LIMITED")
    assert (await client.get(PROFILE, headers=me.headers)).status_code == 200, "one who is known is not taken for the others"
    assert "127.0.0.1" not in logs.text


@pytest.fixture
async def by_address(settings: Settings) -> AsyncIterator[Any]:
    """Ask as if from an address, with headers; what is left."""
    app = make_app(settings.model_copy(update={"trusted_proxies": "10.0.0.0/8"}))
    async with running(app):

        async def ask(address: str, **headers: str) -> int:
            transport = httpx.ASGITransport(app=app, client=(address, 1))  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://voxify.test") as client:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                return shown(await client.get(PROFILE, headers=named))[1]

        yield ask


async def test_only_a_trusted_proxy_is_believed_who_it_speaks_for(by_address: Any) -> None:
    assert await by_address("192.0.2.1") == 19
    assert await by_address("192.0.2.1", x_forwarded_for="198.51.100.1") == 18, "anybody can write that"
    assert await by_address("10.0.0.1", x_forwarded_for="198.51.100.1") == 19
    assert await by_address("10.0.0.2", x_forwarded_for="192.0.2.9, 198.51.100.1") == 18, "what the client itself wrote is passed over"
    assert await by_address("10.0.0.1", x_forwarded_for="2001:db8:1:2::1") == 19
    assert await by_address("10.0.0.1", x_forwarded_for="2001:db8:1:2:ffff::") == 18, "one household"


async def test_without_the_setting_nobody_is_believed(client: httpx.AsyncClient) -> None:
    left = [shown(await client.get(PROFILE, headers={"X-Forwarded-For": f"198.51.100.{n}"}))[1] for n in range(3)]
    assert left == [19, 18, 17]


async def test_signed_addresses_count_to_where_they_are_opened_and_others_to_the_user(client: httpx.AsyncClient, me: SignedIn) -> None:
    path = "/api/v1/files/audio/job_none"
    signed = await client.get(f"{path}?sig=nonsense")
    assert (signed.status_code, shown(signed)[0]) == (403, 20)
    known = await client.get(path, headers=me.headers)
    assert (known.status_code, shown(known)) == (404, (LIMIT, 99))


class Fake(Counters):
    """Counts in memory, at the word of the test."""

    def __init__(self) -> None:
        self.calls: list[dict[str, int]] = []
        self.counts: dict[str, int] = {}
        self.fault: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def add(self, amounts: Mapping[str, int], window_ms: int) -> Mapping[str, Count]:
        self.calls.append(dict(amounts))
        await self.gate.wait()
        if self.fault:
            raise self.fault
        for key, amount in amounts.items():
            self.counts[key] = self.counts.get(key, 0) + amount
        return {key: Count(self.counts[key], counting.now_ms() + window_ms) for key in amounts}


async def test_what_comes_while_a_count_is_written_is_counted_in_the_next(settings: Settings) -> None:
    fake = Fake()
    fake.gate.clear()
    limiter = RateLimiter(fake, settings)
    first = asyncio.create_task(limiter.of_user("a", None))
    while not fake.calls:
        await asyncio.sleep(0)
    waiting = [asyncio.create_task(limiter.of_user(name, None)) for name in ("b", "a", "b")]
    given_up = asyncio.create_task(limiter.of_user("b", None))
    await asyncio.sleep(0)
    given_up.cancel()
    fake.gate.set()
    allowances = await asyncio.gather(first, *waiting)
    assert [each and each.count for each in allowances] == [1, 1, 2, 2]
    assert fake.calls == [{"user:a": 1}, {"user:b": 3, "user:a": 1}]


async def test_who_was_refused_is_refused_again_without_a_write(settings: Settings) -> None:
    fake = Fake()
    limiter = RateLimiter(fake, settings)
    for _ in range(3):
        await limiter.of_user("a", 2)
    calls = len(fake.calls)
    for _ in range(50):
        refused = await limiter.of_user("a", 2)
        assert refused is not None
        assert not refused.allowed
    assert len(fake.calls) == calls


async def test_requests_pass_when_they_cannot_be_counted(settings: Settings, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, now = Fake(), counting.now_ms()
    fake.fault = CountersUnavailableError()
    limiter = RateLimiter(fake, settings)
    monkeypatch.setattr("api.limits.rates.now_ms", lambda: now)
    assert [await limiter.of_user("a", 1) for _ in range(3)] == [None] * 3
    assert logs.text.count("requests are not counted") == 1
    assert len(fake.calls) == 1, "the others did not wait for it"
    fake.fault = None
    monkeypatch.setattr("api.limits.rates.now_ms", lambda: now + 2000)
    found = await limiter.of_user("a", 1)
    assert found is not None
    assert found.count == 1
    fake.fault = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await limiter.of_user("a", 5)
    fake.fault = None
    assert await limiter.of_user("a", 5) is not None, "the next batch is counted all the same"


async def test_a_database_that_is_gone_is_told_from_a_limit(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}")
    try:
        with pytest.raises(CountersUnavailableError):
            await SqlCounters(database).add({"a": 1}, 60_000)
        await upgrade(database.engine)
        assert (await SqlCounters(database).add({"a": 1}, 60_000))["a"].count == 1
    finally:
        await database.close()
