"""The voices to speak with: listed, filtered, described, liked, used."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import pytest

from audio.decode import decode
from audio.inspect import inspect
from audio.pcm import float_to_pcm16
from store.models import CloneReference
from store.presets import recordings, shipped
from tests.api.inference import MODELS
from tests.api.rooms import Caller

DEFAULT = "default_voice_001"
PRESETS = [preset.id for preset in shipped().listed if preset.id != DEFAULT]
PRESET = shipped().default.voice_id


async def ids(me: Caller, query: str = "") -> list[str]:
    return [voice["voice_model_id"] for voice in await me.data("GET", f"/voice/models?{query}")]


async def voice(me: Caller, voice_model_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await me.data("GET", f"/voice/models/{voice_model_id}")
    return found


async def test_the_list_holds_presets_the_default_and_own_clones_that_are_ready(me: Caller, stranger: Caller) -> None:
    own = await me.voice(name="My Personal Voice", description="Of samples", reference_duration=4.0)
    await me.voice(status="processing", reference_path=None)
    theirs = await stranger.voice()
    await me.data("POST", f"/voice/clones/{own}/select")
    listed = {each["voice_model_id"]: each for each in await me.data("GET", "/voice/models")}
    assert listed.keys() == {*PRESETS, DEFAULT, own}
    assert theirs not in listed
    preset, clone, default = listed[PRESET], listed[own], listed[DEFAULT]
    assert (preset["type"], preset["owner_id"], preset["clone_id"], preset["alias_of"]) == ("preset", None, None, None)
    assert (default["type"], default["alias_of"], default["is_default"]) == ("preset", PRESET, True)
    assert "female" in preset["tags"]
    assert preset["license"]
    assert (clone["type"], clone["owner_id"], clone["clone_id"], clone["is_active"]) == ("custom", me.who.id, own, True)
    assert (clone["quality_score"], clone["license"], clone["usage_count"], clone["is_favorite"]) == (None, None, 0, False)
    assert (clone["description"], clone["sample_duration"]) == ("Of samples", 4.0)
    for each in listed.values():
        assert (await me.ask("GET", each["sample_audio_url"].removeprefix("/api/v1"))).status_code == 200
        assert each["preview_url"] == f"/api/v1/voice/models/{each['voice_model_id']}/preview"
        assert each["preview_text"]


async def test_quality_is_measured_on_the_recording_of_a_preset_and_taken_from_that_of_a_clone(me: Caller) -> None:
    own = await me.voice(quality_metrics={"quality_score": 0.4321})
    scores = {each["voice_model_id"]: each["quality_score"] for each in await me.data("GET", "/voice/models")}
    assert scores[own] == 0.4321
    for id_ in PRESETS:
        sound = decode(await recordings().get(shipped().by_id[id_].recording))
        assert scores[id_] == pytest.approx(inspect(sound.mono, sound.sample_rate).quality_score, abs=0.001)


async def test_filters(me: Caller, stranger: Caller) -> None:
    own = await me.voice(name="Wüste", description="Dry 100% sand", language="fr-FR")
    everything = {*PRESETS, DEFAULT, own}
    assert await ids(me, "type=custom") == [own]
    assert set(await ids(me, "type=preset")) == everything - {own}
    assert await ids(me, "language=fr") == await ids(me, "language=FR-fr") == [own]
    assert set(await ids(me, "language=en")) == everything - {own}
    assert "preset_alistair_001" not in await ids(me, "language=en-US")
    assert set(await ids(me, "tags=female")) == {PRESET, DEFAULT}
    assert await ids(me, "tags=male,%20Scottish") == ["preset_alistair_001"]
    assert await ids(me, "tags=male,female") == []
    assert await ids(me, "owner=me") == await ids(me, f"owner={me.who.id}") == [own]
    assert set(await ids(me, "owner=system")) == everything - {own}
    assert await ids(stranger, f"owner={me.who.id}") == []
    assert await ids(me, "search=w%C3%9Cste") == await ids(me, "search=100%25") == [own]
    assert await ids(me, "search=nobody") == []
    assert await ids(me, "type=preset&language=en-US&tags=robotic&limit=10&offset=0") == ["preset_walter_001"]
    await me.data("POST", f"/voice/models/{own}/favorite")
    assert await ids(me, "is_favorite=true") == [own]
    assert set(await ids(me, "is_favorite=false")) == everything - {own}
    for wrong in ("type=other", "is_favorite=maybe", "limit=0", "limit=101", "sort_by=tags", "sort_order=up", "offset=-1"):
        assert await me.refused("GET", f"/voice/models?{wrong}") == (400, "VALIDATION_ERROR")


async def test_pages_and_order(me: Caller) -> None:
    scored = await me.voice(name="aaa", quality_metrics={"quality_score": 0.5})
    unscored = await me.voice(name="zzz")
    names = [each["name"] for each in await me.data("GET", "/voice/models?sort_by=name&sort_order=asc")]
    assert names == sorted(names, key=str.casefold)
    assert (await ids(me, "sort_by=quality_score&sort_order=asc"))[0] == scored
    for order in ("asc", "desc"):
        assert (await ids(me, f"sort_by=quality_score&sort_order={order}"))[-1] == unscored, "what is not known comes last"
    pages = [await ids(me, f"sort_by=name&sort_order=asc&page={page}&page_size=3") for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert [each for page in pages for each in page] == await ids(me, "sort_by=name&sort_order=asc")
    meta = (await me.ask("GET", "/voice/models?limit=2&offset=2&type=preset")).json()["meta"]
    assert meta["pagination"]["total_count"] == len(PRESETS) + 1
    assert (meta["pagination"]["has_more"], meta["pagination"]["limit"], meta["pagination"]["offset"]) == (True, 2, 2)
    filters = meta["filters"]
    assert filters["available_types"] == ["preset", "custom"]
    assert {"female", "male", "custom"} <= set(filters["available_tags"]), "of all there is, not of what the filter left"
    assert filters["available_languages"] == ["en-GB", "en-US"]
    assert filters["available_owners"] == ["system", "me"]


async def test_the_level_of_a_language_is_that_of_the_speech_service(me: Caller) -> None:
    own = {language: await me.voice(language=language) for language in ("en-US", "en-AU", "fr-FR", "xx-XX", "tlh")}
    levels = {each["voice_model_id"]: each["language_support"] for each in await me.data("GET", "/voice/models")}
    assert {language: levels[id_]["level"] for language, id_ in own.items()} == {
        "en-US": "native", "en-AU": "native", "fr-FR": "fallback", "xx-XX": "unavailable", "tlh": "unavailable",
    }  # fmt: skip
    assert (levels[own["fr-FR"]]["model"], levels[own["fr-FR"]]["reason"]) == ("tone", "No model for fr-FR is here")
    capabilities = (await me.ask("GET", "/voice/models")).json()["meta"]["capabilities"]
    assert capabilities == {"default_model": "tone", "models": MODELS["models"], "languages": MODELS["languages"]}
    assert len(me.inference.asked("/models")) == 1, "it is not asked for every list"


@pytest.mark.parametrize(
    "fault",
    [
        lambda body: httpx.Response(503),
        lambda body: httpx.Response(200, text="<html>"),
        lambda body: httpx.Response(200, json={"models": 1}),
    ],
    ids=["away", "no JSON", "another form"],
)
async def test_without_the_speech_service_the_library_is_there_all_the_same(me: Caller, fault: Any) -> None:
    me.inference.faults["/models"] = fault
    listed = await me.data("GET", "/voice/models")
    assert len(listed) == len(PRESETS) + 1
    assert {each["language_support"]["level"] for each in listed} == {"unknown"}
    assert (await voice(me, PRESET))["model_config"]["model"] is None
    info = await me.data("GET", "/voice/info")
    assert (info["status"], info["models"], info["languages"], info["default_model"]) == ("unavailable", [], [], None)


async def test_one_voice_with_what_may_be_asked_of_it(me: Caller, stranger: Caller) -> None:
    found = await voice(me, DEFAULT)
    assert (found["voice_model_id"], found["alias_of"]) == (DEFAULT, PRESET)
    said = found["model_config"]
    assert (said["supports_speed_range"], said["supports_pitch_range"], said["supports_volume_range"]) == ([0.5, 3], [0.5, 2], [0, 2])
    assert said["supported_formats"] == ["wav", "mp3", "flac", "ogg", "opus"]
    assert (said["sample_rate"], said["max_text_length"], said["supports_emotions"]) == (24000, 10_000, ["neutral"])
    assert said["model"]["name"] == "tone"
    assert said["model"]["license"] == "Apache-2.0"
    assert found["statistics"] == {
        "usage_count": 0, "failed_count": 0, "success_rate": None, "total_audio_seconds": 0.0, "average_synthesis_time": None,
        "mean_real_time_factor": None, "favorites_count": 0, "user_rating": None, "rating_count": 0, "last_used_at": None,
    }  # fmt: skip
    own, making = await me.voice(parameters={"speed": 1.5}), await me.voice(status="pending")
    assert (await voice(me, own))["model_config"]["parameters"] == {"speed": 1.5}
    assert await stranger.refused("GET", f"/voice/models/{own}") == (404, "VOICE_MODEL_NOT_FOUND")
    assert await me.refused("GET", "/voice/models/preset_none") == (404, "VOICE_MODEL_NOT_FOUND")
    assert await me.refused("GET", f"/voice/models/{making}") == (409, "CLONE_NOT_READY")


@pytest.mark.parametrize("voice_model_id", [DEFAULT, "preset_walter_001"])
async def test_a_job_in_a_preset_speaks_from_its_recording(me: Caller, stranger: Caller, voice_model_id: str) -> None:
    job = await me.data("POST", "/job", json={"text_content": "Hello.", "voice_model_id": voice_model_id})
    assert (job["voice_model_id"], job["text_language"]) == (voice_model_id, "en-US")
    assert (await me.until(f"/job/{job['id']}", "completed", "failed"))["status"] == "completed"
    preset = shipped().by_id[voice_model_id]
    sound = float_to_pcm16(decode(await recordings().get(preset.recording)).mono)
    (item,) = me.inference.asked("/synthesize")[0]["items"]
    assert (base64.b64decode(item["reference_audio"]), item["reference_text"]) == (sound, preset.text)
    assert (await me.ask("GET", f"/file/synthesis/{job['id']}")).status_code == 200
    spoken = await me.data("POST", f"/voice/clones/{voice_model_id}/synthesize", json={"text": "Hello."})
    assert (spoken["status"], spoken["clone_id"]) == ("completed", voice_model_id)
    used = await voice(stranger, PRESET if voice_model_id == DEFAULT else voice_model_id)
    assert used["usage_count"] == 2, "of everybody, under whichever name"
    statistics = used["statistics"]
    assert (statistics["success_rate"], statistics["failed_count"]) == (1.0, 0)
    total = (await me.data("GET", f"/job/{job['id']}"))["duration"] + spoken["duration"]
    assert statistics["total_audio_seconds"] == pytest.approx(total, abs=0.001)
    assert 0 < statistics["mean_real_time_factor"] < 60
    assert statistics["average_synthesis_time"] > 0


async def test_a_finished_job_outlives_its_preset(me: Caller) -> None:
    gone = await me.job_row(voice_model_id="preset_of_an_older_release", status="completed")
    assert (await me.data("GET", f"/job/{gone}"))["voice_model_id"] == "preset_of_an_older_release"
    assert (await me.data("GET", "/job"))[0]["id"] == gone
    wanted = {"text_content": "Hello.", "voice_model_id": "preset_of_an_older_release"}
    assert await me.refused("POST", "/job", json=wanted) == (404, "VOICE_MODEL_NOT_FOUND")
    # Queued before the upgrade, claimed after it
    waiting = await me.job_row(voice_model_id="preset_of_an_older_release", status="pending")
    me.app.state.rooms.worker.ring()
    assert (await me.until(f"/job/{waiting}", "failed"))["error_code"] == "VOICE_MODEL_NOT_FOUND"


async def test_failures_are_counted(me: Caller) -> None:
    own = await me.voice()
    await me.data("POST", f"/voice/clones/{own}/synthesize", json={"text": "Hello."})
    me.inference.faults["/plan"] = lambda body: httpx.Response(
        200, json={"ok": False, "error": {"code": "UNSUPPORTED_CHARACTERS", "message": "No"}}
    )
    job = await me.data("POST", "/job", json={"text_content": "Hello.", "voice_model_id": own})
    await me.until(f"/job/{job['id']}", "failed")
    found = (await voice(me, own))["statistics"]
    assert (found["usage_count"], found["failed_count"], found["success_rate"]) == (1, 1, 0.5)


async def test_favourites(me: Caller, stranger: Caller) -> None:
    own = await me.voice()
    for _ in range(2):
        said = await me.data("POST", f"/voice/models/{PRESET}/favorite")
        assert said == {"voice_model_id": PRESET, "is_favorite": True, "favorites_count": 1}
    assert (await stranger.data("POST", f"/voice/models/{DEFAULT}/favorite"))["favorites_count"] == 2, "one voice, two names"
    assert (await voice(stranger, PRESET))["is_favorite"] is True
    assert (await voice(me, DEFAULT))["statistics"]["favorites_count"] == 2
    for _ in range(2):
        said = await me.data("DELETE", f"/voice/models/{PRESET}/favorite")
        assert said == {"voice_model_id": PRESET, "is_favorite": False, "favorites_count": 1}
    await me.data("POST", f"/voice/models/{own}/favorite")
    for verb in ("POST", "DELETE"):
        assert await stranger.refused(verb, f"/voice/models/{own}/favorite") == (404, "VOICE_MODEL_NOT_FOUND")
        assert await me.refused(verb, "/voice/models/preset_none/favorite") == (404, "VOICE_MODEL_NOT_FOUND")
    await me.data("DELETE", f"/voice/clones/{own}")
    assert await ids(me, "is_favorite=true") == []


async def test_many_favourites_at_once_are_one(me: Caller) -> None:
    said = await asyncio.gather(*(me.data("POST", f"/voice/models/{PRESET}/favorite") for _ in range(8)))
    assert {each["favorites_count"] for each in said} == {1}


async def test_info_says_what_the_settings_and_the_speech_service_say(me: Caller) -> None:
    info = await me.data("GET", "/voice/info")
    assert (info["service"], info["status"], info["default_model"], info["default_voice_id"]) == ("voxify", "available", "tone", DEFAULT)
    assert info["version"] == (await me.client.get("/openapi.json")).json()["info"]["version"]
    assert info["models"] == MODELS["models"]
    assert info["languages"] == MODELS["languages"]
    settings = me.app.state.settings
    assert info["limits"]["max_text_length"] == settings.max_text_length
    assert info["limits"]["max_upload_bytes"] == settings.max_upload_bytes
    assert (info["limits"]["min_sample_seconds"], info["limits"]["max_sample_seconds"]) == (settings.min_sample_s, settings.max_sample_s)
    for name in ("requests_per_minute", "samples_per_day", "jobs_per_day", "storage_bytes"):
        assert info["limits"][name] == getattr(settings, name)
    assert (info["speed"], info["volume"]) == ({"min": 0.5, "max": 3, "default": 1}, {"min": 0, "max": 2, "default": 1})
    assert info["pitch"] == {"min": 0.5, "max": 2, "default": 1}
    assert info["sample_rates"] == [8000, 16000, 22050, 24000, 44100, 48000]
    assert info["input_formats"] == ["wav", "mp3", "flac", "ogg", "m4a", "webm"]
    for name, values in (("output_format", info["output_formats"]), ("sample_rate", info["sample_rates"])):
        for value in values:
            job = await me.data("POST", "/job", json={"text_content": "Hello.", name: value})
            assert job[name] == value
    for path in ("/voice/info", "/voice/models", f"/voice/models/{PRESET}", f"/voice/models/{PRESET}/preview"):
        assert (await me.client.get(f"/api/v1{path}")).status_code == 401


async def test_a_limit_that_is_changed_while_the_platform_runs_is_said(me: Caller) -> None:
    me.app.state.rooms.apply(me.app.state.settings.model_copy(update={"max_text_length": 7}))
    assert (await me.data("GET", "/voice/info"))["limits"]["max_text_length"] == 7
    assert (await voice(me, PRESET))["model_config"]["max_text_length"] == 7


async def test_a_clone_in_several_styles_is_found_by_them(me: Caller) -> None:
    own = await me.voice(reference_style="neutral")
    await me.add(CloneReference(clone_id=own, style="happy", path="clones/x", text="Some words.", duration=4.0))
    assert await ids(me, "tags=happy") == [own]
    assert (await voice(me, own))["model_config"]["supports_emotions"] == ["neutral", "happy"]
