"""Recordings in several styles make a voice with as many; `emotion` picks one of those that there are."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from store.models import Clone
from tests.api.rooms import Caller
from tests.api.support import error_of


async def styled(me: Caller, *styles: str) -> Any:
    """A ready voice of one sample in each style; what is said in each is its style."""
    ids = [(await me.upload(style=style, ref_text=f"In {style}."))["sample_id"] for style in styles]
    made = await me.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": ids})
    assert (made["available_styles"], made["default_style"]) == ([], None), "nothing is promised before it is there"
    return await me.until(f"/voice/clones/{made['clone_id']}", "ready", "failed")


def spoken_from(me: Caller) -> str:
    """What was said in the reference of the last chunk that was asked for."""
    text: str = me.inference.asked("/synthesize")[-1]["items"][0]["reference_text"]
    return text


async def speak(me: Caller, clone_id: str, **wanted: Any) -> str:
    await me.data("POST", f"/voice/clones/{clone_id}/synthesize", json={"text": "Hello."} | wanted)
    return spoken_from(me)


async def measured(me: Caller, clone_id: str) -> None:
    """Let the measurement come to its end, so that what is spoken next is what the test asks for."""
    job_id = (await me.data("POST", f"/voice/clones/{clone_id}/measure"))["job_id"]
    await me.until(f"/job/{job_id}", "completed")


async def test_a_voice_speaks_in_each_of_its_styles(me: Caller) -> None:
    clone = await styled(me, "happy", "neutral", "stage whisper")
    clone_id = clone["clone_id"]
    assert (clone["available_styles"], clone["default_style"]) == (["neutral", "happy", "stage whisper"], "neutral")
    assert [(each["style"], each["used"]) for each in clone["sample_references"]] == [
        ("happy", True), ("neutral", True), ("stage whisper", True)
    ]  # fmt: skip
    row = await me.row(Clone, clone_id)
    assert len({row.reference_path, *(each.path for each in row.references)}) == 3
    await measured(me, clone_id)
    assert await speak(me, clone_id) == "In neutral."
    assert await speak(me, clone_id, emotion="neutral") == "In neutral."
    assert await speak(me, clone_id, emotion=" Happy ") == "In happy."
    assert await speak(me, clone_id, emotion="stage whisper") == "In stage whisper."
    sent = me.inference.asked("/synthesize")[-1]["items"][0]["reference_audio"]
    assert len(base64.b64decode(sent)) / 2 / 24_000 == pytest.approx(row.references[1].duration, abs=0.01)


async def test_jobs_pick_it_in_their_config(me: Caller) -> None:
    clone_id = (await styled(me, "neutral", "sad"))["clone_id"]
    await measured(me, clone_id)
    wanted = {"text_content": "Hello.", "voice_model_id": clone_id, "config": {"emotion": "sad"}}
    job = await me.data("POST", "/job", json=wanted)
    assert job["config"]["emotion"] == "sad"
    await me.until(f"/job/{job['id']}", "completed")
    assert spoken_from(me) == "In sad."


async def test_a_style_that_is_not_there_is_refused_with_those_that_are(me: Caller) -> None:
    clone_id = (await styled(me, "neutral", "sad"))["clone_id"]
    before = await me.counts()
    job = {"text_content": "Hello.", "voice_model_id": clone_id, "config": {"emotion": "happy"}}
    error = error_of(await me.ask("POST", "/job", json=job), 400, "EMOTION_UNAVAILABLE")
    assert error["details"] == {
        "config.emotion": "is no style of this voice, which has neutral, sad", "available_styles": ["neutral", "sad"]
    }  # fmt: skip
    answer = await me.ask("POST", f"/voice/clones/{clone_id}/synthesize", json={"text": "Hello.", "emotion": "happy", "stream": True})
    assert error_of(answer, 400, "EMOTION_UNAVAILABLE")["details"].keys() == {"emotion", "available_styles"}
    assert (await me.counts())[:2] == before[:2]
    me.app.state.rooms.worker._stopping = True
    pending = await me.job_row(status="pending", voice_model_id=clone_id)
    for emotion, status in (("happy", 400), ("sad", 200)):
        assert (await me.ask("PUT", f"/job/{pending}", json={"config": {"emotion": emotion}})).status_code == status
    for wrong in ("", "a/b", "\u200b", "x" * 51, 3):
        assert await me.refused("POST", "/job", json=job | {"config": {"emotion": wrong}}) == (400, "VALIDATION_ERROR"), wrong


async def test_a_voice_in_the_making_has_the_styles_of_its_samples(me: Caller) -> None:
    me.app.state.rooms.worker._stopping = True
    sample = await me.upload(style="sad")
    clone = await me.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample["sample_id"]]})
    wanted = {"text_content": "Hello.", "voice_model_id": clone["clone_id"]}
    assert await me.refused("POST", "/job", json=wanted | {"config": {"emotion": "happy"}}) == (400, "EMOTION_UNAVAILABLE")
    assert (await me.ask("POST", "/job", json=wanted | {"config": {"emotion": "sad"}})).status_code == 201


async def test_a_style_that_got_lost_meanwhile_fails_the_job_with_what_there_is(me: Caller) -> None:
    job_id = await me.job_row(status="pending", voice_model_id=await me.voice(), config={"emotion": "sad"})
    me.app.state.rooms.worker.ring()
    failed = await me.until(f"/job/{job_id}", "failed")
    assert (failed["error_code"], "neutral" in failed["error_message"]) == ("EMOTION_UNAVAILABLE", True)


async def test_without_neutral_the_best_sample_says_the_default(me: Caller) -> None:
    clone = await styled(me, "sad")
    assert (clone["available_styles"], clone["default_style"]) == (["sad"], "sad")


async def test_styles_of_samples_are_words(me: Caller) -> None:
    sample = await me.upload(style=" Very-Happy ")
    assert sample["style"] == "very-happy"
    path = f"/voice/samples/{sample['sample_id']}"
    assert (await me.data("PATCH", path, json={"style": "TRISTE été"}))["style"] == "triste été"
    assert [each["sample_id"] for each in (await me.data("GET", "/voice/samples?style=Triste%20%C3%A9t%C3%A9"))["samples"]] == [
        sample["sample_id"]
    ]
    for wrong in ("../x", "<b>", "-happy", "", "a\nb"):
        assert await me.refused("PATCH", path, json={"style": wrong}) == (400, "VALIDATION_ERROR"), wrong
