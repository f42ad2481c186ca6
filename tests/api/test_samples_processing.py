"""Recordings processed once more, described anew, found, and told from others that sound alike."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import update

from api.samples import validation
from store.models import Sample
from store.vectors import pack
from tests.api.rooms import Caller
from tests.api.support import error_of


async def row(me: Caller, sample_id: str, **columns: Any) -> str:
    """A sample as it might be found, without a file."""
    given: dict[str, Any] = {"name": sample_id, "status": "ready"} | columns
    await me.add(
        Sample(
            id=sample_id, user_id=me.who.id, format="wav", duration=4.0, sample_rate=16_000, channels=1, size=1,
            original_path=f"samples/{sample_id}/original.wav", **given,
        )
    )  # fmt: skip
    return sample_id


async def voiced(me: Caller, sample_id: str, angle: float, **columns: Any) -> str:
    """A ready sample whose voice lies at this angle, in radians, to that at 0."""
    voice = np.zeros(256, np.float32)
    voice[:2] = np.cos(angle), np.sin(angle)
    await row(me, sample_id, embedding=pack(voice.tolist()), **columns)
    await me.stores.vectors.put(sample_id, me.who.id, voice)
    return sample_id


async def ready(me: Caller) -> str:
    sample_id: str = (await me.upload())["sample_id"]
    await me.until(f"/voice/samples/{sample_id}", "ready")
    return sample_id


async def test_processing_is_repeated_and_leaves_one_prepared_form(me: Caller) -> None:
    sample_id = await ready(me)
    first = (await me.row(Sample, sample_id)).prepared_path
    answer = await me.ask("POST", f"/voice/samples/{sample_id}/process", json={})
    started = answer.json()["data"]
    assert (answer.status_code, started["sample_id"], started["status"], started["sample_status"]) == (
        202,
        sample_id,
        "pending",
        "uploaded",
    )
    done = await me.until(f"/job/{started['job_id']}", "completed", "failed")
    assert (done["status"], done["kind"]) == ("completed", "sample_processing")
    again = await me.row(Sample, sample_id)
    assert (again.status, again.prepared_path != first) == ("ready", True)
    assert len(me.inference.asked("/embed")) == 2
    async with asyncio.timeout(60):
        while (await me.counts())[3] != 2:  # the old form goes after the commit
            await asyncio.sleep(0.02)
    assert await me.stores.vectors.ids() == [sample_id]


async def test_what_has_failed_can_be_tried_again(me: Caller) -> None:
    sample_id: str = (await me.upload())["sample_id"]
    await me.until(f"/voice/samples/{sample_id}", "ready")
    async with me.stores.database.write() as session:
        await session.execute(
            update(Sample).values(status="failed", error_code="INVALID_AUDIO", error_message="It was so", prepared_path=None)
        )
    job_id = (await me.data("POST", f"/voice/samples/{sample_id}/process"))["job_id"]
    await me.until(f"/job/{job_id}", "completed")
    sample = await me.data("GET", f"/voice/samples/{sample_id}")
    assert (sample["status"], sample["error_code"], sample["error_message"]) == ("ready", None, None)


async def test_one_processing_at_a_time(me: Caller) -> None:
    sample_id = await ready(me)
    came, go_on = asyncio.Event(), asyncio.Event()

    async def held(request: httpx.Request) -> httpx.Response:
        came.set()
        await go_on.wait()
        return await answer(request)

    answer = me.inference.transport.handler
    me.inference.transport.handler = held  # type: ignore[assignment]
    answers = await asyncio.gather(*(me.ask("POST", f"/voice/samples/{sample_id}/process") for _ in range(3)))
    assert [each.status_code for each in answers] == [202, 202, 202]
    (job_id,) = {each.json()["data"]["job_id"] for each in answers}
    await came.wait()
    assert (await me.data("GET", f"/voice/samples/{sample_id}"))["status"] == "processing"
    assert (await me.data("POST", f"/voice/samples/{sample_id}/process"))["job_id"] == job_id
    go_on.set()
    await me.until(f"/job/{job_id}", "completed")
    assert (await me.data("POST", f"/voice/samples/{sample_id}/process"))["job_id"] != job_id


async def test_a_description_is_changed_and_the_rest_stays(me: Caller) -> None:
    sample_id = await row(me, "vs_1", description="Old", language="en-US", ref_text="Some words.")
    path = f"/voice/samples/{sample_id}"
    before = await me.data("GET", path)
    await me.data("PATCH", path, json={"name": "  New ", "language": "de-de"})
    after = await me.data("GET", path)
    assert (after["name"], after["language"]) == ("New", "de-DE")
    assert {key for key in before if before[key] != after[key]} == {"name", "language", "updated_at"}
    cleared = await me.data("PATCH", path, json={"description": None, "ref_text": None, "style": "calm"})
    assert (cleared["description"], cleared["ref_text"], cleared["style"], cleared["name"]) == (None, None, "calm", "New")
    for wrong in (
        {}, {"name": None}, {"style": None}, {"name": " "}, {"name": "x" * 201}, {"ref_text": ""}, {"language": "english"},
        {"name": "a\x00b"}, {"style": "x" * 51}, {"status": "ready"},
    ):  # fmt: skip
        assert await me.refused("PATCH", path, json=wrong) == (400, "VALIDATION_ERROR"), wrong
    assert (await me.data("GET", path))["name"] == "New"


async def test_lists_are_filtered_and_searched(me: Caller, stranger: Caller) -> None:
    await row(me, "vs_a", name="100% me", language="en-US", style="calm")
    await row(me, "vs_b", name="Another", description="of 100 ME_n", language="en", style="loud")
    await row(me, "vs_c", name="Third", language="de-DE", status="failed")
    await row(stranger, "vs_d", name="100% stranger", language="en-US")

    async def listed(**query: str) -> list[str]:
        found = await me.data("GET", "/voice/samples", params={"sort_order": "asc", **query})
        assert found["pagination"]["total_count"] == len(found["samples"])
        return [each["sample_id"] for each in found["samples"]]

    assert await listed(language="en-us") == ["vs_a"]
    assert await listed(language="en") == ["vs_a", "vs_b"]
    assert await listed(language="e") == []
    assert await listed(language="%") == []
    assert await listed(style="calm") == ["vs_a"]
    assert await listed(search="100") == ["vs_a", "vs_b"]
    assert await listed(search="100%") == ["vs_a"], "not a wildcard"
    assert await listed(search="me_") == ["vs_b"]
    assert await listed(search="third", status="failed", language="de") == ["vs_c"]
    assert await listed(search="third", status="ready") == []
    assert await me.refused("GET", "/voice/samples", params={"search": "x" * 201}) == (400, "VALIDATION_ERROR")


async def test_recordings_that_sound_alike_say_so(me: Caller, stranger: Caller) -> None:
    await voiced(me, "vs_here", 0.0)
    await voiced(me, "vs_near", 0.1, name="Near")
    await voiced(me, "vs_nearer", -0.05)
    await voiced(me, "vs_far", 1.5)
    await voiced(stranger, "vs_theirs", 0.0)
    await me.stores.vectors.put("vs_gone", me.who.id, np.eye(1, 256, dtype=np.float32)[0])
    similar = (await me.data("GET", "/voice/samples/vs_here"))["similar_samples"]
    assert [each["sample_id"] for each in similar] == ["vs_nearer", "vs_near"]
    assert similar[1] == {"sample_id": "vs_near", "name": "Near", "similarity": pytest.approx(np.cos(0.1), abs=1e-3)}
    assert (await me.data("GET", "/voice/samples/vs_far"))["similar_samples"] == []
    assert (await stranger.data("GET", "/voice/samples/vs_theirs"))["similar_samples"] == []
    assert (await me.data("GET", f"/voice/samples/{await row(me, 'vs_deaf', status='uploaded')}"))["similar_samples"] == []
    me.app.state.rooms.samples.similarity_threshold = 0.999
    assert [each["sample_id"] for each in (await me.data("GET", "/voice/samples/vs_here"))["similar_samples"]] == []
    me.app.state.rooms.samples.similarity_threshold = 0.998
    assert [each["sample_id"] for each in (await me.data("GET", "/voice/samples/vs_here"))["similar_samples"]] == ["vs_nearer"]


async def test_a_second_upload_of_a_voice_is_kept_and_says_so(me: Caller) -> None:
    one, two = await ready(me), await ready(me)
    assert [each["sample_id"] for each in (await me.data("GET", f"/voice/samples/{two}"))["similar_samples"]] == [one]


async def test_what_is_wrong_with_a_recording_is_said(me: Caller) -> None:
    async def found(sample_id: str, **columns: Any) -> tuple[bool | None, list[str]]:
        result = (await me.data("GET", f"/voice/samples/{await row(me, sample_id, **columns)}"))["validation_results"]
        return result["is_valid"], [f"{each['severity']} {each['code']}" for each in result["findings"]]

    parts = {"snr": 0.2, "clipping": 0.49, "speech": 0.5, "loudness": 1.0, "bandwidth": 0.0, "of a later version": 0.0}
    assert await found("vs_1", status="processing") == (None, [])
    assert await found("vs_2", status="failed", error_code="INVALID_AUDIO", error_message="Why") == (False, ["error INVALID_AUDIO"])
    poor = await found("vs_3", quality_metrics={"quality_parts": parts}, ref_text="Words.")
    assert poor == (True, ["warning NOISY", "warning CLIPPED", "warning NARROW_BAND"])
    assert await found("vs_4") == (True, ["warning REFERENCE_TEXT_MISSING"])
    ready_one = await me.data("GET", f"/voice/samples/{await ready(me)}")
    assert ready_one["validation_results"]["is_valid"] is True
    assert set(validation._LOW) == ready_one["quality_metrics"]["quality_parts"].keys(), "every part has its words"


async def test_strangers_neither_process_nor_describe(me: Caller, stranger: Caller) -> None:
    sample_id = await row(me, "vs_1", name="Mine")
    for method, path, body in (
        ("POST", f"/voice/samples/{sample_id}/process", {}),
        ("PATCH", f"/voice/samples/{sample_id}", {"name": "X"}),
    ):
        for unknown in (path, path.replace(sample_id, "vs_unknown")):
            assert await stranger.refused(method, unknown, json=body) == (404, "SAMPLE_NOT_FOUND")
        error_of(await me.client.request(method, f"/api/v1{path}", json=body), 401, "UNAUTHORIZED")
    sample = await me.row(Sample, sample_id)
    assert (sample.name, sample.status) == ("Mine", "ready")
    assert (await me.counts())[2] == 0
