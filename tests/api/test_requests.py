"""Request ids, the access log, and what no log may hold."""

from __future__ import annotations

import logging as stdlib_logging
from collections.abc import Awaitable, Callable

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from api import logging
from api.request_ids import request_id_of, sane
from tests.api.support import AUTH, PASSWORD, Logs, SignedIn


@pytest.mark.parametrize("path", ["/health/live", "/nope", f"{AUTH}/profile", "/metrics", "/docs", "/openapi.json"])
async def test_every_answer_names_its_request(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path, headers={"X-Request-ID": "my-id.1:2_3"})).headers.get_list("x-request-id") == ["my-id.1:2_3"]
    first, second = [(await client.get(path)).headers["x-request-id"] for _ in range(2)]
    assert first.startswith("req_")
    assert first != second


@pytest.mark.parametrize("given_id", ["", "a b", "a\tb", "ü", "x" * 129, '"', "a,b"])
async def test_an_id_that_is_not_sane_is_replaced(client: httpx.AsyncClient, given_id: str) -> None:
    answer = await client.get("/health/live", headers={"X-Request-ID": given_id.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.headers["x-request-id"].startswith("req_")


@given(st.binary(max_size=200))
def test_whatever_comes_the_id_is_sane_and_stays(raw: bytes) -> None:
    scope = {"headers": [(b"x-request-id", raw)]}
    found = request_id_of(scope)
    assert sane(found)
    assert request_id_of(scope) == found


async def test_one_line_a_request(client: httpx.AsyncClient, user: Callable[[], Awaitable[SignedIn]], logs: Logs) -> None:
    person = await user()
    before = len(logs.lines)
    await client.get(f"{AUTH}/profile?name=Ada", headers=person.headers | {"X-Request-ID": "mine"})
    (line,) = logs.lines[before:]
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("ms") >= 0
    assert line == {
        "event": "request", "level": "info", "logger": "api.access", "method": "GET", "route": f"{AUTH}/profile",
        "status": 200, "request_id": "mine", "user_id": person.id,
    }  # fmt: skip


async def test_the_next_request_does_not_inherit_the_context(
    client: httpx.AsyncClient, user: Callable[[], Awaitable[SignedIn]], logs: Logs
) -> None:
    person = await user()
    await client.get(f"{AUTH}/profile", headers=person.headers)
    await client.get("/nope/with/something/private")
    line = logs.lines[-1]
    assert (line["route"], line["status"], line["user_id"]) == ("unmatched", 404, None)
    assert "private" not in logs.text
    assert structlog.contextvars.get_contextvars() == {}


async def test_no_secret_and_no_address_in_the_log(client: httpx.AsyncClient, logs: Logs) -> None:
    email, wrong = "very.private@example.com", "Wrong-Horse-8!"
    body = {"email": email, "password": PASSWORD, "first_name": "Zebulon"}
    await client.post(f"{AUTH}/register", json=body)
    await client.post(f"{AUTH}/register", json=body)
    await client.post(f"{AUTH}/register", json=body | {"email": "broken@@private", "password": "weakling"})
    await client.post(f"{AUTH}/login", json=body | {"password": wrong})
    session = (await client.post(f"{AUTH}/login", json=body)).json()["data"]
    await client.get(f"{AUTH}/profile?token={session['access_token']}", headers={"Authorization": f"Bearer {session['access_token']}"})
    for _ in range(2):
        await client.post(f"{AUTH}/refresh", json={"refresh_token": session["refresh_token"]})
    assert len(logs.lines) >= 8
    for private in (email, "private", PASSWORD, wrong, "weakling", "Zebulon", "argon2", session["access_token"], session["refresh_token"]):
        assert private not in logs.text


@pytest.mark.parametrize("name", ["uvicorn.error", "alembic.runtime.migration", "anything"])
def test_the_lines_of_libraries_have_the_same_form(logs: Logs, name: str) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        stdlib_logging.getLogger(name).warning("said %s", "so")
    (line,) = logs.lines
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "said so", "level": "warning", "logger": name, "request_id": "r1"}


def test_tracebacks_hold_no_local_variables(logs: Logs) -> None:
    def fails(password: str) -> None:
        raise RuntimeError("broken")

    for form in ("json", "console"):
        logging.configure("INFO", form, logs.stream)
        try:
            fails("hun" + "ter2")
        except RuntimeError:
            structlog.get_logger("x").exception("failed")
    assert logs.text.count("RuntimeError: broken") == 2
    assert "hunter2" not in logs.text


def test_the_level_holds_for_all(logs: Logs) -> None:
    logging.configure("WARNING", "console", logs.stream)
    structlog.get_logger("x").info("quiet")
    stdlib_logging.getLogger("y").info("quiet")
    structlog.get_logger("x").warning("heard")
    assert "quiet" not in logs.text
    assert "heard" in logs.text
