"""Voices that sound alike: one's own and the presets, like one that is kept, or like a file of which nothing is."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from store.models import Clone, Sample
from store.presets import embeddings, shipped
from store.vectors import pack
from tests.api.rooms import Caller, recording
from tests.api.support import error_of
from tests.api.test_samples_processing import row, voiced

PATH = "/voice/clones/similar"
CLARA = shipped().default.voice_id


async def cloned(me: Caller, clone_id: str, angle: float) -> str:
    voice = np.zeros(256, np.float32)
    voice[:2] = np.cos(angle), np.sin(angle)
    await me.add(Clone(id=clone_id, user_id=me.who.id, name=clone_id, language="en-US", status="ready", embedding=pack(voice.tolist())))
    await me.stores.vectors.put(clone_id, me.who.id, voice, "clone")
    return clone_id


async def found(me: Caller, **request: Any) -> list[str]:
    return [voice["id"] for voice in (await me.data("POST", PATH, **request))["voices"]]


@pytest.fixture
async def voices(me: Caller, stranger: Caller) -> None:
    await voiced(me, "vs_here", 0.0)
    await voiced(me, "vs_near", 0.1)
    await voiced(me, "vs_far", 1.5)
    await cloned(me, "vc_nearer", -0.05)
    await cloned(me, "vc_off", 1.4)
    await voiced(stranger, "vs_theirs", 0.0)
    await cloned(stranger, "vc_theirs", 0.0)
    await me.stores.vectors.put("vs_gone", me.who.id, np.eye(1, 256, dtype=np.float32)[0])


@pytest.mark.usefixtures("voices")
async def test_samples_and_clones_of_ones_own_by_their_likeness(me: Caller) -> None:
    answer = await me.data("POST", PATH, json={"id": "vs_here"})
    assert (answer["threshold"], answer["limit"]) == (me.app.state.settings.similarity_threshold, 10)
    assert answer["voices"] == [
        {"type": "clone", "id": "vc_nearer", "name": "vc_nearer", "similarity": pytest.approx(np.cos(0.05), abs=1e-3)},
        {"type": "sample", "id": "vs_near", "name": "vs_near", "similarity": pytest.approx(np.cos(0.1), abs=1e-3)},
    ]
    assert await found(me, json={"id": "vc_nearer"}) == ["vs_here", "vs_near"]
    assert await found(me, json={"id": "vs_far"}) == ["vc_off"]
    assert await found(me, json={"id": "vs_here", "threshold": 0.998}) == ["vc_nearer"]
    assert await found(me, json={"id": "vs_here", "threshold": -1, "limit": 3}) == ["vc_nearer", "vs_near", "vc_off"], "none that is gone"
    everything = await found(me, json={"id": "vs_here", "threshold": -1})
    assert sorted(everything) == sorted(["vs_near", "vs_far", "vc_nearer", "vc_off", *embeddings()])


async def like_clara(me: Caller, id_: str, apart: float) -> str:
    """A clone whose voice is that of the default preset, turned by an angle towards what is across it."""
    clara = embeddings()[CLARA]
    across = np.eye(1, 256, dtype=np.float32)[0]
    across -= (across @ clara) * clara
    voice = np.cos(apart) * clara + np.sin(apart) * across / np.linalg.norm(across)
    await me.add(Clone(id=id_, user_id=me.who.id, name=id_, language="en-US", status="ready", embedding=pack(voice.tolist())))
    await me.stores.vectors.put(id_, me.who.id, voice.astype(np.float32), "clone")
    return id_


async def test_presets_are_among_the_voices(me: Caller, stranger: Caller) -> None:
    near, off = await like_clara(me, "vc_clara", 0.1), await like_clara(me, "vc_off", 0.5)
    await like_clara(stranger, "vc_theirs", 0.0)
    answer = await me.data("POST", PATH, json={"id": near, "threshold": 0.99})
    alike = pytest.approx(np.cos(0.1), abs=1e-3)
    assert answer["voices"] == [{"type": "preset", "id": CLARA, "name": "Clara", "similarity": alike}], "once, under its own name"
    assert await found(me, json={"id": near}) == [CLARA, off]
    for name in (CLARA, "default_voice_001"):
        assert await found(me, json={"id": name}) == [near, off], "not itself under another name, and nobody else's"
    others = await found(me, json={"id": CLARA, "threshold": -1})
    assert set(others) == {near, off, *embeddings()} - {CLARA}
    assert len(await found(me, json={"id": near, "threshold": -1, "limit": 2})) == 2
    assert await stranger.data("GET", "/voice/models?type=custom") != [], "the other's clone is there, and was not found"


async def test_a_recording_is_compared_with_the_presets(me: Caller) -> None:
    me.inference.faults["/embed"] = lambda _body: httpx.Response(200, json={"ok": True, "embedding": embeddings()[CLARA].tolist()})
    answer = await me.data("POST", PATH, files={"file": ("a.wav", recording())})
    assert [(voice["type"], voice["id"], voice["similarity"]) for voice in answer["voices"]] == [("preset", CLARA, 1.0)]


@pytest.mark.usefixtures("voices")
async def test_a_clone_is_not_taken_for_a_sample(me: Caller) -> None:
    assert [each["sample_id"] for each in (await me.data("GET", "/voice/samples/vs_here"))["similar_samples"]] == ["vs_near"]


@pytest.mark.usefixtures("voices")
async def test_a_file_is_listened_to_and_nothing_of_it_is_kept(me: Caller) -> None:
    before, vectors = await me.counts(), set(await me.stores.vectors.ids())
    file = {"file": ("a.wav", recording())}
    assert await found(me, files=file) == ["vs_here", "vc_nearer", "vs_near"]
    assert await found(me, files=file, data={"limit": "1", "threshold": "0.5"}) == ["vs_here"]
    assert (await me.counts(), set(await me.stores.vectors.ids())) == (before, vectors)
    (heard, _) = me.inference.asked("/embed")
    assert heard["audio"]


async def test_a_voice_that_was_made_is_found(me: Caller) -> None:
    sample = await me.upload()
    made = await me.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample["sample_id"]]})
    await me.until(f"/voice/clones/{made['clone_id']}", "ready")
    assert set(await found(me, files={"file": ("a.wav", recording())})) == {sample["sample_id"], made["clone_id"]}
    assert await found(me, json={"id": made["clone_id"]}) == [sample["sample_id"]]


@pytest.mark.usefixtures("voices")
async def test_what_is_wrong_is_said(me: Caller, stranger: Caller) -> None:
    for id_, code in (("vs_theirs", "SAMPLE_NOT_FOUND"), ("vc_theirs", "CLONE_NOT_FOUND"), ("job_1", "SAMPLE_NOT_FOUND")):
        assert await me.refused("POST", PATH, json={"id": id_}) == (404, code)
    deaf = await row(me, "vs_deaf", status="uploaded")
    assert await me.refused("POST", PATH, json={"id": deaf}) == (409, "VOICE_NOT_READY")
    for wrong in ({}, {"id": 1}, {"id": "vs_here", "limit": 0}, {"id": "vs_here", "limit": 101}, {"id": "vs_here", "threshold": 1.1}, []):
        assert await me.refused("POST", PATH, json=wrong) == (400, "VALIDATION_ERROR"), wrong
    assert await me.refused("POST", PATH, content=b"{") == (400, "MALFORMED_JSON")
    assert await me.refused("POST", PATH) == (400, "MISSING_BODY")
    assert await me.refused("POST", PATH, content=b"a=b", headers={"Content-Type": "text/plain"}) == (415, "UNSUPPORTED_MEDIA_TYPE")
    file = ("a.wav", recording())
    assert await me.refused("POST", PATH, files={"other": file}) == (400, "VALIDATION_ERROR")
    assert await me.refused("POST", PATH, files={"file": file}, data={"limit": "many"}) == (400, "VALIDATION_ERROR")
    assert await me.refused("POST", PATH, files={"file": ("a.wav", b"RIFF, it says")}) == (400, "INVALID_AUDIO")
    assert await me.refused("POST", PATH, files={"file": ("a.wav", recording(1.0))}) == (400, "AUDIO_TOO_SHORT")
    assert (await me.ask("POST", PATH, files={"file": ("a.wav", b"\0" * (17 * 1024 * 1024))})).status_code == 413
    error_of(await me.client.post(f"/api/v1{PATH}", json={"id": "vs_here"}), 401, "UNAUTHORIZED")
    assert await stranger.refused("POST", PATH, json={"id": "vs_here"}) == (404, "SAMPLE_NOT_FOUND")
    assert (await me.row(Sample, "vs_here")).name == "vs_here"


async def test_without_the_service_nobody_listens(me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.inference.tier.RETRIES", 0)

    def away(_body: dict[str, Any]) -> httpx.Response:
        raise httpx.ConnectError("nobody there")

    me.inference.faults["/embed"] = away
    answer = await me.ask("POST", PATH, files={"file": ("a.wav", recording())})
    error_of(answer, 503, "INFERENCE_UNAVAILABLE")
    assert int(answer.headers["retry-after"]) >= 1


async def test_both_forms_are_documented(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    content = document["paths"]["/api/v1/voice/clones/similar"]["post"]["requestBody"]["content"]
    assert content["application/json"]["schema"]["$ref"].endswith("/SimilarTo")
    assert content["multipart/form-data"]["schema"]["$ref"].endswith("/SimilarToFile")
    schemas = document["components"]["schemas"]
    assert schemas["SimilarTo"]["required"] == ["id"]
    assert schemas["SimilarToFile"]["properties"]["file"]["format"] == "binary"
