"""Voices of several samples: what is joined, what is left out and why, and what goes with the voice."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import update

from store.models import Clone, Sample
from store.repositories.clones import CloneRepository
from store.vectors import unpack
from tests.api.inference import refused
from tests.api.rooms import Caller


async def samples(me: Caller, **scores: float) -> dict[str, str]:
    """The ids of samples that are ready, by their texts; each has the score that is said, and is said to be 5 s long."""
    ids: dict[str, str] = {}
    for text, score in scores.items():
        sample_id = (await me.upload(ref_text=text))["sample_id"]
        await me.until(f"/voice/samples/{sample_id}", "ready")
        async with me.stores.database.write() as session:
            await session.execute(
                update(Sample).where(Sample.id == sample_id).values(quality_metrics={"quality_score": score}, prepared_duration=5.0)
            )
        ids[text] = sample_id
    return ids


async def made(me: Caller, *sample_ids: str, **wanted: Any) -> Any:
    clone = await me.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": list(sample_ids)} | wanted)
    return await me.until(f"/voice/clones/{clone['clone_id']}", "ready", "failed")


async def test_the_best_samples_are_joined_and_each_is_told_of(me: Caller) -> None:
    ids = await samples(me, One=0.3, Two=0.9, Three=0.6)
    clone = await made(me, *ids.values())
    assert (clone["status"], clone["ref_text"], clone["sample_ids"]) == ("ready", "Two Three", list(ids.values()))
    seconds = 12 - clone["reference_duration"]
    assert 0 < seconds < 5, "two of them, for the third would be too much"
    first, second, third = clone["sample_references"]
    assert first == {
        "sample_id": ids["One"], "style": "neutral", "quality_score": 0.3, "used": False,
        "reason": {"code": "REFERENCE_FULL", "message": first["reason"]["message"]},
    }  # fmt: skip
    assert [(each["used"], each["reason"], each["quality_score"]) for each in (second, third)] == [(True, None, 0.9), (True, None, 0.6)]
    assert clone["quality_metrics"]["sample_quality"] == pytest.approx(0.75, abs=0.01)
    assert (clone["available_styles"], clone["default_style"]) == (["neutral"], "neutral")


async def test_a_sample_that_will_not_do_is_left_out_and_all_of_them_are_a_failure(me: Caller) -> None:
    ids = await samples(me, Good=0.3, Bad=0.9)

    def answer(body: dict[str, Any]) -> httpx.Response:
        if body["text"] == "Bad":
            return refused("UNSUPPORTED_CHARACTERS")
        return httpx.Response(200, json={"ok": True, "audio": body["audio"], "text": body["text"]})

    me.inference.faults["/reference"] = answer
    clone = await made(me, *ids.values())
    assert (clone["status"], clone["ref_text"]) == ("ready", "Good")
    assert clone["sample_references"][1]["reason"]["code"] == "UNSUPPORTED_CHARACTERS"
    me.inference.faults["/reference"] = lambda body: refused("REFERENCE_TOO_LONG" if body["text"] == "Bad" else "EMPTY_TEXT")
    clone = await made(me, *ids.values())
    assert (clone["status"], clone["error_code"], clone["quality_metrics"]) == ("failed", "REFERENCE_TOO_LONG", None)
    assert [each["reason"]["code"] for each in clone["sample_references"]] == ["EMPTY_TEXT", "REFERENCE_TOO_LONG"]


async def test_a_failed_sample_does_not_spoil_the_others(me: Caller) -> None:
    ids = await samples(me, Good=0.3, Gone=0.9)
    async with me.stores.database.write() as session:
        broken = update(Sample).where(Sample.id == ids["Gone"])
        await session.execute(broken.values(status="failed", error_code="INVALID_AUDIO", error_message="No sound"))
    clone = await made(me, *ids.values())
    assert (clone["status"], clone["ref_text"]) == ("ready", "Good")
    clone = await made(me, ids["Gone"])
    assert (clone["status"], clone["error_code"]) == ("failed", "INVALID_AUDIO")


async def test_all_that_is_kept_of_a_voice_goes_with_it(me: Caller) -> None:
    ids = await samples(me, Calm=0.5, Glad=0.6)
    await me.data("PATCH", f"/voice/samples/{ids['Glad']}", json={"style": "happy"})
    before = await me.counts()
    for path in ("/voice/clones/{clone}", "/voice/samples/{sample}?force=true"):
        clone = await made(me, *ids.values())
        assert clone["available_styles"] == ["neutral", "happy"]
        row = await me.row(Clone, clone["clone_id"])
        assert len(row.objects) == 2
        assert await me.app.state.rooms.worker.sweeper.remove_orphans() == 0
        assert clone["clone_id"] in await me.stores.vectors.ids()
        await until_measured(me, clone["clone_id"])
        await me.data("DELETE", path.format(clone=clone["clone_id"], sample=ids["Calm"]))
        assert clone["clone_id"] not in await me.stores.vectors.ids()
        assert not {each.key async for each in me.stores.objects.list()} & set(row.objects)
        assert (await me.counts())[1] == before[1]


async def test_the_sweeper_keeps_what_rows_name_and_takes_the_vector_of_a_voice_that_is_gone(me: Caller) -> None:
    ids = await samples(me, Calm=0.5, Glad=0.6)
    await me.data("PATCH", f"/voice/samples/{ids['Glad']}", json={"style": "happy"})
    clone = await made(me, *ids.values())
    await me.stores.vectors.put("vc_gone", me.who.id, (await voice_of(me, clone["clone_id"])), "clone")
    sweeper = me.app.state.rooms.worker.sweeper
    sweeper.orphan_grace *= -1
    assert await sweeper.remove_orphans() == 1
    assert set(await me.stores.vectors.ids()) == {*ids.values(), clone["clone_id"]}
    assert {each.key async for each in me.stores.objects.list()} >= set((await me.row(Clone, clone["clone_id"])).objects)


async def voice_of(me: Caller, clone_id: str) -> NDArray[np.float32]:
    async with me.stores.database.read() as session:
        embedding = await CloneRepository(session).embedding(me.who.id, clone_id)
    assert embedding is not None
    return unpack(embedding)


async def until_measured(me: Caller, clone_id: str) -> Any:
    async with asyncio.timeout(20):
        while not (metrics := (await me.data("GET", f"/voice/clones/{clone_id}"))["quality_metrics"])["measured_at"]:
            await asyncio.sleep(0.02)
    return metrics


async def test_a_direct_synthesis_waits_for_a_voice_in_the_making(me: Caller) -> None:
    waits = await me.voice(status="processing", reference_path=None, reference_text=None)
    other = await me.row(Clone, await me.voice())
    asked = asyncio.create_task(me.ask("POST", f"/voice/clones/{waits}/synthesize", json={"text": "Hello."}))
    looked = asyncio.Event()
    clones = me.app.state.rooms.clones
    get = clones.get

    async def seen(*who: str) -> Clone:
        found: Clone = await get(*who)
        looked.set()
        return found

    clones.get = seen
    await looked.wait()
    assert not asked.done()
    async with me.stores.database.write() as session:
        ready = {"status": "ready", "reference_path": other.reference_path, "reference_text": other.reference_text}
        await session.execute(update(Clone).where(Clone.id == waits).values(ready))
    answer = await asked
    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "completed")


async def test_it_does_not_wait_for_ever_nor_for_a_server_that_stops(me: Caller) -> None:
    waits = await me.voice(status="processing", reference_path=None, reference_text=None)
    speech = me.app.state.rooms.speech
    request = ("POST", f"/voice/clones/{waits}/synthesize")
    speech.clone_wait_s = 0
    assert await me.refused(*request, json={"text": "Hello."}) == (409, "CLONE_NOT_READY")
    speech.clone_wait_s = 600
    asked = asyncio.create_task(me.refused(*request, json={"text": "Hello."}))
    await asyncio.sleep(0)
    await speech.stop()
    assert await asked == (503, "SERVER_STOPPING")
    assert (await me.counts())[2] == 0
