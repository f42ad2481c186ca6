"""The way back in when a password is forgotten."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import text

from settings import Settings
from store.repositories.users import UserRepository
from tests.api.accounts import (
    NEW_PASSWORD,
    WRONG_PASSWORD,
    NewUser,
    another_session,
    change_user,
    is_open,
    later,
    log_in,
    mails,
    reset_tokens,
)
from tests.api.support import AUTH, PASSWORD, Logs, error_of


async def forgot(client: httpx.AsyncClient, email: str) -> httpx.Response:
    return await client.post(f"{AUTH}/forgot-password", json={"email": email})


async def reset(client: httpx.AsyncClient, token: str, password: str = NEW_PASSWORD) -> httpx.Response:
    return await client.post(f"{AUTH}/reset-password", json={"token": token, "password": password})


async def test_a_mailed_token_sets_a_new_password_and_ends_all_sessions(
    client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings
) -> None:
    person = await user()
    other = await another_session(client, person)
    assert (await forgot(client, person.email.upper())).status_code == 200
    (mail,) = await mails(app, settings)
    assert mail["to"] == person.email
    assert "15 minutes" in mail.get_content()
    (token,) = await reset_tokens(app, settings)
    assert (await reset(client, token)).status_code == 200
    assert not await is_open(client, person)
    assert not await is_open(client, other)
    error_of(await log_in(client, person.email), 401, "INVALID_CREDENTIALS")
    assert (await log_in(client, person.email, NEW_PASSWORD)).status_code == 200


async def test_the_answer_is_the_same_for_an_unknown_address(
    client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings
) -> None:
    person = await user()
    known, unknown = await forgot(client, person.email), await forgot(client, "nobody@example.com")
    assert known.status_code == unknown.status_code == 200
    bodies = [{name: value for name, value in answer.json().items() if name != "timestamp"} for answer in (known, unknown)]
    assert bodies[0] == bodies[1]
    assert [mail["to"] for mail in await mails(app, settings)] == [person.email]


async def test_the_answer_does_not_wait_for_anything_that_depends_on_the_account(
    client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await user()
    go_on = asyncio.Event()
    look = UserRepository.by_email

    async def when_told(repository: UserRepository, email: str) -> object:
        await go_on.wait()
        return await look(repository, email)

    monkeypatch.setattr(UserRepository, "by_email", when_told)
    async with asyncio.timeout(60):
        assert (await forgot(client, person.email)).status_code == 200
    assert not list(settings.outbox_dir.glob("*"))
    go_on.set()
    assert len(await mails(app, settings)) == 1


async def test_a_token_is_good_once_and_takes_the_others_with_it(
    client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings
) -> None:
    person = await user()
    for _ in range(2):
        await forgot(client, person.email)
    first, second = await reset_tokens(app, settings)
    answers = await asyncio.gather(*(reset(client, first) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400]
    for token in (first, second, "made-up"):
        error_of(await reset(client, token), 400, "INVALID_TOKEN")


async def test_a_token_ends_after_fifteen_minutes(
    client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await user()
    await forgot(client, person.email)
    (token,) = await reset_tokens(app, settings)
    later(monkeypatch, "api.auth.account", minutes=15, seconds=1)
    error_of(await reset(client, token), 400, "TOKEN_EXPIRED")
    later(monkeypatch, "api.auth.account", minutes=14)
    assert (await reset(client, token)).status_code == 200


async def test_a_weak_password_does_not_use_the_token_up(
    client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings
) -> None:
    await forgot(client, (await user()).email)
    (token,) = await reset_tokens(app, settings)
    error_of(await reset(client, token, "short"), 400, "WEAK_PASSWORD")
    assert (await reset(client, token)).status_code == 200


async def test_only_the_hash_of_a_token_is_stored_and_nothing_is_logged(
    client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings, logs: Logs
) -> None:
    person = await user()
    await forgot(client, person.email)
    (token,) = await reset_tokens(app, settings)
    async with app.state.stores.database.read() as session:
        (row,) = (await session.execute(text("SELECT * FROM password_resets"))).all()
    assert token not in str(row)
    assert person.id in row
    await reset(client, token)
    assert token not in logs.text
    assert person.email not in logs.text
    assert NEW_PASSWORD not in logs.text
    assert str(settings.outbox_dir) in logs.text, "the log says where the mail is"


async def test_a_disabled_account_gets_no_mail_and_no_new_password(
    client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings
) -> None:
    person = await user()
    await forgot(client, person.email)
    (token,) = await reset_tokens(app, settings)
    await change_user(app, person.id, is_active=False)
    assert (await forgot(client, person.email)).status_code == 200
    assert len(await mails(app, settings)) == 1
    error_of(await reset(client, token), 403, "ACCOUNT_DISABLED")
    await change_user(app, person.id, is_active=True)
    assert (await log_in(client, person.email)).status_code == 200, "the old password still holds"


async def test_nobodys_mailbox_is_flooded(client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings) -> None:
    person = await user()
    for _ in range(settings.reset_mails + 2):
        assert (await forgot(client, person.email)).status_code == 200
    assert len(await mails(app, settings)) == settings.reset_mails


async def test_a_reset_lets_in_whoever_was_throttled(client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings) -> None:
    person = await user()
    for _ in range(settings.login_failures):
        await log_in(client, person.email, WRONG_PASSWORD)
    error_of(await log_in(client, person.email, PASSWORD), 429, "RATE_LIMITED")
    await forgot(client, person.email)
    (token,) = await reset_tokens(app, settings)
    await reset(client, token)
    assert (await log_in(client, person.email, NEW_PASSWORD)).status_code == 200


@pytest.mark.parametrize(("body", "code"), [({}, "MISSING_FIELDS"), ({"email": "nobody"}, "INVALID_EMAIL")])
async def test_forgot_password_names_what_is_wrong(client: httpx.AsyncClient, body: dict[str, str], code: str) -> None:
    error_of(await client.post(f"{AUTH}/forgot-password", json=body), 400, code)


async def test_the_link_of_a_web_client_is_mailed(client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings) -> None:
    page = "https://voice.example.com/reset?token={token}"
    app.state.rooms.shop.runner.handlers["mail"].settings = settings.model_copy(update={"password_reset_url": page})
    await forgot(client, (await user()).email)
    (mail,) = await mails(app, settings)
    link = next(line for line in mail.get_content().splitlines() if line.startswith("https://"))
    assert (await reset(client, link.partition("=")[2])).status_code == 200
