"""Voices: made of samples, listed, selected, deleted."""

from __future__ import annotations

import pytest

from store.models import Clone, Job
from tests.api.inference import refused
from tests.api.rooms import Caller


async def test_a_voice_is_made_of_samples_that_are_not_ready_yet(me: Caller) -> None:
    sample = await me.upload()
    made = await me.data(
        "POST",
        "/voice/clones",
        json={"name": "Mine", "sample_ids": [sample["sample_id"]], "speed": 1.5, "nfe_step": 7, "language": "EN-us"},
    )
    assert (made["status"], made["sample_ids"], made["language"]) == ("pending", [sample["sample_id"]], "en-US")
    assert made["parameters"] == {"speed": 1.5, "nfe_step": 7}
    ready = await me.until(f"/voice/clones/{made['clone_id']}", "ready", "failed")
    assert (ready["status"], ready["ref_text"], ready["job_id"]) == ("ready", "Some words.", None)
    assert 3 < ready["reference_duration"] <= 12
    assert (await me.data("GET", f"/job/{made['job_id']}"))["kind"] == "clone_build"
    assert await me.data("GET", "/job") == [], "the list is of speech"


async def test_a_voice_whose_text_cannot_be_said_fails_with_the_reason(me: Caller) -> None:
    me.inference.faults["/reference"] = lambda body: refused("UNSUPPORTED_CHARACTERS")
    sample = await me.upload()
    made = await me.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample["sample_id"]]})
    failed = await me.until(f"/voice/clones/{made['clone_id']}", "failed")
    assert failed["error_code"] == "UNSUPPORTED_CHARACTERS"
    wanted = {"text_content": "Hello.", "voice_model_id": made["clone_id"]}
    assert await me.refused("POST", "/job", json=wanted) == (409, "CLONE_NOT_READY")
    assert await me.refused("POST", f"/voice/clones/{made['clone_id']}/synthesize", json={"text": "Hello."}) == (409, "CLONE_NOT_READY")


@pytest.mark.parametrize("change", [{"status": "cancelled"}, {"status": "pending"}, None], ids=["cancel", "retry", "delete"])
async def test_the_job_that_makes_a_voice_cannot_be_taken_away_from_it(me: Caller, change: dict[str, str] | None) -> None:
    """The voice would be in the making for ever, and with it whatever waits to be spoken in it."""
    clone_id = await me.voice(status="pending", reference_path=None, reference_text=None)
    job_id = await me.job_row(kind="clone_build", subject_id=clone_id, status="failed" if change == {"status": "pending"} else "pending")
    me.app.state.rooms.worker._stopping = True
    request = ("PATCH", f"/job/{job_id}") if change else ("DELETE", f"/job/{job_id}")
    assert await me.refused(*request, json=change) == (409, "BACKGROUND_JOB")
    assert (await me.row(Job, job_id)).status != "cancelled"


async def test_select_and_what_is_spoken_without_naming_a_voice(me: Caller, stranger: Caller) -> None:
    first, second = await me.voice(name="First"), await me.voice(name="Second")
    assert (await me.data("POST", "/job", json={"text_content": "Hello."}))["voice_model_id"] == "default_voice_001"
    assert await stranger.refused("POST", f"/voice/clones/{first}/select") == (404, "CLONE_NOT_FOUND")
    await me.data("POST", f"/voice/clones/{first}/select")
    assert (await me.data("POST", f"/voice/clones/{second}/select"))["is_active"] is True
    listed = (await me.data("GET", "/voice/clones"))["clones"]
    assert {each["clone_id"]: each["is_active"] for each in listed} == {first: False, second: True}
    assert (await me.data("POST", "/job", json={"text_content": "Hello."}))["voice_model_id"] == second
    await me.data("DELETE", f"/voice/clones/{second}")
    assert (await me.data("POST", "/job", json={"text_content": "Hello."}))["voice_model_id"] == "default_voice_001"


async def test_deleting_takes_the_reference_and_leaves_what_was_spoken(me: Caller, stranger: Caller) -> None:
    clone_id = await me.voice()
    job = await me.data("POST", "/job", json={"text_content": "Hello.", "voice_model_id": clone_id})
    await me.until(f"/job/{job['id']}", "completed")
    assert await stranger.refused("DELETE", f"/voice/clones/{clone_id}") == (404, "CLONE_NOT_FOUND")
    await me.data("DELETE", f"/voice/clones/{clone_id}")
    assert await me.counts() == (0, 0, 1, 1)
    assert (await me.ask("GET", f"/file/synthesis/{job['id']}")).status_code == 200


async def test_lists_filter_and_sort(me: Caller, stranger: Caller) -> None:
    for name, status in (("b", "ready"), ("a", "failed"), ("c", "ready")):
        await me.add(Clone(id=f"vc_{name}", user_id=me.who.id, name=name, language="en-US", status=status, parameters={}))

    async def listed(query: str) -> list[str]:
        return [each["name"] for each in (await me.data("GET", f"/voice/clones?{query}"))["clones"]]

    assert await listed("") == ["c", "a", "b"]
    assert await listed("sort_by=name&sort_order=asc") == ["a", "b", "c"]
    assert await listed("status=ready&sort_by=name&limit=1&offset=1&sort_order=asc") == ["c"]
    assert (await stranger.data("GET", "/voice/clones"))["clones"] == []
    assert await me.refused("GET", "/voice/clones?sort_by=parameters") == (400, "VALIDATION_ERROR")


async def test_samples_of_others_and_samples_twice(me: Caller, stranger: Caller) -> None:
    mine, theirs = (await me.upload())["sample_id"], (await stranger.upload())["sample_id"]
    assert await me.refused("POST", "/voice/clones", json={"name": "A", "sample_ids": [mine, theirs]}) == (404, "SAMPLE_NOT_FOUND")
    assert await me.refused("POST", "/voice/clones", json={"name": "A", "sample_ids": [mine, mine]}) == (400, "VALIDATION_ERROR")
    assert await me.refused("POST", "/voice/clones", json={"name": "A", "sample_ids": ["a\x00b"]}) == (400, "VALIDATION_ERROR")
    assert (await me.counts())[1] == 0
