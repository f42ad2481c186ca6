"""Who makes accounts where nobody may sign up: admins and the command line."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from litestar import Litestar

from api.auth.operators import make_admin, make_user
from settings import Settings
from tests.api.accounts import NEW_PASSWORD, log_in
from tests.api.support import AUTH, PASSWORD, SignedIn, error_of, quick_passwords
from tests.api.test_admin import Admin
from tests.api.test_auth_operators import invoke, shell

__all__ = ["shell"]

KNOWN = "known@example.com"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"registration": "closed"})


@pytest.fixture
async def admin(client: httpx.AsyncClient, app: Litestar) -> Admin:
    made, _ = await make_admin(app.state.stores.database, quick_passwords(), "root@example.com", PASSWORD)
    session = (await log_in(client, made.email)).json()["data"]
    return Admin(client, SignedIn(made.id, made.email, session["access_token"], session["refresh_token"]))


async def register(client: httpx.AsyncClient, email: str) -> httpx.Response:
    return await client.post(f"{AUTH}/register", json={"email": email, "password": PASSWORD})


async def test_strangers_are_refused_and_not_told_who_has_an_account(client: httpx.AsyncClient, app: Litestar) -> None:
    await make_user(app.state.stores.database, quick_passwords(), KNOWN, PASSWORD)
    known, unknown = [error_of(await register(client, email), 403, "REGISTRATION_CLOSED") for email in (KNOWN, "new@example.com")]
    assert known | {"timestamp": None} == unknown | {"timestamp": None}
    error_of(await log_in(client, "new@example.com"), 401, "INVALID_CREDENTIALS")


async def test_the_time_does_not_tell_either(client: httpx.AsyncClient, app: Litestar, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> None:
        raise AssertionError("nothing is to be looked for or hashed")

    monkeypatch.setattr(app.state.auth._passwords, "hash", nobody)
    monkeypatch.setattr(app.state.auth, "_database", nobody)
    error_of(await register(client, "new@example.com"), 403, "REGISTRATION_CLOSED")


async def test_who_has_an_account_goes_on(client: httpx.AsyncClient, app: Litestar) -> None:
    await make_user(app.state.stores.database, quick_passwords(), KNOWN, PASSWORD)
    session = (await log_in(client, KNOWN)).json()["data"]
    renewed = await client.post(f"{AUTH}/refresh", json={"refresh_token": session["refresh_token"]})
    assert renewed.status_code == 200
    assert (await client.post(f"{AUTH}/forgot-password", json={"email": KNOWN})).status_code == 200


async def test_an_admin_makes_an_account(client: httpx.AsyncClient, admin: Admin) -> None:
    wanted = {"email": " Ada@Example.com", "password": NEW_PASSWORD, "first_name": "Ada"}
    made = await admin.ask("POST", "/users", json=wanted)
    assert made.status_code == 201
    account = made.json()["data"]["user"]
    assert (account["email"], account["first_name"], account["role"], account["is_active"]) == ("ada@example.com", "Ada", "user", True)
    assert made.json()["data"]["usage"]["jobs"]["used"] == 0
    assert (await log_in(client, "ada@example.com", NEW_PASSWORD)).status_code == 200


async def test_what_an_admin_makes_is_checked_and_written_down(admin: Admin) -> None:
    made = await admin.data("POST", "/users", json={"email": "ada@example.com", "password": PASSWORD})
    error_of(await admin.ask("POST", "/users", json={"email": "ADA@example.com", "password": PASSWORD}), 409, "EMAIL_EXISTS")
    for wrong, code in (
        ({"email": "bob@example.com"}, "MISSING_FIELDS"),
        ({"email": "nobody", "password": PASSWORD}, "INVALID_EMAIL"),
        ({"email": "bob@example.com", "password": "short"}, "WEAK_PASSWORD"),
    ):
        error_of(await admin.ask("POST", "/users", json=wrong), 400, code)
    assert {each["email"] for each in await admin.data("GET", "/users")} == {"root@example.com", "ada@example.com"}
    (entry,) = await admin.data("GET", "/audit?action=user.create")
    assert (entry["actor_id"], entry["subject"]) == (admin.who.id, made["user"]["id"])
    assert entry["after"] == {"is_active": True, "role": "user"}


async def test_a_key_of_an_admin_makes_nobody(client: httpx.AsyncClient, admin: Admin) -> None:
    made = await client.post(f"{AUTH}/api-keys", headers=admin.who.headers, json={"name": "dashboard"})
    headers = {"X-API-Key": made.json()["data"]["key"]}
    answer = await client.post("/api/v1/admin/users", headers=headers, json={"email": "ada@example.com", "password": PASSWORD})
    error_of(answer, 403, "FORBIDDEN")


async def test_an_admin_opens_and_closes_it_while_people_come(client: httpx.AsyncClient, admin: Admin) -> None:
    await admin.data("PUT", "/config", json={"registration": "open"})
    assert (await register(client, "early@example.com")).status_code == 201
    await admin.data("PUT", "/config", json={"registration": None})
    error_of(await register(client, "late@example.com"), 403, "REGISTRATION_CLOSED")


@pytest.mark.usefixtures("shell")
async def test_the_command_makes_an_account(client: httpx.AsyncClient) -> None:
    made = await asyncio.to_thread(invoke, "user", "create", "--email", "Ada@Example.com", "--password-stdin", typed=f"{PASSWORD}\n")
    assert made.exit_code == 0, made.output
    assert "Made the account ada@example.com" in made.stdout
    assert PASSWORD not in made.output
    session = await log_in(client, "ada@example.com")
    assert session.json()["data"]["user"]["role"] == "user"


@pytest.mark.usefixtures("shell")
def test_the_command_changes_no_account_that_is_there() -> None:
    arguments = ("user", "create", "--email", KNOWN, "--password-stdin")
    assert invoke(*arguments, typed=f"{PASSWORD}\n").exit_code == 0
    again = invoke(*arguments, typed=f"{NEW_PASSWORD}\n")
    assert again.exit_code == 1
    assert again.stderr.splitlines()[-1] == f"There is an account {KNOWN} already"
