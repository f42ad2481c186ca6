"""Accounts and sessions over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from litestar import Litestar

from store.repositories.users import UserRepository
from tests.api.accounts import NewUser, change_user
from tests.api.support import AUTH, PASSWORD, error_of, sign_up


async def delete_user(app: Litestar, user_id: str) -> None:
    async with app.state.stores.database.write() as session:
        await session.delete(await UserRepository(session).get(user_id))


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post(f"{AUTH}/refresh", json={"refresh_token": token})


async def test_register_login_profile(client: httpx.AsyncClient) -> None:
    given = {"email": "Ada@Example.com", "password": PASSWORD, "first_name": "Ada", "last_name": "Lovelace"}
    registered = await client.post(f"{AUTH}/register", json=given)
    assert registered.status_code == 201
    body = registered.json()
    assert body["success"] is True
    assert body["message"]
    assert body["timestamp"].endswith("Z")
    assert "meta" not in body
    made = body["data"]["user"]
    assert made["email"] == "ada@example.com"
    assert (made["first_name"], made["last_name"], made["role"]) == ("Ada", "Lovelace", "user")
    assert made["id"].startswith("user_")
    assert made["created_at"].endswith("Z")

    signed_in = await client.post(f"{AUTH}/login", json={"email": " ADA@example.COM ", "password": PASSWORD})
    assert signed_in.status_code == 200
    data = signed_in.json()["data"]
    assert data.keys() == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
    assert (data["token_type"], data["expires_in"], data["user"]["id"]) == ("Bearer", 3600, made["id"])

    profile = await client.get(f"{AUTH}/profile", headers={"Authorization": f"bearer {data['access_token']}"})
    assert profile.status_code == 200
    assert profile.json()["data"]["user"]["id"] == made["id"]
    assert profile.json()["data"]["user"]["last_login_at"].endswith("Z")


async def test_answers_never_hold_the_password_or_its_hash(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    for answer in (
        await client.get(f"{AUTH}/profile", headers=person.headers),
        await client.post(f"{AUTH}/login", json={"email": person.email, "password": PASSWORD}),
    ):
        assert PASSWORD not in answer.text
        assert "argon2" not in answer.text


@pytest.mark.parametrize(
    ("body", "code", "fields"),
    [
        ({}, "MISSING_FIELDS", {"email", "password"}),
        ({"email": "a@example.com"}, "MISSING_FIELDS", {"password"}),
        ({"email": None, "password": ""}, "MISSING_FIELDS", {"email", "password"}),
        ({"email": "nobody", "password": PASSWORD}, "INVALID_EMAIL", {"email"}),
        ({"email": "a@localhost", "password": PASSWORD}, "INVALID_EMAIL", {"email"}),
        ({"email": "a@test", "password": PASSWORD}, "INVALID_EMAIL", {"email"}),
        ({"email": "a@example.com", "password": "short"}, "WEAK_PASSWORD", {"password"}),
        ({"email": "a@example.com", "password": 12345678}, "VALIDATION_ERROR", {"password"}),
        ({"email": "a@example.com", "password": PASSWORD, "first_name": "x" * 101}, "VALIDATION_ERROR", {"first_name"}),
        ({"email": "a@example.com", "password": PASSWORD, "first_name": "a\x00b"}, "VALIDATION_ERROR", {"first_name"}),
    ],
)
async def test_register_says_which_field_is_wrong(client: httpx.AsyncClient, body: dict[str, Any], code: str, fields: set[str]) -> None:
    error = error_of(await client.post(f"{AUTH}/register", json=body), 400, code)
    assert error["details"].keys() == fields


@pytest.mark.parametrize("email", ["a@voice.internal", "Ä@exämple.com", "a+b@example.test"])
async def test_register_takes_unusual_addresses(client: httpx.AsyncClient, email: str) -> None:
    await sign_up(client, email)


async def test_an_address_is_registered_once_in_any_case(client: httpx.AsyncClient) -> None:
    await sign_up(client, "grace@example.com")
    again = await client.post(f"{AUTH}/register", json={"email": "Grace@EXAMPLE.com", "password": PASSWORD})
    error_of(again, 409, "EMAIL_EXISTS")


async def test_of_registrations_at_once_one_wins(client: httpx.AsyncClient, app: Litestar, monkeypatch: pytest.MonkeyPatch) -> None:
    # All are let on together after they have seen that the address is free, so that only the database can tell.
    together = asyncio.Barrier(4)
    passwords = app.state.auth._passwords
    hash_alone = passwords.hash

    async def hash_together(password: str) -> str:
        await together.wait()
        hashed: str = await hash_alone(password)
        return hashed

    monkeypatch.setattr(passwords, "hash", hash_together)
    body = {"email": "race@example.com", "password": PASSWORD}
    answers = await asyncio.gather(*(client.post(f"{AUTH}/register", json=body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    for answer in answers:
        if answer.status_code == 409:
            error_of(answer, 409, "EMAIL_EXISTS")


async def test_unknown_address_and_wrong_password_answer_alike(
    client: httpx.AsyncClient, user: NewUser, app: Litestar, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await user()
    passwords = app.state.auth._passwords
    verified: list[str] = []
    matches = passwords._matches
    monkeypatch.setattr(passwords, "_matches", lambda hashed, password: verified.append(hashed) or matches(hashed, password))
    wrong = error_of(await client.post(f"{AUTH}/login", json={"email": person.email, "password": "Wrong-1!"}), 401, "INVALID_CREDENTIALS")
    unknown = error_of(
        await client.post(f"{AUTH}/login", json={"email": "none@example.com", "password": PASSWORD}), 401, "INVALID_CREDENTIALS"
    )
    assert wrong["message"] == unknown["message"]
    costs = [hashed.split("$")[1:4] for hashed in verified]
    assert len(costs) == 2, "the same work for both"
    assert costs[0] == costs[1]
    assert costs[0][0] == "argon2id"


async def test_login_names_missing_fields(client: httpx.AsyncClient) -> None:
    error = error_of(await client.post(f"{AUTH}/login", json={"email": "a@example.com"}), 400, "MISSING_FIELDS")
    assert error["details"] == {"password": "is missing"}


async def test_login_renews_an_outdated_hash(client: httpx.AsyncClient, user: NewUser, app: Litestar) -> None:
    from argon2 import PasswordHasher

    person = await user()
    old = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash(PASSWORD)
    await change_user(app, person.id, password_hash=old)
    for _ in range(2):
        assert (await client.post(f"{AUTH}/login", json={"email": person.email, "password": PASSWORD})).status_code == 200
    async with app.state.stores.database.read() as session:
        row = await UserRepository(session).get(person.id)
    assert "t=1," in row.password_hash


async def test_a_disabled_account_is_shut_out_everywhere(client: httpx.AsyncClient, user: NewUser, app: Litestar) -> None:
    person = await user()
    await change_user(app, person.id, is_active=False)
    login = {"email": person.email, "password": PASSWORD}
    error_of(await client.post(f"{AUTH}/login", json=login), 403, "ACCOUNT_DISABLED")
    error_of(await client.post(f"{AUTH}/login", json=login | {"password": "Wrong-1!"}), 401, "INVALID_CREDENTIALS")
    error_of(await client.get(f"{AUTH}/profile", headers=person.headers), 403, "ACCOUNT_DISABLED")
    error_of(await refresh(client, person.refresh_token), 403, "ACCOUNT_DISABLED")
    await change_user(app, person.id, is_active=True)
    assert (await refresh(client, person.refresh_token)).status_code == 200, "a refused refresh does not use the token up"


async def test_a_deleted_account_has_no_tokens(client: httpx.AsyncClient, user: NewUser, app: Litestar) -> None:
    person = await user()
    await delete_user(app, person.id)
    error_of(await client.get(f"{AUTH}/profile", headers=person.headers), 401, "USER_NOT_FOUND")
    error_of(await refresh(client, person.refresh_token), 401, "INVALID_TOKEN")


async def test_refresh_gives_a_new_pair_from_body_or_bearer(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    first = (await refresh(client, person.refresh_token)).json()["data"]
    assert first["refresh_token"] != person.refresh_token
    assert first["access_token"] != person.access_token
    second = await client.post(f"{AUTH}/refresh", headers={"Authorization": f"Bearer {first['refresh_token']}"})
    assert second.status_code == 200
    for token in (person.access_token, first["access_token"], second.json()["data"]["access_token"]):
        assert (await client.get(f"{AUTH}/profile", headers={"Authorization": f"Bearer {token}"})).status_code == 200


async def test_the_body_goes_before_the_bearer_token(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    answer = await client.post(f"{AUTH}/refresh", json={"refresh_token": person.refresh_token}, headers=person.headers)
    assert answer.status_code == 200, "clients send their access token with everything"


async def test_refresh_without_a_token(client: httpx.AsyncClient) -> None:
    for answer in (await client.post(f"{AUTH}/refresh"), await client.post(f"{AUTH}/refresh", json={})):
        error_of(answer, 401, "UNAUTHORIZED")


async def test_using_a_refresh_token_again_ends_its_session_and_no_other(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    other = (await client.post(f"{AUTH}/login", json={"email": person.email, "password": PASSWORD})).json()["data"]
    new = (await refresh(client, person.refresh_token)).json()["data"]
    error_of(await refresh(client, person.refresh_token), 401, "INVALID_TOKEN")
    error_of(await refresh(client, new["refresh_token"]), 401, "INVALID_TOKEN")
    for token in (person.access_token, new["access_token"]):
        error_of(await client.get(f"{AUTH}/profile", headers={"Authorization": f"Bearer {token}"}), 401, "INVALID_TOKEN")
    assert (await refresh(client, other["refresh_token"])).status_code == 200


async def test_of_refreshes_at_once_one_wins(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    answers = await asyncio.gather(*(refresh(client, person.refresh_token) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
    won = next(answer for answer in answers if answer.status_code == 200).json()["data"]
    error_of(await refresh(client, won["refresh_token"]), 401, "INVALID_TOKEN")


async def test_logout_ends_this_session_alone(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    other = (await client.post(f"{AUTH}/login", json={"email": person.email, "password": PASSWORD})).json()["data"]
    assert (await client.post(f"{AUTH}/logout", headers=person.headers)).status_code == 200
    error_of(await client.get(f"{AUTH}/profile", headers=person.headers), 401, "INVALID_TOKEN")
    error_of(await refresh(client, person.refresh_token), 401, "INVALID_TOKEN")
    assert (await client.get(f"{AUTH}/profile", headers={"Authorization": f"Bearer {other['access_token']}"})).status_code == 200


async def test_what_is_no_bearer_token_is_refused(client: httpx.AsyncClient) -> None:
    for header in ("", "Bearer", "Bearer ", "Basic abc", "Bearer a b", "abc"):
        answer = await client.get(f"{AUTH}/profile", headers={"Authorization": header})
        error_of(answer, 401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_every_method_asks_for_a_token(client: httpx.AsyncClient, method: str) -> None:
    error_of(await client.request(method, f"{AUTH}/profile"), 401, "UNAUTHORIZED")


async def test_options_of_a_public_route_needs_no_token(client: httpx.AsyncClient) -> None:
    answer = await client.options(f"{AUTH}/login")
    assert answer.status_code == 204
    assert answer.headers["allow"] == "OPTIONS, POST"


async def test_nobody_reaches_the_body_checks_of_a_protected_route(client: httpx.AsyncClient) -> None:
    error_of(await client.post(f"{AUTH}/logout", content=b"{"), 401, "UNAUTHORIZED")
