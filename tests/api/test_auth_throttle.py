"""How often a password may be guessed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from sqlalchemy import text

from api.auth.throttle import network
from settings import Settings
from tests.api.accounts import WRONG_PASSWORD, NewUser, later, log_in
from tests.api.support import error_of


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"login_failures": 3, "login_failures_per_account": 6, "login_failures_per_address": 5})


@asynccontextmanager
async def at(app: Litestar, address: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, client=(address, 1))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://voxify.test") as client:
        yield client


async def fail(client: httpx.AsyncClient, email: str, times: int) -> None:
    for _ in range(times):
        error_of(await log_in(client, email, WRONG_PASSWORD), 401, "INVALID_CREDENTIALS")


async def test_after_too_many_failures_even_the_right_password_waits(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    await fail(client, person.email, 3)
    refused = await log_in(client, f" {person.email.upper()} ")
    error_of(refused, 429, "RATE_LIMITED")
    assert 1 <= int(refused.headers["retry-after"]) <= 120


async def test_an_attempt_comes_free_again(client: httpx.AsyncClient, user: NewUser, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await user()
    await fail(client, person.email, 3)
    later(monkeypatch, "api.auth.throttle", seconds=290)
    error_of(await log_in(client, person.email), 429, "RATE_LIMITED")
    later(monkeypatch, "api.auth.throttle", seconds=301)
    assert (await log_in(client, person.email)).status_code == 200
    assert (await log_in(client, person.email)).status_code == 200, "a right password costs nothing"
    await fail(client, person.email, 1)
    error_of(await log_in(client, person.email), 429, "RATE_LIMITED")


async def test_an_unknown_account_is_throttled_like_a_known_one(client: httpx.AsyncClient) -> None:
    await fail(client, "nobody@example.com", 3)
    error_of(await log_in(client, "nobody@example.com"), 429, "RATE_LIMITED")


async def test_right_passwords_are_not_counted(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    for _ in range(8):
        assert (await log_in(client, person.email)).status_code == 200


async def test_guesses_at_once_are_counted_one_by_one(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    answers = await asyncio.gather(*(log_in(client, person.email, WRONG_PASSWORD) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [401] * 3 + [429] * 7


async def test_who_guesses_from_elsewhere_does_not_shut_the_owner_out(client: httpx.AsyncClient, user: NewUser, app: Litestar) -> None:
    person = await user()
    async with at(app, "192.0.2.1") as thief:
        await fail(thief, person.email, 3)
        for _ in range(10):
            error_of(await log_in(thief, person.email), 429, "RATE_LIMITED")
    assert (await log_in(client, person.email)).status_code == 200


async def test_many_addresses_together_are_bounded(client: httpx.AsyncClient, user: NewUser, app: Litestar) -> None:
    person = await user()
    for number in range(2):
        async with at(app, f"192.0.2.{number}") as thief:
            await fail(thief, person.email, 3)
    async with at(app, "192.0.2.9") as thief:
        error_of(await log_in(thief, person.email, WRONG_PASSWORD), 429, "RATE_LIMITED")


async def test_one_address_may_not_try_account_after_account(client: httpx.AsyncClient, user: NewUser, app: Litestar) -> None:
    person = await user()
    for number in range(5):
        await fail(client, f"victim{number}@example.com", 1)
    error_of(await log_in(client, person.email), 429, "RATE_LIMITED")
    async with at(app, "192.0.2.1") as elsewhere:
        assert (await log_in(elsewhere, person.email)).status_code == 200


async def test_neither_address_nor_account_can_be_read_in_the_database(client: httpx.AsyncClient, app: Litestar) -> None:
    await fail(client, "nobody@example.com", 1)
    async with app.state.stores.database.read() as session:
        rows = (await session.execute(text("SELECT key FROM throttles"))).scalars().all()
    assert len(rows) == 3
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in rows)


async def test_asking_for_mails_is_throttled_by_address(client: httpx.AsyncClient) -> None:
    body = {"email": "nobody@example.com"}
    for _ in range(5):
        assert (await client.post("/api/v1/auth/forgot-password", json=body)).status_code == 200
    error_of(await client.post("/api/v1/auth/forgot-password", json=body), 429, "RATE_LIMITED")


async def test_rows_that_limit_nobody_are_swept(client: httpx.AsyncClient, app: Litestar, monkeypatch: pytest.MonkeyPatch) -> None:
    await fail(client, "nobody@example.com", 1)
    later(monkeypatch, "api.auth.throttle", hours=2)
    await fail(client, "somebody@example.com", 1)
    async with app.state.stores.database.read() as session:
        assert (await session.execute(text("SELECT count(*) FROM throttles"))).scalar_one() == 3


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_itself_in_either_writing(address: object) -> None:
    assert network(str(address)) == str(address) == network(f"::ffff:{address}")


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_the_addresses_of_one_ipv6_household_count_as_one(one: int, other: int) -> None:
    def address(low: int) -> str:
        return f"2001:db8:1:2:{low >> 48 & 0xFFFF:x}:{low >> 32 & 0xFFFF:x}:{low >> 16 & 0xFFFF:x}:{low & 0xFFFF:x}"

    assert network(address(one)) == network(address(other)) == "2001:db8:1:2::/64"
    assert network("2001:db8:1:3::1") != network(address(one))
