"""Repeats that are copied instead of being spoken again, and when they are not."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import update

from settings import Settings
from store.models import Clone
from tests.api.inference import FakeInference
from tests.api.rooms import Caller, recording
from tests.api.support import make_app

TEXT = "First. Second."


async def spoken(me: Caller, voice: str, **wanted: Any) -> dict[str, Any]:
    body = {"text_content": TEXT, "voice_model_id": voice, "config": {"seed": 7}} | wanted
    job = await me.data("POST", "/job", json=body)
    done: dict[str, Any] = await me.until(f"/job/{job['id']}", "completed", "failed")
    assert done["status"] == "completed", done
    return done


async def sound(me: Caller, job: dict[str, Any]) -> bytes:
    answer = await me.ask("GET", f"/file/synthesis/{job['id']}")
    assert answer.status_code == 200
    return answer.content


async def test_the_same_again_is_copied_and_each_has_its_own_file(me: Caller) -> None:
    voice = await me.voice()
    first = await spoken(me, voice, config={"seed": 7, "include_timestamps": True})
    asked = len(me.inference.asked("/synthesize"))
    second = await spoken(me, voice, config={"seed": 7, "include_timestamps": True})
    assert (first["cache_hit"], second["cache_hit"]) == (False, True)
    assert len(me.inference.asked("/synthesize")) == asked, "nothing was spoken"
    for same in ("duration", "output_size", "model", "text_hash", "language_support"):
        assert first[same] == second[same]
    kept = await sound(me, first)
    assert await sound(me, second) == kept
    words = await me.data("GET", f"/job/{second['id']}/timestamps")
    assert words == await me.data("GET", f"/job/{first['id']}/timestamps") | {"job_id": second["id"]}
    assert len(me.inference.asked("/align")) == 1
    await me.data("DELETE", f"/job/{first['id']}")
    assert await sound(me, second) == kept
    third = await spoken(me, voice)
    assert third["cache_hit"] is True, "a copy is as good"
    await me.data("DELETE", f"/file/synthesis/{second['id']}")
    assert await sound(me, third) == kept


OTHERS: list[dict[str, Any]] = [
    {"text_content": "First. Third."},
    {"config": {"seed": 8}},
    {"config": {"seed": 7, "nfe_step": 32}},
    {"config": {"seed": 7, "cfg_strength": 3.0}},
    {"config": {"seed": 7, "loudness_lufs": -20.0}},
    {"speed": 1.5},
    {"pitch": 1.2},
    {"volume": 0.5},
    {"output_format": "flac"},
    {"sample_rate": 16_000},
    {"text_language": "en-GB"},
    {"config": {}},
]


async def test_what_differs_is_spoken(me: Caller) -> None:
    voice = await me.voice()
    await spoken(me, voice)
    for other in OTHERS:
        assert (await spoken(me, voice, **other))["cache_hit"] is False, other
    for same in ({}, {"speed": 1.0, "pitch": 1}, OTHERS[4]):
        assert (await spoken(me, voice, **same))["cache_hit"] is True, same


async def test_nobody_is_given_what_another_has_spoken(me: Caller, stranger: Caller) -> None:
    await spoken(me, "default_voice_001")
    assert (await spoken(stranger, "default_voice_001"))["cache_hit"] is False
    assert (await spoken(stranger, "default_voice_001"))["cache_hit"] is True


async def test_a_voice_that_was_made_anew_speaks_anew(me: Caller) -> None:
    voice = await me.voice()
    await spoken(me, voice)
    key = f"clones/{voice}/reference-2.wav"
    await me.stores.objects.put(key, recording(5.0, rate=24_000))
    async with me.stores.database.write() as session:
        await session.execute(update(Clone).where(Clone.id == voice).values(reference_path=key))
    assert (await spoken(me, voice))["cache_hit"] is False
    async with me.stores.database.write() as session:
        await session.execute(update(Clone).where(Clone.id == voice).values(reference_text="Other words."))
    assert (await spoken(me, voice))["cache_hit"] is False
    assert (await spoken(me, voice))["cache_hit"] is True
    assert (await spoken(me, await me.voice(reference_text="Yet others.")))["cache_hit"] is False


async def test_another_revision_of_the_model_speaks_anew(me: Caller) -> None:
    voice = await me.voice()
    await spoken(me, voice)
    me.inference.revision = "2"
    assert (await spoken(me, voice))["cache_hit"] is False
    assert (await spoken(me, voice))["cache_hit"] is True


async def test_what_is_gone_or_not_done_is_not_copied(me: Caller) -> None:
    voice = await me.voice()
    first = await spoken(me, voice)
    await me.data("DELETE", f"/file/synthesis/{first['id']}")
    second = await spoken(me, voice)
    assert second["cache_hit"] is False
    keys = [each.key async for each in me.stores.objects.list(f"jobs/{second['id']}")]
    await me.stores.objects.delete(*keys)  # behind the row's back
    assert (await spoken(me, voice))["cache_hit"] is False


async def test_a_direct_synthesis_repeats_too_and_a_stream_is_spoken(me: Caller) -> None:
    voice = await me.voice()
    await spoken(me, voice)
    path, body = f"/voice/clones/{voice}/synthesize", {"text": TEXT, "seed": 7}
    whole = await me.data("POST", path, json=body)
    assert (await me.data("GET", f"/job/{whole['job_id']}"))["cache_hit"] is True
    asked = len(me.inference.asked("/synthesize"))
    assert len((await me.ask("POST", path, json=body | {"stream": True})).content) > 10_000
    assert len(me.inference.asked("/synthesize")) == asked + 2


class TestSwitchedOff:
    @pytest.fixture
    def app(self, settings: Settings, inference: FakeInference) -> Litestar:
        return make_app(settings.model_copy(update={"speech_cache": False}), inference_transport=inference.transport)

    async def test_everything_is_spoken(self, me: Caller) -> None:
        voice = await me.voice()
        for _ in range(2):
            assert (await spoken(me, voice))["cache_hit"] is False
