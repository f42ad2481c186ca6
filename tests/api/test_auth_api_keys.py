"""API keys: made by people, used by programs."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import text

from store.clock import utcnow
from tests.api.accounts import NEW_PASSWORD, NewUser, change_user, later
from tests.api.support import AUTH, PASSWORD, Logs, SignedIn, error_of

KEYS = f"{AUTH}/api-keys"
PROFILE = f"{AUTH}/profile"


async def make(client: httpx.AsyncClient, person: SignedIn, **body: Any) -> dict[str, Any]:
    answer = await client.post(KEYS, headers=person.headers, json={"name": "a program"} | body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["data"]
    return made


def by_key(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


async def test_a_key_is_shown_once_and_stored_as_a_hash(client: httpx.AsyncClient, user: NewUser, app: Litestar, logs: Logs) -> None:
    person = await user()
    made = await make(client, person, name=" podcast ")
    assert re.fullmatch(r"vx_[A-Za-z0-9]{40}", made["key"])
    assert (made["name"], made["scopes"], made["expires_at"], made["last_used_at"]) == ("podcast", ["read", "write"], None, None)
    listed = await client.get(KEYS, headers=person.headers)
    (view,) = listed.json()["data"]
    assert view == {name: value for name, value in made.items() if name != "key"}
    assert made["key"].startswith(view["prefix"])
    assert listed.json()["meta"]["pagination"]["total_count"] == 1
    async with app.state.stores.database.read() as session:
        stored = str((await session.execute(text("SELECT * FROM api_keys"))).all())
    assert made["key"] not in stored
    assert made["key"] not in logs.text


async def test_a_key_is_taken_as_bearer_and_as_x_api_key(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    key = (await make(client, person))["key"]
    for headers in ({"Authorization": f"Bearer {key}"}, by_key(key)):
        profile = await client.get(PROFILE, headers=headers)
        assert profile.json()["data"]["user"]["id"] == person.id
        assert (await client.get("/api/v1/job", headers=headers)).status_code == 200


async def test_the_authorization_header_goes_first(client: httpx.AsyncClient, user: NewUser) -> None:
    person, other = await user(), await user()
    headers = person.headers | by_key((await make(client, other))["key"])
    assert (await client.get(PROFILE, headers=headers)).json()["data"]["user"]["id"] == person.id


@pytest.mark.parametrize("key", ["", "vx_", "vx_" + "a1B2" * 10, "Bearer x"])
async def test_what_is_no_key_is_refused(client: httpx.AsyncClient, key: str) -> None:
    error_of(await client.get(PROFILE, headers=by_key(key)), 401, "INVALID_TOKEN")


async def test_an_access_token_is_no_key(client: httpx.AsyncClient, user: NewUser) -> None:
    error_of(await client.get(PROFILE, headers=by_key((await user()).access_token)), 401, "INVALID_TOKEN")


async def test_scopes_hold_for_every_route(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    reads = by_key((await make(client, person, scopes=["read"]))["key"])
    writes = by_key((await make(client, person, scopes=["write", "write"]))["key"])
    assert (await client.get("/api/v1/job", headers=reads)).status_code == 200
    error_of(await client.get("/api/v1/job", headers=writes), 403, "FORBIDDEN")
    for method, path in (
        ("POST", "/job"), ("DELETE", "/job/job_1"), ("PUT", "/job/job_1"), ("PATCH", "/job/job_1"), ("POST", "/voice/samples"),
    ):  # fmt: skip
        error_of(await client.request(method, f"/api/v1{path}", headers=reads), 403, "FORBIDDEN")
    assert (await client.delete("/api/v1/job/job_1", headers=writes)).status_code == 404, "let through to the room"


async def test_a_key_manages_no_keys_passwords_or_sessions(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    made = await make(client, person)
    takeover = {"email": person.email, "password": NEW_PASSWORD, "current_password": PASSWORD}
    for method, path, body in (
        ("POST", "/api-keys", {"name": "another"}),
        ("GET", "/api-keys", None),
        ("DELETE", f"/api-keys/{made['id']}", None),
        ("PUT", "/profile", takeover),
        ("PATCH", "/profile", takeover),
        ("POST", "/logout", None),
        ("POST", "/logout-all", None),
    ):
        refused = await client.request(method, f"{AUTH}{path}", headers=by_key(made["key"]), json=body)
        error_of(refused, 403, "FORBIDDEN")
    assert (await client.get(PROFILE, headers=person.headers)).status_code == 200


async def test_a_revoked_key_ends_at_once(client: httpx.AsyncClient, user: NewUser) -> None:
    person, stranger = await user(), await user()
    made = await make(client, person)
    error_of(await client.delete(f"{KEYS}/{made['id']}", headers=stranger.headers), 404, "API_KEY_NOT_FOUND")
    assert (await client.get(PROFILE, headers=by_key(made["key"]))).status_code == 200
    assert (await client.delete(f"{KEYS}/{made['id']}", headers=person.headers)).status_code == 200
    error_of(await client.get(PROFILE, headers=by_key(made["key"])), 401, "INVALID_TOKEN")
    error_of(await client.delete(f"{KEYS}/{made['id']}", headers=person.headers), 404, "API_KEY_NOT_FOUND")
    assert (await client.get(KEYS, headers=stranger.headers)).json()["data"] == []


async def test_a_key_expires(client: httpx.AsyncClient, user: NewUser, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make(client, await user(), expires_at=(utcnow() + timedelta(hours=1)).isoformat())
    assert (await client.get(PROFILE, headers=by_key(made["key"]))).status_code == 200
    later(monkeypatch, "api.auth.api_keys", hours=1, seconds=1)
    error_of(await client.get(PROFILE, headers=by_key(made["key"])), 401, "TOKEN_EXPIRED")


async def test_a_disabled_account_has_no_keys(client: httpx.AsyncClient, user: NewUser, app: Litestar) -> None:
    person = await user()
    made = await make(client, person)
    await change_user(app, person.id, is_active=False)
    error_of(await client.get(PROFILE, headers=by_key(made["key"])), 403, "ACCOUNT_DISABLED")


async def test_the_last_use_is_noted_at_most_once_a_minute(
    client: httpx.AsyncClient, user: NewUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await user()
    made = await make(client, person)

    async def last_used() -> str | None:
        assert (await client.get(PROFILE, headers=by_key(made["key"]))).status_code == 200
        found: str | None = (await client.get(KEYS, headers=person.headers)).json()["data"][0]["last_used_at"]
        return found

    first = await last_used()
    assert first is not None
    later(monkeypatch, "api.auth.api_keys", seconds=30)
    assert await last_used() == first
    later(monkeypatch, "api.auth.api_keys", seconds=61)
    assert await last_used() > first


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "MISSING_FIELDS", "name"),
        ({"name": "  "}, "MISSING_FIELDS", "name"),
        ({"name": "x" * 101}, "VALIDATION_ERROR", "name"),
        ({"name": "x", "scopes": []}, "VALIDATION_ERROR", "scopes"),
        ({"name": "x", "scopes": ["admin"]}, "VALIDATION_ERROR", "scopes.0"),
        ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "VALIDATION_ERROR", "expires_at"),
        ({"name": "x", "expires_at": "2099-01-01T00:00:00"}, "VALIDATION_ERROR", "expires_at"),
    ],
)
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, user: NewUser, body: dict[str, Any], code: str, field: str) -> None:
    answer = await client.post(KEYS, headers=(await user()).headers, json=body)
    assert error_of(answer, 400, code)["details"].keys() == {field}
