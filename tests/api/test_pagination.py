from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Router, get
from litestar.di import NamedDependency

from api.envelope import Envelope, Meta, ok
from api.errors import ValidationFailedError
from api.openapi import PUBLIC_OPT
from api.pagination import MAX_OFFSET, pagination, paging, window
from settings import Settings
from store.repositories.base import Window
from tests.api.support import error_of, make_app, running

SORTABLE = ("created_at", "name")
ITEMS = list(range(45))


@get("/", dependencies={"window": paging(SORTABLE)})
async def listed(window: NamedDependency[Window]) -> Envelope[list[int]]:
    part = ITEMS[window.offset : window.offset + window.limit]
    return ok(part, "Listed", Meta(pagination=pagination(window, len(ITEMS)), filters={"order": f"{window.sort_by} {window.sort_order}"}))


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(make_app(settings, Router("/list", route_handlers=[listed], opt=PUBLIC_OPT))) as made:
        yield made


async def test_both_ways_of_asking(client: httpx.AsyncClient) -> None:
    wanted = {
        "": (0, 20, "created_at desc"),
        "limit=10&offset=15": (15, 10, "created_at desc"),
        "offset=40": (40, 20, "created_at desc"),
        "page=3&page_size=10": (20, 10, "created_at desc"),
        "page=2": (20, 20, "created_at desc"),
        "page_size=100": (0, 100, "created_at desc"),
        "sort_by=name&sort_order=asc": (0, 20, "name asc"),
        "offset=1000": (1000, 20, "created_at desc"),
    }
    for query, (offset, limit, order) in wanted.items():
        body = (await client.get(f"/api/v1/list?{query}")).json()
        assert body["data"] == ITEMS[offset : offset + limit], query
        assert body["meta"]["filters"] == {"order": order}
        assert body["meta"]["pagination"].keys() == {
            "total_count", "limit", "offset", "has_more", "page", "page_size", "total_pages", "has_next", "has_prev",
        }  # fmt: skip
        assert body["meta"]["pagination"]["offset"] == offset


async def test_bad_values_are_refused_and_named(client: httpx.AsyncClient) -> None:
    wrong = {
        "limit=0": {"limit"},
        "limit=101": {"limit"},
        "limit=ten": {"limit"},
        "limit=": {"limit"},
        "limit=1.5": {"limit"},
        "offset=-1": {"offset"},
        f"offset={10**30}": {"offset"},
        "page=0": {"page"},
        f"page={10**12}": {"page"},
        "page_size=101": {"page_size"},
        "sort_by=password_hash": {"sort_by"},
        "sort_order=up": {"sort_order"},
        "limit=5&page=1": {"page"},
        "offset=5&page=1&page_size=7": {"page", "page_size"},
        "sort_by=x&sort_order=y": {"sort_by", "sort_order"},
    }
    for query, fields in wrong.items():
        error = error_of(await client.get(f"/api/v1/list?{query}"), 400, "VALIDATION_ERROR")
        assert error["details"].keys() == fields, query


async def test_the_parameters_are_documented(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    parameters = {parameter["name"]: parameter for parameter in document["paths"]["/api/v1/list"]["get"]["parameters"]}
    assert parameters.keys() == {"limit", "offset", "page", "page_size", "sort_by", "sort_order"}
    assert "created_at, name" in parameters["sort_by"]["description"]
    assert not any(parameter["required"] for parameter in parameters.values())


ASKED = st.fixed_dictionaries(
    {},
    optional={
        "limit": st.integers(-2, 200),
        "offset": st.integers(-2, 2 * MAX_OFFSET),
        "page": st.integers(-2),
        "page_size": st.integers(),
    },
)


@given(ASKED)
def test_a_window_is_what_was_asked_for_or_refused(asked: dict[str, int]) -> None:
    try:
        made = window(**asked, sortable=SORTABLE)
    except ValidationFailedError as error:
        refused = error
    else:
        assert made.limit == asked.get("limit", asked.get("page_size", 20))
        assert made.offset == asked.get("offset", (asked.get("page", 1) - 1) * made.limit)
        assert 1 <= made.limit <= 100
        assert 0 <= made.offset <= MAX_OFFSET
        return
    assert refused.details
    assert refused.details.keys() <= asked.keys()


@given(st.integers(1, 100), st.integers(0, 500))
def test_following_the_pages_shows_everything_once(size: int, total: int) -> None:
    items = list(range(total))
    seen: list[int] = []
    number, more = 1, True
    while more:
        asked = window(page=number, page_size=size, sortable=SORTABLE)
        seen += items[asked.offset : asked.offset + asked.limit]
        stands = pagination(asked, total)
        assert stands.page == number
        assert stands.has_prev == (number > 1)
        assert stands.has_next == stands.has_more
        more, number = stands.has_next, number + 1
    assert seen == items
    assert pagination(Window(limit=size), total).total_pages == (number - 1 if total else 0)
