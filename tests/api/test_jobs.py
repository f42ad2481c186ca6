"""Jobs: made once, listed, cancelled, tried again, deleted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from store.models import Job
from tests.api.rooms import Caller

TEXT = "First. Second. Third."


async def make(me: Caller, **wanted: Any) -> dict[str, Any]:
    found: dict[str, Any] = await me.data("POST", "/job", json={"text_content": TEXT, "voice_model_id": await me.voice()} | wanted)
    return found


async def test_a_job_from_its_row_to_its_file(me: Caller) -> None:
    job = await make(me, output_format="flac", sample_rate=16_000, config={"seed": 7})
    assert (job["status"], job["text_length"], job["word_count"], job["config"]) == ("pending", len(TEXT), 3, {"seed": 7})
    done = await me.until(f"/job/{job['id']}", "completed")
    assert (done["progress"], done["attempt"], done["model"], done["is_speech"]) == (100.0, 1, "tone", False)
    assert [item["seed"] for body in me.inference.asked("/synthesize") for item in body["items"]] == [7, 8, 9]
    assert (await me.ask("GET", done["output_path"].removeprefix("/api/v1"))).headers["Content-Type"] == "audio/flac"


async def test_a_voice_gives_what_the_request_leaves_open(me: Caller) -> None:
    voice = await me.voice(parameters={"speed": 1.5, "nfe_step": 7, "cfg_strength": 3.0})
    job = await make(me, voice_model_id=voice, config={"nfe_step": 32})
    assert (job["speed"], job["config"]["nfe_step"], job["config"]["cfg_strength"]) == (1.5, 32, 3.0)
    assert 0 <= job["config"]["seed"] < 2**31
    assert (await make(me, voice_model_id=voice, speed=1))["speed"] == 1.0


@pytest.mark.parametrize(
    "change", [{"speed": True}, {"speed": "1"}, {"pitch": True}, {"config": {"seed": 1.0}}, {"config": {"seed": True}}]
)
async def test_numbers_are_numbers(me: Caller, change: dict[str, Any]) -> None:
    wanted = {"text_content": "Hi.", "voice_model_id": await me.voice()} | change
    assert await me.refused("POST", "/job", json=wanted) == (400, "VALIDATION_ERROR")


async def test_one_key_is_one_job_also_at_the_same_time(me: Caller, stranger: Caller) -> None:
    wanted, key = {"text_content": "Hi.", "voice_model_id": await me.voice()}, {"Idempotency-Key": "once"}
    answers = await asyncio.gather(*(me.ask("POST", "/job", json=wanted, headers=key) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["data"]["id"] for answer in answers}) == 1
    other = wanted | {"text_content": "Another."}
    assert await me.refused("POST", "/job", json=other, headers=key) == (409, "IDEMPOTENCY_KEY_REUSED")
    theirs = {"text_content": "Hi.", "voice_model_id": await stranger.voice()}
    assert (await stranger.ask("POST", "/job", json=theirs, headers=key)).status_code == 201, "a key is one person's"
    for bad in ("", "x" * 256):
        assert await me.refused("POST", "/job", json=wanted, headers={"Idempotency-Key": bad}) == (400, "VALIDATION_ERROR")


async def test_lists_cut_texts_filter_search_and_sort(me: Caller, stranger: Caller) -> None:
    long = "x" * 101
    a = await me.job_row(text_content="100% of it_all", status="failed", duration=3.0)
    b = await me.job_row(text_content=long, voice_model_id="vc_2", duration=1.0)
    c = await me.job_row(text_content="y" * 100, duration=2.0)

    async def listed(query: str) -> list[str]:
        return [each["id"] for each in await me.data("GET", f"/job?{query}")]

    assert await listed("") == [c, b, a]
    assert await listed("sort_by=duration&sort_order=asc") == [b, c, a]
    assert await listed("status=completed") == [c, b]
    assert await listed("voice_model_id=vc_2") == [b]
    assert await listed("text_search=100%25") == [a]
    assert await listed("text_search=t_a") == [a]
    assert await listed("text_search=%25") == [a], "not a wildcard"
    texts = {each["id"]: each["text_content"] for each in await me.data("GET", "/job")}
    assert (texts[b], texts[c]) == ("x" * 100 + "...", "y" * 100)
    assert {each["id"]: each["text_content"] for each in await me.data("GET", "/job?include_text=true")}[b] == long
    assert (await me.data("GET", f"/job/{b}"))["text_content"] == long
    meta = (await me.ask("GET", "/job?limit=2&page_size=3")).json()
    assert meta["error"]["code"] == "VALIDATION_ERROR"
    meta = (await me.ask("GET", "/job?limit=2")).json()["meta"]["pagination"]
    assert (meta["total_count"], meta["has_more"], meta["total_pages"]) == (3, True, 2)
    assert await stranger.data("GET", "/job") == []
    assert await me.refused("GET", "/job?text_search=a%00b") == (400, "VALIDATION_ERROR")
    assert await me.refused("GET", "/job/a%00b") == (404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize(
    ("status", "wanted", "allowed"),
    [
        ("processing", "cancelled", True),
        ("completed", "cancelled", False),
        ("failed", "cancelled", False),
        ("cancelled", "cancelled", False),
        ("processing", "pending", False),
        ("completed", "pending", False),
        ("failed", "pending", True),
        ("cancelled", "pending", True),
    ],
)
async def test_which_status_may_follow_which(me: Caller, stranger: Caller, status: str, wanted: str, allowed: bool) -> None:
    job_id = await me.job_row(status=status, error_message="Why" if status == "failed" else None)
    assert await stranger.refused("PATCH", f"/job/{job_id}", json={"status": wanted}) == (404, "JOB_NOT_FOUND")
    if allowed:
        answer = await me.data("PATCH", f"/job/{job_id}", json={"status": wanted})
        assert (answer["status"], answer["error_message"]) == (wanted, None)
    else:
        assert await me.refused("PATCH", f"/job/{job_id}", json={"status": wanted}) == (409, "INVALID_STATUS_TRANSITION")
        assert (await me.row(Job, job_id)).status == status


async def test_what_is_waiting_knows_its_place_and_what_is_cancelled_is_never_done(me: Caller) -> None:
    me.inference.gate.clear()
    voice = await me.voice()
    running = [await make(me, voice_model_id=voice) for _ in range(2)]
    for _ in running:
        await me.inference.waiting.acquire()
    first, second = [await make(me, voice_model_id=voice) for _ in range(2)]
    assert (await me.data("GET", f"/job/{second['id']}"))["queue_position"] == 2
    assert (await me.data("PATCH", f"/job/{first['id']}", json={"status": "cancelled"}))["status"] == "cancelled"
    assert (await me.data("GET", f"/job/{second['id']}"))["queue_position"] == 1
    cancelled = running[0]["id"]
    assert await me.refused("DELETE", f"/job/{cancelled}") == (409, "JOB_PROCESSING")
    await me.data("PATCH", f"/job/{cancelled}", json={"status": "cancelled"})
    me.inference.gate.set()
    await me.until(f"/job/{second['id']}", "completed")
    for job_id in (cancelled, first["id"]):
        assert (await me.data("GET", f"/job/{job_id}"))["status"] == "cancelled"
        assert await me.refused("GET", f"/file/synthesis/{job_id}") == (404, "FILE_NOT_FOUND")
        await me.data("DELETE", f"/job/{job_id}")
    await me.until(f"/job/{running[1]['id']}", "completed")
    assert [each async for each in me.stores.objects.list(f"jobs/{cancelled}")] == []
