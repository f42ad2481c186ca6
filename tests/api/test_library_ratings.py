"""Ratings of voices: one a person and voice, from 1 to 5, and the mean that everybody sees."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from store.presets import shipped
from tests.api.rooms import Caller, caller

DEFAULT = "default_voice_001"
PRESET = shipped().default.voice_id
OTHER = "preset_walter_001"


def path_of(voice_model_id: str) -> str:
    return f"/voice/models/{voice_model_id}/rating"


async def rate(who: Caller, voice_model_id: str, rating: int) -> Any:
    return await who.data("PUT", path_of(voice_model_id), json={"rating": rating})


async def listed(who: Caller) -> dict[str, tuple[float | None, int, int | None]]:
    """For each voice the mean, how many ratings there are, and one's own."""
    voices = await who.data("GET", "/voice/models")
    return {each["voice_model_id"]: (each["user_rating"], each["rating_count"], each["own_rating"]) for each in voices}


async def test_the_mean_is_everybodys_and_the_own_rating_ones_own(me: Caller, stranger: Caller) -> None:
    assert (await listed(me))[PRESET] == (None, 0, None)
    assert await rate(me, PRESET, 2) == {"voice_model_id": PRESET, "own_rating": 2, "user_rating": 2.0, "rating_count": 1}
    assert await rate(me, PRESET, 4) == {"voice_model_id": PRESET, "own_rating": 4, "user_rating": 4.0, "rating_count": 1}
    said = await rate(stranger, DEFAULT, 5)
    assert said == {"voice_model_id": DEFAULT, "own_rating": 5, "user_rating": 4.5, "rating_count": 2}, "one voice, two names"
    assert (await listed(me))[PRESET] == (await listed(me))[DEFAULT] == (4.5, 2, 4)
    assert (await listed(stranger))[PRESET] == (4.5, 2, 5)
    found = await me.data("GET", f"/voice/models/{PRESET}")
    assert (found["own_rating"], found["user_rating"], found["rating_count"]) == (4, 4.5, 2)
    assert (found["statistics"]["user_rating"], found["statistics"]["rating_count"]) == (4.5, 2)
    for _ in range(2):
        taken_back = await me.data("DELETE", path_of(PRESET))
        assert taken_back == {"voice_model_id": PRESET, "own_rating": None, "user_rating": 5.0, "rating_count": 1}
    assert (await stranger.data("DELETE", path_of(DEFAULT)))["user_rating"] is None
    assert (await listed(me))[DEFAULT] == (None, 0, None)


async def test_the_mean_is_rounded_to_two_places(me: Caller, stranger: Caller) -> None:
    third = await caller(me.client, me.app, me.inference)
    for who, rating in ((me, 5), (stranger, 5), (third, 4)):
        said = await rate(who, PRESET, rating)
    assert said["user_rating"] == 4.67


async def test_voices_are_sorted_by_what_people_think_of_them(me: Caller, stranger: Caller) -> None:
    own = await me.voice()
    await rate(me, own, 3)
    await rate(me, OTHER, 5)
    await rate(stranger, OTHER, 3)
    await rate(stranger, PRESET, 5)
    for order, ranked in (("desc", [{PRESET, DEFAULT}, {OTHER}, {own}]), ("asc", [{own}, {OTHER}, {PRESET, DEFAULT}])):
        found = [each["voice_model_id"] for each in await me.data("GET", f"/voice/models?sort_by=user_rating&sort_order={order}")]
        assert [set(part) for part in split(found, ranked)] == ranked, "and those that nobody has rated come last"


def split(found: list[str], like: list[set[str]]) -> list[list[str]]:
    ends = [sum(len(part) for part in like[: number + 1]) for number in range(len(like))]
    return [found[end - len(part) : end] for end, part in zip(ends, like, strict=True)]


async def test_a_rating_goes_with_its_voice(me: Caller, stranger: Caller) -> None:
    own, making = await me.voice(), await me.voice(status="pending")
    assert (await rate(me, own, 1))["user_rating"] == 1.0
    for verb, body in (("PUT", {"json": {"rating": 5}}), ("DELETE", {})):
        assert await stranger.refused(verb, path_of(own), **body) == (404, "VOICE_MODEL_NOT_FOUND")
        assert await me.refused(verb, path_of("preset_none"), **body) == (404, "VOICE_MODEL_NOT_FOUND")
        assert (await me.client.request(verb, f"/api/v1{path_of(PRESET)}", **body)).status_code == 401
    assert await me.refused("PUT", path_of(making), json={"rating": 5}) == (409, "CLONE_NOT_READY")
    assert (await me.data("DELETE", path_of(making)))["rating_count"] == 0
    assert (await listed(me))[own] == (1.0, 1, 1), "what others were refused has changed nothing"
    await me.data("DELETE", f"/voice/clones/{own}")
    assert own not in await listed(me)


@pytest.mark.parametrize("wrong", [0, 6, -1, 4.5, "5", True, None, [5], 10**30])
async def test_only_one_to_five_is_a_rating(me: Caller, wrong: Any) -> None:
    assert await me.refused("PUT", path_of(PRESET), json={"rating": wrong}) == (400, "VALIDATION_ERROR")
    assert (await listed(me))[PRESET] == (None, 0, None)


async def test_a_rating_must_be_said(me: Caller) -> None:
    assert await me.refused("PUT", path_of(PRESET), json={}) == (400, "VALIDATION_ERROR")
    assert await me.refused("PUT", path_of(PRESET)) == (400, "MISSING_BODY")
    assert await me.refused("PUT", path_of(PRESET), content=b"{") == (400, "MALFORMED_JSON")
    answer = await me.ask("PUT", path_of(PRESET), content=json.dumps({"rating": 5}), headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


async def test_many_ratings_at_once_of_one_person_are_one(me: Caller, stranger: Caller) -> None:
    await rate(stranger, PRESET, 5)
    said = await asyncio.gather(*(rate(me, PRESET, number % 5 + 1) for number in range(10)))
    assert {each["rating_count"] for each in said} == {2}
    mean, count, own = (await listed(me))[PRESET]
    assert own is not None
    assert (mean, count) == ((5 + own) / 2, 2)
