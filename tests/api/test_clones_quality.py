"""How good a voice is, is measured on what it says, after it is ready and without any harm to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import httpx
import numpy as np
import pytest

from store.models import Job
from tests.api.inference import FakeInference, refused
from tests.api.rooms import Caller
from tests.api.support import error_of


def hears(inference: FakeInference, degrees: Iterable[float]) -> None:
    """Let what is listened to lie at these angles, one after the other."""
    angles = iter(degrees)

    def embed(_body: dict[str, Any]) -> httpx.Response:
        angle = np.radians(next(angles))
        return httpx.Response(200, json={"ok": True, "embedding": [float(np.cos(angle)), float(np.sin(angle))] + [0.0] * 254})

    inference.faults["/embed"] = embed


async def measured(me: Caller, clone_id: str) -> Any:
    """The metrics after a measurement that is asked for."""
    started = await me.data("POST", f"/voice/clones/{clone_id}/measure")
    assert started["clone_id"] == clone_id
    await me.until(f"/job/{started['job_id']}", "completed", "failed")
    return (await me.data("GET", f"/voice/clones/{clone_id}"))["quality_metrics"]


async def test_a_voice_is_measured_without_being_asked_and_does_not_wait_for_it(me: Caller) -> None:
    me.inference.gate.clear()
    sample = await me.upload()
    clone = await me.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample["sample_id"]]})
    path = f"/voice/clones/{clone['clone_id']}"
    ready = await me.until(path, "ready")
    await me.inference.waiting.acquire()  # it is being spoken, and held back
    metrics = ready["quality_metrics"]
    assert metrics["sample_quality"] == pytest.approx(
        (await me.data("GET", f"/voice/samples/{sample['sample_id']}"))["quality_metrics"]["quality_score"], abs=1e-3
    )
    assert (metrics["speaker_similarity"], metrics["stability"], metrics["measured_at"]) == (None, None, None)
    assert metrics["reason"]["code"] == "QUALITY_PENDING"
    job_id = (await me.data("POST", f"{path}/measure"))["job_id"]
    job = await me.row(Job, job_id)
    assert (job.kind, job.subject_id) == ("clone_quality", clone["clone_id"])
    # It holds up nobody who waits for a voice.
    another = await me.upload()
    await me.until(f"/voice/samples/{another['sample_id']}", "ready")
    me.inference.gate.set()
    await me.until(f"/job/{job_id}", "completed")
    metrics = (await me.data("GET", path))["quality_metrics"]
    assert (metrics["speaker_similarity"], metrics["reason"], metrics["measured_at"][-1]) == (1.0, None, "Z")


async def test_what_is_measured_is_what_was_heard(me: Caller) -> None:
    clone_id = await me.voice(language="de-DE", parameters={"nfe_step": 7, "speed": 1.5}, quality_metrics={"sample_quality": 0.5})
    hears(me.inference, [0, 60, -60, 60])
    metrics = await measured(me, clone_id)
    assert metrics["similarities"] == [0.5, 0.5, 0.5]
    assert (metrics["speaker_similarity"], metrics["sample_quality"], metrics["model"], metrics["is_speech"]) == (0.5, 0.5, "tone", False)
    assert metrics["stability"] == pytest.approx((-0.5 - 0.5 + 1) / 3, abs=1e-4)
    assert metrics["quality_score"] == 0.0
    (plan,) = me.inference.asked("/plan")
    assert (plan["language"], plan["speed"], plan["text"]) == ("de-DE", 1.5, metrics["test_text"])
    items = [body["items"][0] for body in me.inference.asked("/synthesize")]
    assert [item["seed"] for item in items] == metrics["seeds"] == [1, 2, 3]
    assert {item["nfe_step"] for item in items} == {7}
    hears(me.inference, [0, 0, 0, 0])
    assert (await measured(me, clone_id))["quality_score"] == pytest.approx(0.5 ** (1 / 3), abs=1e-3), "measured anew"


async def test_what_could_not_be_measured_is_null_with_a_reason_and_the_voice_stays_ready(me: Caller) -> None:
    clone_id = await me.voice()
    assert (await me.data("GET", f"/voice/clones/{clone_id}"))["quality_metrics"]["reason"]["code"] == "QUALITY_NOT_MEASURED"
    me.inference.faults["/plan"] = lambda body: refused("UNSUPPORTED_CHARACTERS")
    metrics = await measured(me, clone_id)
    assert (metrics["speaker_similarity"], metrics["quality_score"]) == (None, None)
    assert metrics["reason"]["code"] == "UNSUPPORTED_CHARACTERS"
    assert (await me.data("GET", f"/voice/clones/{clone_id}"))["status"] == "ready"
    del me.inference.faults["/plan"]
    metrics = await measured(me, clone_id)
    assert (metrics["speaker_similarity"], metrics["reason"]) == (1.0, None)
    me.inference.faults["/plan"] = lambda body: refused("LANGUAGE_UNAVAILABLE")
    metrics = await measured(me, clone_id)
    assert (metrics["speaker_similarity"], metrics["reason"]["code"]) == (1.0, "LANGUAGE_UNAVAILABLE"), "what is known stays"


async def test_one_measurement_at_a_time_of_a_voice_of_ones_own_that_is_ready(me: Caller, stranger: Caller) -> None:
    clone_id = await me.voice()
    path = f"/voice/clones/{clone_id}/measure"
    for unknown in (path, "/voice/clones/vc_unknown/measure"):
        assert await stranger.refused("POST", unknown) == (404, "CLONE_NOT_FOUND")
    error_of(await me.client.post(f"/api/v1{path}"), 401, "UNAUTHORIZED")
    me.inference.gate.clear()
    started = await asyncio.gather(*(me.ask("POST", path) for _ in range(3)))
    assert [answer.status_code for answer in started] == [202] * 3
    assert len({answer.json()["data"]["job_id"] for answer in started}) == 1
    me.inference.gate.set()
    unready = await me.voice(status="pending", reference_path=None, reference_text=None)
    assert await me.refused("POST", f"/voice/clones/{unready}/measure") == (409, "CLONE_NOT_READY")
