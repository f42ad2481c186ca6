"""Queries that no client means are refused, and never half understood."""

from __future__ import annotations

import httpx
import pytest

from tests.api.rooms import Caller
from tests.api.support import AUTH, error_of


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/job?limit=5&limit=6", "limit"),
        ("/job?status=failed&status=failed", "status"),
        ("/voice/samples?search=a&search=b", "search"),
    ],
)
async def test_a_parameter_that_is_given_twice(me: Caller, path: str, field: str) -> None:
    assert error_of(await me.ask("GET", path), 400, "VALIDATION_ERROR")["details"] == {field: "may be given once only"}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/voice/samples?page=null", "page"),
        ("/job?status=null", "status"),
        ("/job?include_text=null", "include_text"),
        ("/voice/models?type=null", "type"),
        ("/voice/models?is_favorite=null", "is_favorite"),
    ],
)
async def test_null_is_no_number_truth_or_choice(me: Caller, path: str, field: str) -> None:
    assert field in error_of(await me.ask("GET", path), 400, "VALIDATION_ERROR")["details"]


async def test_null_is_a_word(me: Caller) -> None:
    spoken = await me.job_row(text_content="The null device.")
    await me.job_row(text_content="Something else.")
    assert [job["id"] for job in await me.data("GET", "/job?text_search=null")] == [spoken]


async def test_options_names_every_method_of_an_address(me: Caller, client: httpx.AsyncClient) -> None:
    for path, allowed in (
        ("/job", "GET, OPTIONS, POST"),
        (f"/job/{await me.job_row()}", "DELETE, GET, OPTIONS, PATCH, PUT"),
        ("/auth/profile", "GET, OPTIONS, PATCH, PUT"),
        ("/file/synthesis/job_1", "DELETE, GET, HEAD, OPTIONS"),
    ):
        answer = await me.ask("OPTIONS", path)
        assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allowed, b"")
        assert (await client.options(f"/api/v1{path}")).status_code == 401
    assert (await client.options(f"{AUTH}/login")).headers["allow"] == "OPTIONS, POST"
