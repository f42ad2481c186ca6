"""What admins see of accounts and change about them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import select

from api.admin.schemas import UserChange
from api.auth.operators import issue_service_token
from api.auth.tokens import Tokens, signing_secret
from api.errors import ConflictError
from settings import Settings
from store.clock import utcnow
from store.models import Job, User
from store.models.user import ADMIN
from tests.api.accounts import NewUser, change_user, is_open, log_in
from tests.api.rooms import Caller
from tests.api.support import AUTH, Logs, SignedIn, error_of, sign_up

API = "/api/v1/admin"
PROFILE = f"{AUTH}/profile"


@dataclass(frozen=True)
class Admin:
    """An admin, who speaks to the API by paths below `/admin`."""

    client: httpx.AsyncClient
    who: SignedIn

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        return await self.client.request(method, f"{API}{path}", headers=self.who.headers, **request)

    async def data(self, method: str, path: str, **request: Any) -> Any:
        answer = await self.ask(method, path, **request)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    async def change(self, user: SignedIn, **what: Any) -> httpx.Response:
        return await self.ask("PATCH", f"/users/{user.id}", json=what)


async def new_admin(client: httpx.AsyncClient, app: Litestar, email: str) -> Admin:
    who = await sign_up(client, email)
    await change_user(app, who.id, role=ADMIN)
    return Admin(client, who)


@pytest.fixture
async def admin(client: httpx.AsyncClient, app: Litestar) -> Admin:
    return await new_admin(client, app, "root@example.com")


EVERYTHING = [
    ("GET", "/stats"), ("GET", "/users"), ("POST", "/users"), ("GET", "/users/user_1"), ("PATCH", "/users/user_1"),
    ("GET", "/config"), ("PUT", "/config"), ("GET", "/audit"),
]  # fmt: skip


async def test_nobody_else_may(client: httpx.AsyncClient, user: NewUser, app: Litestar, settings: Settings, admin: Admin) -> None:
    person = await user()
    tokens = Tokens(signing_secret(settings), access_ttl_s=600, refresh_ttl_s=600)
    service = {"Authorization": f"Bearer {await issue_service_token(app.state.stores.database, tokens, 'indexer', 1)}"}
    for method, path in EVERYTHING:
        error_of(await client.request(method, f"{API}{path}"), 401, "UNAUTHORIZED")
        for headers in (person.headers, service):
            error_of(await client.request(method, f"{API}{path}", headers=headers, json={}), 403, "FORBIDDEN")
    await change_user(app, admin.who.id, role="user")
    error_of(await admin.ask("GET", "/stats"), 403, "FORBIDDEN")


async def test_a_key_of_an_admin_reads_and_changes_nothing(client: httpx.AsyncClient, admin: Admin, user: NewUser) -> None:
    person = await user()
    made = await client.post(f"{AUTH}/api-keys", headers=admin.who.headers, json={"name": "dashboard"})
    key = {"X-API-Key": made.json()["data"]["key"]}
    assert (await client.get(f"{API}/stats", headers=key)).status_code == 200
    error_of(await client.patch(f"{API}/users/{person.id}", headers=key, json={"is_active": False}), 403, "FORBIDDEN")
    error_of(await client.put(f"{API}/config", headers=key, json={"jobs_per_day": 1}), 403, "FORBIDDEN")


async def test_accounts_are_found_and_paged(client: httpx.AsyncClient, admin: Admin, app: Litestar) -> None:
    people = [await sign_up(client, f"{name}@example.com") for name in ("ada", "bob", "a_a")]
    await change_user(app, people[1].id, is_active=False, first_name="Ada's friend")

    async def emails(query: str) -> list[str]:
        return [each["email"].partition("@")[0] for each in await admin.data("GET", f"/users?{query}")]

    assert await emails("sort_by=email&sort_order=asc") == ["a_a", "ada", "bob", "root"]
    assert await emails("role=admin") == ["root"]
    assert await emails("is_active=false") == ["bob"]
    assert await emails("search=ADA&sort_by=email&sort_order=asc") == ["ada", "bob"]
    assert await emails("search=_") == ["a_a"], "no pattern"
    page = await admin.ask("GET", "/users?limit=3&offset=3&sort_by=email&sort_order=asc")
    assert [each["email"] for each in page.json()["data"]] == ["root@example.com"]
    assert page.json()["meta"]["pagination"]["total_count"] == 4
    for wrong in ("limit=101", "sort_by=password_hash", "role=king", "is_active=perhaps"):
        error_of(await admin.ask("GET", f"/users?{wrong}"), 400, "VALIDATION_ERROR")
    assert "password" not in page.text
    error_of(await admin.ask("GET", "/users/user_none"), 404, "USER_NOT_FOUND")


async def test_limits_of_one_account(admin: Admin, user: NewUser, client: httpx.AsyncClient) -> None:
    person = await user()
    before = await admin.data("GET", f"/users/{person.id}")
    assert before["user"]["limits"] == dict.fromkeys(("requests_per_minute", "samples_per_day", "jobs_per_day", "storage_bytes"))
    assert before["usage"]["jobs"]["limit"] == 100
    changed = (await admin.change(person, limits={"jobs_per_day": 7, "storage_bytes": 0})).json()["data"]
    assert changed["user"]["limits"] == {"requests_per_minute": None, "samples_per_day": None, "jobs_per_day": 7, "storage_bytes": 0}
    own = (await client.get(f"{AUTH}/usage", headers=person.headers)).json()["data"]
    assert (own["jobs"]["limit"], own["storage"]["limit"], own["samples"]["limit"]) == (7, 0, 50)
    again = (await admin.change(person, limits={"jobs_per_day": None})).json()["data"]
    assert (again["user"]["limits"]["jobs_per_day"], again["user"]["limits"]["storage_bytes"]) == (None, 0)
    assert again["usage"]["jobs"]["limit"] == 100


REFUSED: list[dict[str, Any]] = [
    {}, {"role": "service"}, {"role": None}, {"is_active": "no"}, {"is_active": 0}, {"email": "x@example.com"}, {"limits": None},
    {"limits": {"jobs_per_day": -1}}, {"limits": {"requests_per_minute": 0}}, {"limits": {"storage_bytes": 2**61}},
    {"limits": {"jobs_per_day": "5"}}, {"limits": {"jobs": 5}}, {"limits": {"jobs_per_day": 1.5}},
]  # fmt: skip


async def test_what_cannot_be_set_is_refused(admin: Admin, user: NewUser) -> None:
    person = await user()
    for wanted in REFUSED:
        error_of(await admin.change(person, **wanted), 400, "VALIDATION_ERROR")
    assert await admin.data("GET", "/audit") == []


async def test_disabling_ends_sessions_and_keys_at_once_and_enabling_brings_none_back(
    client: httpx.AsyncClient, admin: Admin, user: NewUser
) -> None:
    person = await user()
    made = await client.post(f"{AUTH}/api-keys", headers=person.headers, json={"name": "kept"})
    key = {"X-API-Key": made.json()["data"]["key"]}
    disabled = await admin.change(person, is_active=False)
    assert disabled.json()["data"]["user"]["is_active"] is False
    error_of(await client.get(PROFILE, headers=person.headers), 403, "ACCOUNT_DISABLED")
    error_of(await client.get(PROFILE, headers=key), 401, "INVALID_TOKEN")
    error_of(await log_in(client, person.email), 403, "ACCOUNT_DISABLED")
    assert (await admin.change(person, is_active=True)).status_code == 200
    assert not await is_open(client, person)
    error_of(await client.get(PROFILE, headers=key), 401, "INVALID_TOKEN")
    assert (await log_in(client, person.email)).status_code == 200


async def test_roles_are_given_and_taken(client: httpx.AsyncClient, admin: Admin, user: NewUser) -> None:
    person = await user()
    await admin.change(person, role="admin")
    other = Admin(client, person)
    assert (await other.ask("GET", "/stats")).status_code == 200
    assert (await other.change(admin.who, role="user")).json()["data"]["user"]["role"] == "user"
    error_of(await admin.ask("GET", "/stats"), 403, "FORBIDDEN")


async def test_no_admin_is_lost(client: httpx.AsyncClient, admin: Admin, app: Litestar) -> None:
    for what in ({"is_active": False}, {"role": "user"}, {"role": "user", "limits": {"jobs_per_day": 1}}):
        error_of(await admin.change(admin.who, **what), 409, "OWN_ACCOUNT")
    other = await new_admin(client, app, "second@example.com")
    error_of(await admin.change(admin.who, role="user"), 409, "OWN_ACCOUNT")
    assert (await admin.change(admin.who, limits={"jobs_per_day": 1})).status_code == 200, "all else they may"
    answers = await asyncio.gather(admin.change(other.who, role="user"), other.change(admin.who, is_active=False))
    assert sorted(answer.status_code for answer in answers) in ([200, 403], [200, 409])
    assert len([each for each in await _admins(app) if each]) == 1


async def _admins(app: Litestar) -> list[bool]:
    async with app.state.stores.database.read() as session:
        return list(await session.scalars(select(User.is_active).where(User.role == ADMIN)))


async def test_one_who_was_stopped_meanwhile_changes_nothing(admin: Admin, user: NewUser, app: Litestar) -> None:
    """The credential was looked at before; the change asks again."""
    person = await user()
    with pytest.raises(ConflictError) as refused:
        await app.state.admin.change_user(person.id, admin.who.id, UserChange(role="user"), "req_1")
    assert refused.value.code == "NO_LONGER_ADMIN"
    with pytest.raises(ConflictError):
        await app.state.admin.change_config(person.id, {"jobs_per_day": 1}, "req_1")
    assert await admin.data("GET", "/audit") == []


async def test_the_role_of_a_service_stays(admin: Admin, app: Litestar, settings: Settings) -> None:
    tokens = Tokens(signing_secret(settings), access_ttl_s=600, refresh_ttl_s=600)
    token = await issue_service_token(app.state.stores.database, tokens, "indexer", 1)
    (service,) = await admin.data("GET", "/users?role=service")
    answer = await admin.ask("PATCH", f"/users/{service['id']}", json={"role": "admin"})
    error_of(answer, 409, "SERVICE_ACCOUNT")
    assert (await admin.ask("PATCH", f"/users/{service['id']}", json={"is_active": False})).status_code == 200
    answer = await admin.client.get(PROFILE, headers={"Authorization": f"Bearer {token}"})
    error_of(answer, 403, "ACCOUNT_DISABLED")


async def test_what_was_changed_is_written_down(admin: Admin, user: NewUser, logs: Logs) -> None:
    person = await user()
    await admin.change(person, is_active=True)
    assert await admin.data("GET", "/audit") == [], "nothing changed"
    answer = await admin.change(person, is_active=False, limits={"jobs_per_day": 3})
    await admin.change(person, role="admin")
    newest, oldest = await admin.data("GET", "/audit")
    assert oldest["before"] == {"is_active": True, "limit_jobs_per_day": None}
    assert oldest["after"] == {"is_active": False, "limit_jobs_per_day": 3}
    assert (oldest["actor_id"], oldest["subject"], oldest["action"]) == (admin.who.id, person.id, "user.change")
    assert oldest["request_id"] == answer.headers["x-request-id"]
    assert newest["after"] == {"role": "admin"}
    assert person.email not in logs.text
    for query, found in ((f"subject={person.id}", 2), ("subject=config", 0), ("action=config.change", 0), ("actor_id=user_none", 0)):
        assert len(await admin.data("GET", f"/audit?{query}")) == found
    page = await admin.ask("GET", "/audit?limit=1&sort_order=asc")
    assert [each["id"] for each in page.json()["data"]] == [oldest["id"]]
    assert page.json()["meta"]["pagination"]["total_count"] == 2


async def test_numbers_about_the_platform(admin: Admin, me: Caller, app: Litestar) -> None:
    voice = await me.voice(reference_size=70)
    sample = await me.upload()
    await me.until(f"/voice/samples/{sample['sample_id']}", "ready")
    await me.job_row(voice_model_id=voice, output_size=30, output_path="jobs/x/1.wav")
    await me.job_row(voice_model_id=voice, status="failed")
    await app.state.rooms.worker.stop(0)
    now = utcnow()
    for due in (now - timedelta(seconds=100), now + timedelta(seconds=3600)):
        await me.add(Job(id=f"job_{due.timestamp():.0f}", user_id=me.who.id, text_content="Hello.", available_at=due))
    await change_user(app, me.who.id, is_active=False)
    stats = await admin.data("GET", "/stats")
    assert stats["users"] == {"total": 2, "active": 1, "by_role": {"admin": 1, "user": 1}}
    assert stats["jobs"]["by_status"] == {"completed": 1, "failed": 1, "pending": 2}
    assert stats["jobs"]["total"] == 4
    assert stats["jobs"]["background"]["sample_processing"] == {"completed": 1}
    assert (stats["queue"]["depth"], stats["queue"]["due"], stats["queue"]["running"]) == (2, 1, 0)
    assert 100 <= stats["queue"]["oldest_age_s"] < 160
    assert (stats["storage"]["clones"], stats["storage"]["speech"]) == (70, 30)
    assert stats["storage"]["samples"] > sample["size"]
    assert stats["storage"]["total"] == stats["storage"]["samples"] + 100
    assert (stats["samples"], stats["clones"]) == ({"ready": 1}, {"ready": 1})
    assert stats["inference"] == {"status": "ready"}
    me.inference.faults["/readyz"] = lambda _: httpx.Response(503, json={})
    assert (await admin.data("GET", "/stats"))["inference"] == {"status": "unavailable"}


async def test_numbers_of_an_empty_platform(admin: Admin) -> None:
    stats = await admin.data("GET", "/stats")
    assert stats["queue"] == {"depth": 0, "due": 0, "running": 0, "oldest_age_s": None}
    assert stats["storage"] == {"total": 0, "samples": 0, "clones": 0, "speech": 0}
