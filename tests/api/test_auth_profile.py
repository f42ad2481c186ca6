"""Changing a profile, and ending sessions."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from litestar import Litestar

from settings import Settings
from tests.api.accounts import NEW_PASSWORD, WRONG_PASSWORD, NewUser, another_session, is_open, log_in, mails, reset_tokens
from tests.api.support import AUTH, PASSWORD, SignedIn, error_of

PROFILE = f"{AUTH}/profile"
METHODS = pytest.mark.parametrize("method", ["PUT", "PATCH"])


async def change(client: httpx.AsyncClient, person: SignedIn, method: str, **body: Any) -> httpx.Response:
    return await client.request(method, PROFILE, headers=person.headers, json=body)


async def test_patch_changes_what_is_sent(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    first = await change(client, person, "PATCH", first_name="Ada", last_name="Lovelace")
    assert first.status_code == 200
    after = (await change(client, person, "PATCH", last_name=None)).json()["data"]["user"]
    assert (after["first_name"], after["last_name"], after["email"]) == ("Ada", None, person.email)
    assert (await client.get(PROFILE, headers=person.headers)).json()["data"]["user"] == after
    assert (await change(client, person, "PATCH")).json()["data"]["user"]["first_name"] == "Ada", "nothing sent, nothing changed"


async def test_put_replaces_and_keeps_the_password(client: httpx.AsyncClient, user: NewUser) -> None:
    person = await user()
    await change(client, person, "PATCH", first_name="Ada", last_name="Lovelace")
    after = (await change(client, person, "PUT", email=person.email.upper(), first_name="Grace")).json()["data"]["user"]
    assert (after["first_name"], after["last_name"], after["email"]) == ("Grace", None, person.email)
    assert (await log_in(client, person.email)).status_code == 200


@pytest.mark.parametrize(
    ("method", "body", "code", "field"),
    [
        ("PUT", {"first_name": "Ada"}, "MISSING_FIELDS", "email"),
        ("PATCH", {"email": None}, "MISSING_FIELDS", "email"),
        ("PATCH", {"email": "nobody"}, "INVALID_EMAIL", "email"),
        ("PATCH", {"password": "short"}, "WEAK_PASSWORD", "password"),
        ("PATCH", {"password": None}, "MISSING_FIELDS", "password"),
        ("PATCH", {"first_name": "x" * 101}, "VALIDATION_ERROR", "first_name"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, user: NewUser, method: str, body: dict[str, Any], code: str, field: str
) -> None:
    error = error_of(await change(client, await user(), method, **body), 400, code)
    assert error["details"].keys() == {field}


@METHODS
@pytest.mark.parametrize("new", [{"email": "new@example.com"}, {"password": NEW_PASSWORD}])
async def test_address_and_password_ask_for_the_current_password(
    client: httpx.AsyncClient, user: NewUser, method: str, new: dict[str, str]
) -> None:
    person = await user()
    body = {"email": person.email, "first_name": "Eve"} | new
    error = error_of(await change(client, person, method, **body), 400, "MISSING_FIELDS")
    assert error["details"] == {"current_password": "is missing"}
    wrong = await change(client, person, method, **body, current_password=WRONG_PASSWORD)
    assert error_of(wrong, 403, "INVALID_CREDENTIALS")["details"] == {"current_password": "is wrong"}
    unchanged = (await client.get(PROFILE, headers=person.headers)).json()["data"]["user"]
    assert (unchanged["email"], unchanged["first_name"]) == (person.email, None), "nothing is half changed"
    assert (await change(client, person, method, **body, current_password=PASSWORD)).status_code == 200


async def test_guesses_at_the_current_password_are_throttled(client: httpx.AsyncClient, user: NewUser, settings: Settings) -> None:
    person = await user()
    for _ in range(settings.login_failures):
        guess = await change(client, person, "PATCH", password=NEW_PASSWORD, current_password=WRONG_PASSWORD)
        error_of(guess, 403, "INVALID_CREDENTIALS")
    error_of(await change(client, person, "PATCH", password=NEW_PASSWORD, current_password=PASSWORD), 429, "RATE_LIMITED")


async def test_a_new_address_is_the_one_to_sign_in_with(
    client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings
) -> None:
    person = await user()
    await client.post(f"{AUTH}/forgot-password", json={"email": person.email})
    (token,) = await reset_tokens(app, settings)
    changed = await change(client, person, "PATCH", email="New@Example.com", current_password=PASSWORD)
    assert changed.json()["data"]["user"]["email"] == "new@example.com"
    error_of(await log_in(client, person.email), 401, "INVALID_CREDENTIALS")
    assert (await log_in(client, "new@example.com")).status_code == 200
    late = await client.post(f"{AUTH}/reset-password", json={"token": token, "password": NEW_PASSWORD})
    error_of(late, 400, "INVALID_TOKEN")
    told = [mail for mail in await mails(app, settings) if "changed" in mail["subject"]]
    assert [mail["to"] for mail in told] == [person.email], "the old address learns of it"


async def test_the_address_of_another_account_is_refused(client: httpx.AsyncClient, user: NewUser) -> None:
    first, second = await user(), await user()
    taken = await change(client, first, "PATCH", email=second.email.upper(), current_password=PASSWORD)
    error_of(taken, 409, "EMAIL_EXISTS")


@METHODS
async def test_a_new_password_ends_the_other_sessions(client: httpx.AsyncClient, user: NewUser, method: str) -> None:
    person, bystander = await user(), await user()
    other = await another_session(client, person)
    changed = await change(client, person, method, email=person.email, password=NEW_PASSWORD, current_password=PASSWORD)
    assert changed.status_code == 200
    assert not await is_open(client, other)
    assert await is_open(client, person)
    assert await is_open(client, bystander)
    error_of(await log_in(client, person.email), 401, "INVALID_CREDENTIALS")
    assert (await log_in(client, person.email, NEW_PASSWORD)).status_code == 200


async def test_logout_everywhere_ends_all_sessions_of_the_account(client: httpx.AsyncClient, user: NewUser) -> None:
    person, bystander = await user(), await user()
    other = await another_session(client, person)
    assert (await client.post(f"{AUTH}/logout-all", headers=person.headers)).status_code == 200
    assert not await is_open(client, person)
    assert not await is_open(client, other)
    assert await is_open(client, bystander)
    assert (await log_in(client, person.email)).status_code == 200


async def test_a_login_that_meets_a_change_of_the_password_begins_no_session(
    client: httpx.AsyncClient, user: NewUser, app: Litestar, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await user()
    passwords = app.state.auth._passwords
    verify = passwords.verify

    async def changed_right_after(password_hash: str | None, password: str) -> bool:
        right: bool = await verify(password_hash, password)
        monkeypatch.setattr(passwords, "verify", verify)
        changed = await change(client, person, "PATCH", password=NEW_PASSWORD, current_password=PASSWORD)
        assert changed.status_code == 200
        return right

    monkeypatch.setattr(passwords, "verify", changed_right_after)
    error_of(await log_in(client, person.email), 401, "INVALID_CREDENTIALS")
