"""Nobody reaches what is somebody else's, and nobody gets in without a good credential: tried at every endpoint that the app has."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from store.models.user import ADMIN
from tests.api.accounts import change_user
from tests.api.inference import FakeInference
from tests.api.isolation import (
    ADMIN_PREFIX,
    ENDPOINTS,
    MAKERS,
    PROTECTED,
    PUBLIC,
    WITH_IDS,
    House,
    address_of,
    bad_credentials_of,
    bodies_of,
    job_of,
    sample_of,
    settings_in,
)
from tests.api.rooms import caller
from tests.api.support import error_of, make_app, running

in_module_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    inference = FakeInference()
    app = make_app(settings_in(tmp_path_factory.mktemp("isolation")), inference_transport=inference.transport)
    async with running(app) as client:
        # What nobody works at does not change between two looks.
        await app.state.rooms.worker.stop(0)
        owner, stranger, admin, disabled = [await caller(client, app, inference) for _ in range(4)]
        await change_user(app, admin.who.id, role=ADMIN)
        await change_user(app, disabled.who.id, is_active=False)
        bodies = bodies_of((await client.get("/openapi.json")).json())
        yield House(app, owner, stranger, admin, bodies, await bad_credentials_of(owner), disabled.who.headers)


def test_every_public_endpoint_is_there() -> None:
    assert set(ENDPOINTS) >= PUBLIC, "take what is gone off the list"


def test_there_is_something_to_try() -> None:
    assert len(PROTECTED) > 60
    assert len(WITH_IDS) > 30


@pytest.mark.parametrize("endpoint", WITH_IDS)
@in_module_loop
async def test_what_is_somebody_elses_is_not_there(house: House, endpoint: str) -> None:
    method, path = endpoint.split()
    theirs = await address_of(endpoint, house.owner)
    nobodys = re.sub(r"{\w+}", "none", path)
    before = await house.rows()
    refused = await house.stranger.client.request(method, theirs, headers=house.stranger.who.headers, **house.body(endpoint))
    absent = await house.stranger.client.request(method, nobodys, headers=house.stranger.who.headers, **house.body(endpoint))
    expected = 403 if path.startswith(ADMIN_PREFIX) else 404
    assert (refused.status_code, absent.status_code) == (expected, expected), refused.text
    if method != "HEAD":
        said, said_of_nothing = error_of(refused, expected, code_of(refused)), error_of(absent, expected, code_of(absent))
        assert {**said, "timestamp": ""} == {**said_of_nothing, "timestamp": ""}, "it must not show that there is such a thing"
        assert code_of(refused) == "FORBIDDEN" if expected == 403 else code_of(refused).endswith("_NOT_FOUND")
        assert code_of(refused) != "ROUTE_NOT_FOUND"
    assert await house.rows() == before
    # The same request of whoever may make it finds the thing, even if it cannot be done: what was refused was refused for the right reason.
    entitled = house.admin if path.startswith(ADMIN_PREFIX) else house.owner
    granted = await entitled.client.request(method, theirs, headers=entitled.who.headers, **house.body(endpoint))
    assert granted.status_code not in {401, 403, 404, 500}, granted.text
    assert granted.status_code != 400 or code_of(granted) != "VALIDATION_ERROR", granted.text


def code_of(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


@pytest.mark.parametrize("kind", ["sample_id", "reference"])
@in_module_loop
async def test_no_file_under_another_kind_of_id(house: House, kind: str) -> None:
    file_id = await sample_of(house.owner) if kind == "sample_id" else f"reference_{await house.owner.voice()}"
    for method, path, body in (
        ("GET", f"/files/audio/{file_id}", {}),
        ("HEAD", f"/files/audio/{file_id}", {}),
        ("GET", f"/files/{file_id}/info", {}),
        ("POST", f"/files/{file_id}/link", {"json": {}}),
    ):
        assert (await house.stranger.ask(method, path, **body)).status_code == 404, path
        assert (await house.owner.ask(method, path, **body)).status_code == 200, path


@in_module_loop
async def test_ids_in_bodies_and_queries_are_looked_at_too(house: House) -> None:
    sample, clone, job = await sample_of(house.owner), await house.owner.voice(), await job_of(house.owner)
    before = await house.rows()
    for method, path, request in (
        ("POST", "/voice/clones", {"json": {"name": "Stolen", "sample_ids": [sample]}}),
        ("POST", "/voice/clones/similar", {"json": {"id": sample}}),
        ("POST", "/voice/clones/similar", {"json": {"id": clone}}),
        ("POST", "/job", {"json": {"text_content": "Hello.", "voice_model_id": clone}}),
    ):
        assert (await house.stranger.refused(method, path, **request))[0] == 404, path
    assert await house.stranger.refused("GET", f"/job?user_id={house.owner.who.id}") == (403, "FORBIDDEN")
    assert await house.stranger.data("GET", f"/job?voice_model_id={clone}") == []
    assert await house.stranger.data("GET", f"/voice/models?owner={house.owner.who.id}") == []
    assert await house.stranger.data("GET", "/job?text_search=secret") == []
    assert (await house.stranger.ask("DELETE", f"/job/{job}?user_id={house.owner.who.id}")).status_code == 404
    assert await house.rows() == before


LISTS = [name for name in PROTECTED if name.startswith("GET ") and "{" not in name and ADMIN_PREFIX not in name]


@pytest.mark.parametrize("endpoint", LISTS)
@in_module_loop
async def test_no_list_names_what_is_somebody_elses(house: House, endpoint: str) -> None:
    theirs = {house.owner.who.id, house.owner.who.email}
    theirs |= {await make(house.owner) for make in MAKERS.values()}
    answer = await house.stranger.client.get(endpoint.split()[1], headers=house.stranger.who.headers, params={"limit": 100})
    assert answer.status_code == 200, answer.text
    assert not [each for each in theirs if each in answer.text]


@pytest.mark.parametrize("endpoint", PROTECTED)
@in_module_loop
async def test_no_credential_that_is_not_good_gets_in(house: House, endpoint: str) -> None:
    method, template = endpoint.split()
    path = await address_of(endpoint, house.owner)
    before = await house.rows()
    for headers, status, code in house.bad_credentials:
        await refused(house, method, path, headers, status, code)
    await refused(house, method, path, house.disabled, 403, "ACCOUNT_DISABLED")
    if template.startswith(ADMIN_PREFIX) and method != "OPTIONS":
        await refused(house, method, path, house.owner.who.headers, 403, "FORBIDDEN")
    assert await house.rows() == before


CHANGING = [name for name in PROTECTED if name.split()[0] in {"POST", "PUT", "PATCH", "DELETE"}]


@pytest.mark.parametrize("endpoint", CHANGING)
@in_module_loop
async def test_a_key_to_read_with_changes_nothing(house: House, endpoint: str) -> None:
    path = await address_of(endpoint, house.owner)
    made = await house.owner.data("POST", "/auth/api-keys", json={"name": "reader", "scopes": ["read"]})
    before = await house.rows()
    await refused(house, endpoint.split(maxsplit=1)[0], path, {"X-API-Key": made["key"]}, 403, "FORBIDDEN")
    after = await house.rows()
    for rows in (before, after):
        del rows["api_keys"]  # which says when it was used
    assert after == before


async def refused(house: House, method: str, path: str, headers: dict[str, str], status: int, code: str) -> None:
    answer = await house.owner.client.request(method, path, headers=headers)
    if method == "HEAD":
        assert answer.status_code == status
        return
    error_of(answer, status, code)
    said = json.dumps(answer.json())
    assert house.owner.who.id not in said
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
