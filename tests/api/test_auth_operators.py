"""Roles, service tokens, and the commands that make them."""

from __future__ import annotations

import time

import httpx
import pytest
from litestar import Litestar, get
from typer.testing import CliRunner, Result

from api.auth.guards import require_role
from api.auth.operators import OperatorError, issue_service_token, make_admin, revoke_service_tokens
from api.auth.remembered import REMEMBERED_S
from api.auth.tokens import Tokens, signing_secret
from api.cli import app as command
from settings import Settings
from store.models.user import ADMIN, SERVICE
from store.repositories.users import UserRepository
from tests.api.accounts import NEW_PASSWORD, NewUser, change_user, is_open, log_in
from tests.api.inference import FakeInference
from tests.api.support import AUTH, PASSWORD, error_of, make_app, quick_passwords, running

ADMIN_ONLY, FOR_SERVICES = "/api/v1/admin-only", "/api/v1/for-services"
PROFILE = f"{AUTH}/profile"


@get("/admin-only", guards=[require_role(ADMIN)], sync_to_thread=False)
def admin_only() -> str:
    return "welcome"


@get("/for-services", guards=[require_role(SERVICE, ADMIN)], sync_to_thread=False)
def for_services() -> str:
    return "welcome"


@pytest.fixture
def app(settings: Settings, inference: FakeInference) -> Litestar:
    return make_app(settings, admin_only, for_services, inference_transport=inference.transport)


@pytest.fixture
def tokens(settings: Settings) -> Tokens:
    return Tokens(signing_secret(settings), access_ttl_s=60, refresh_ttl_s=60)


@pytest.fixture
async def service(client: httpx.AsyncClient, app: Litestar, tokens: Tokens) -> dict[str, str]:
    """The headers of a service."""
    token = await issue_service_token(app.state.stores.database, tokens, "indexer", 30)
    return {"Authorization": f"Bearer {token}"}


async def test_a_role_counts_at_once(client: httpx.AsyncClient, user: NewUser, app: Litestar) -> None:
    person = await user()
    error_of(await client.get(ADMIN_ONLY), 401, "UNAUTHORIZED")
    error_of(await client.get(ADMIN_ONLY, headers=person.headers), 403, "FORBIDDEN")
    await change_user(app, person.id, role=ADMIN)
    assert (await client.get(ADMIN_ONLY, headers=person.headers)).status_code == 200
    await change_user(app, person.id, role="user")
    error_of(await client.get(ADMIN_ONLY, headers=person.headers), 403, "FORBIDDEN")


async def test_a_service_token_is_taken_and_is_no_session(client: httpx.AsyncClient, service: dict[str, str]) -> None:
    assert (await client.get(FOR_SERVICES, headers=service)).status_code == 200
    error_of(await client.get(ADMIN_ONLY, headers=service), 403, "FORBIDDEN")
    me = (await client.get(PROFILE, headers=service)).json()["data"]["user"]
    assert (me["role"], me["email"]) == ("service", "service:indexer")
    error_of(await client.post(f"{AUTH}/refresh", headers=service), 401, "INVALID_TOKEN")
    for path in ("logout", "logout-all", "api-keys"):
        error_of(await client.post(f"{AUTH}/{path}", headers=service, json={"name": "x"}), 403, "FORBIDDEN")


async def test_the_account_of_a_service_can_be_disabled(
    client: httpx.AsyncClient, app: Litestar, tokens: Tokens, service: dict[str, str]
) -> None:
    user_id = (await client.get(PROFILE, headers=service)).json()["data"]["user"]["id"]
    await change_user(app, user_id, is_active=False)
    error_of(await client.get(FOR_SERVICES, headers=service), 403, "ACCOUNT_DISABLED")
    with pytest.raises(OperatorError, match="disabled"):
        await issue_service_token(app.state.stores.database, tokens, "indexer", 1)


async def test_revoking_ends_the_tokens_of_one_service(
    client: httpx.AsyncClient, app: Litestar, tokens: Tokens, service: dict[str, str]
) -> None:
    database = app.state.stores.database
    other = {"Authorization": f"Bearer {await issue_service_token(database, tokens, 'reporter', 1)}"}
    await revoke_service_tokens(database, "indexer")
    error_of(await client.get(FOR_SERVICES, headers=service), 401, "INVALID_TOKEN")
    assert (await client.get(FOR_SERVICES, headers=other)).status_code == 200
    again = {"Authorization": f"Bearer {await issue_service_token(database, tokens, 'indexer', 1)}"}
    assert (await client.get(FOR_SERVICES, headers=again)).status_code == 200
    with pytest.raises(OperatorError):
        await revoke_service_tokens(database, "nobody")


async def test_nobody_signs_in_as_a_service(client: httpx.AsyncClient, service: dict[str, str]) -> None:
    for password in ("!", PASSWORD):
        error_of(await log_in(client, "service:indexer", password), 401, "INVALID_CREDENTIALS")
    asked = await client.post(f"{AUTH}/forgot-password", json={"email": "service:indexer"})
    error_of(asked, 400, "INVALID_EMAIL")
    squatter = await client.post(f"{AUTH}/register", json={"email": "service:other", "password": PASSWORD})
    error_of(squatter, 400, "INVALID_EMAIL")


async def test_whoever_registered_the_address_first_does_not_become_the_admin(
    client: httpx.AsyncClient, user: NewUser, app: Litestar
) -> None:
    squatter = await user()
    made = await client.post(f"{AUTH}/api-keys", headers=squatter.headers, json={"name": "kept"})
    admin, is_new = await make_admin(app.state.stores.database, quick_passwords(), squatter.email, NEW_PASSWORD)
    assert (admin.id, is_new) == (squatter.id, False)
    assert not await is_open(client, squatter)
    error_of(await client.get(PROFILE, headers={"X-API-Key": made.json()["data"]["key"]}), 401, "INVALID_TOKEN")
    error_of(await log_in(client, squatter.email, PASSWORD), 401, "INVALID_CREDENTIALS")
    session = (await log_in(client, squatter.email, NEW_PASSWORD)).json()["data"]
    welcome = await client.get(ADMIN_ONLY, headers={"Authorization": f"Bearer {session['access_token']}"})
    assert welcome.status_code == 200


@pytest.fixture
def shell(settings: Settings, monkeypatch: pytest.MonkeyPatch, logs: object) -> None:
    """The environment of an operator, on the data of the app."""
    monkeypatch.chdir(settings.data_dir.parent)
    monkeypatch.setenv("VOXIFY_ENV", "dev")
    monkeypatch.setenv("VOXIFY_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("VOXIFY_DATABASE_URL", settings.database_url)


def invoke(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(command, list(arguments), input=typed)


@pytest.mark.usefixtures("shell")
async def test_the_commands_and_the_api_agree(settings: Settings, app: Litestar) -> None:
    import asyncio

    made = await asyncio.to_thread(invoke, "admin", "create", "--email", "Root@Example.com", "--password-stdin", typed=f"{PASSWORD}\n")
    assert made.exit_code == 0, made.output
    assert "Made the admin root@example.com" in made.stdout
    assert PASSWORD not in made.output
    issued = await asyncio.to_thread(invoke, "token", "service", "--name", "indexer", "--days", "1")
    assert issued.exit_code == 0, issued.output
    token = issued.stdout.strip()
    async with running(app) as client:
        session = (await log_in(client, "root@example.com")).json()["data"]
        assert session["user"]["role"] == "admin"
        welcome = await client.get(ADMIN_ONLY, headers={"Authorization": f"Bearer {session['access_token']}"})
        assert welcome.status_code == 200
        assert (await client.get(FOR_SERVICES, headers={"Authorization": f"Bearer {token}"})).status_code == 200
        revoked = await asyncio.to_thread(invoke, "token", "revoke", "--name", "indexer")
        assert revoked.exit_code == 0
        # The command has a database of its own, as another process would: what it changes counts here within a second.
        give_up = time.monotonic() + 10 * REMEMBERED_S
        while (answer := await client.get(FOR_SERVICES, headers={"Authorization": f"Bearer {token}"})).is_success:
            assert time.monotonic() < give_up
        error_of(answer, 401, "INVALID_TOKEN")
        async with app.state.stores.database.read() as reading:
            assert await UserRepository(reading).by_email("service:indexer") is not None


@pytest.mark.usefixtures("shell")
def test_a_typed_password_is_asked_for_twice_and_not_shown() -> None:
    made = invoke("admin", "create", "--email", "root@example.com", typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert made.exit_code == 0, made.output
    assert PASSWORD not in made.output


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize(
    ("arguments", "typed", "said"),
    [
        (("admin", "create", "--email", "root@example.com", "--password-stdin"), "short\n", "password"),
        (("admin", "create", "--email", "root@example.com", "--password-stdin"), "", "password"),
        (("admin", "create", "--email", "nobody", "--password-stdin"), f"{PASSWORD}\n", "email"),
        (("token", "service", "--name", "Not A Name"), "", "name of a service"),
        (("token", "revoke", "--name", "nobody"), "", "no service nobody"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], typed: str, said: str) -> None:
    refused = invoke(*arguments, typed=typed)
    assert refused.exit_code == 1
    assert said in refused.stderr
    assert "Traceback" not in refused.output


@pytest.mark.usefixtures("shell")
def test_a_token_without_a_secret_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXIFY_ENV", "prod")
    refused = invoke("token", "service", "--name", "indexer")
    assert refused.exit_code == 2
    assert "VOXIFY_JWT_SECRET" in refused.stderr
