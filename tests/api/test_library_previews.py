"""Previews of voices: made once, by a job, kept, made anew when the voice changes; and the sounds of voices as files."""

from __future__ import annotations

import asyncio
import io
from datetime import timedelta
from typing import Any

import httpx
import pytest
import soundfile
from sqlalchemy import select, update

from api.library import previews
from store.models import Clone, Job, User, VoicePreview
from store.models.job import PREVIEW
from store.presets import recordings, shipped
from tests.api.inference import MODELS, refused
from tests.api.rooms import WAIT_S, Caller
from tests.api.support import error_of

DEFAULT = "default_voice_001"
PRESET = shipped().default.voice_id


def path_of(voice_model_id: str) -> str:
    return f"/voice/models/{voice_model_id}/preview"


async def ready(me: Caller, voice_model_id: str) -> Any:
    """The preview once it is there."""
    async with asyncio.timeout(WAIT_S):
        while (answer := await me.ask("GET", path_of(voice_model_id))).status_code == 202:
            await asyncio.sleep(0.02)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def jobs(me: Caller) -> list[Job]:
    async with me.stores.database.read() as session:
        return list(await session.scalars(select(Job).where(Job.kind == PREVIEW)))


async def change(me: Caller, model: type[Any], **columns: Any) -> None:
    async with me.stores.database.write() as session:
        await session.execute(update(model).values(**columns))


async def forget_models(me: Caller) -> None:
    """Let the library ask the speech service again."""
    me.app.state.rooms.previews.capabilities._until = 0.0


@pytest.mark.parametrize("named", [DEFAULT, "a clone"])
async def test_a_preview_is_made_when_it_is_first_asked_for_and_then_kept(me: Caller, named: str) -> None:
    voice_model_id = await me.voice() if named == "a clone" else named
    me.inference.gate.clear()
    answer = await me.ask("GET", path_of(voice_model_id))
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "2")
    making = answer.json()["data"]
    assert (making["status"], making["preview_audio_url"], making["duration"]) == ("processing", None, None)
    url = f"/files/audio/preview_{voice_model_id}"
    assert await me.refused("GET", url) == (409, "PREVIEW_NOT_READY")
    me.inference.gate.set()
    made = await ready(me, voice_model_id)
    assert (made["voice_model_id"], made["status"], made["format"], made["sample_rate"]) == (voice_model_id, "ready", "wav", 24000)
    assert made["preview_audio_url"] == f"/api/v1{url}"
    assert made["preview_text"] == (await me.data("GET", f"/voice/models/{voice_model_id}"))["preview_text"]
    assert me.inference.asked("/plan")[0]["text"] == made["preview_text"]
    sound = await me.ask("GET", url)
    samples, rate = soundfile.read(io.BytesIO(sound.content))
    assert (rate, len(samples) / rate, len(sound.content)) == (24000, pytest.approx(made["duration"], abs=0.001), made["size"])
    assert [(job.id, job.user_id) for job in await jobs(me)] == [(made["job_id"], me.who.id)]
    assert (await ready(me, voice_model_id)) == made
    assert len(await jobs(me)) == 1


async def test_a_preview_is_no_job_of_the_persons_and_no_use_of_the_voice(me: Caller) -> None:
    made = await ready(me, PRESET)
    assert await me.data("GET", "/job") == []
    assert (await me.data("GET", f"/voice/models/{PRESET}"))["usage_count"] == 0
    assert await me.refused("DELETE", f"/job/{made['job_id']}") == (409, "BACKGROUND_JOB")


async def test_that_of_a_preset_is_made_once_for_everybody(me: Caller, stranger: Caller) -> None:
    first, second = await ready(me, DEFAULT), await ready(stranger, PRESET)
    assert second["job_id"] == first["job_id"]
    assert (await stranger.ask("GET", second["preview_audio_url"].removeprefix("/api/v1"))).status_code == 200
    assert (await stranger.ask("GET", f"/file/synthesis/{first['job_id']}")).status_code == 404, "the job stays another person's"
    async with me.stores.database.write() as session:
        await session.delete(await session.get_one(User, me.who.id))
    assert (await ready(stranger, PRESET))["job_id"] != first["job_id"]


async def test_many_at_once_make_it_once(me: Caller, stranger: Caller) -> None:
    me.inference.gate.clear()
    answers = await asyncio.gather(*(who.ask("GET", path_of(PRESET)) for who in (me, stranger) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["data"]["job_id"] for answer in answers}) == 1
    assert len(await jobs(me)) == 1
    me.inference.gate.set()


async def test_a_clone_that_has_changed_gets_another(me: Caller) -> None:
    own = await me.voice()
    anew = f"clones/{own}/reference-2.wav"
    await me.stores.objects.put(anew, await me.stores.objects.get((await me.row(Clone, own)).reference_path))
    last = await ready(me, own)
    for columns in ({"reference_text": "Other words."}, {"reference_path": anew}, {"parameters": {"speed": 1.5}}, {"language": "fr-FR"}):
        old = (await me.row(Job, last["job_id"])).output_path
        await change(me, Clone, **columns)
        made = await ready(me, own)
        assert made["job_id"] != last["job_id"], columns
        assert [job.id for job in await jobs(me)] == [made["job_id"]]
        assert old not in [stat.key async for stat in me.stores.objects.list()]
        assert (made["preview_text"] != last["preview_text"]) == ("language" in columns)
        last = made


async def test_a_new_name_makes_no_new_preview(me: Caller) -> None:
    own = await me.voice()
    first = await ready(me, own)
    await change(me, Clone, name="Another", description="Another")
    assert (await ready(me, own))["job_id"] == first["job_id"]


async def test_another_model_for_the_language_makes_another_but_not_knowing_does_not(me: Caller) -> None:
    first = await ready(me, PRESET)
    me.inference.faults["/models"] = lambda body: httpx.Response(503)
    await forget_models(me)
    assert (await ready(me, PRESET))["job_id"] == first["job_id"]
    better = {"code": "en-US", "level": "native", "model": "better", "reason": None}
    me.inference.faults["/models"] = lambda body: httpx.Response(200, json=MODELS | {"languages": [better]})
    await forget_models(me)
    second = await ready(me, PRESET)
    assert second["job_id"] != first["job_id"]
    assert (await ready(me, PRESET))["job_id"] == second["job_id"]


async def test_a_failure_is_said_and_tried_again_after_a_while(me: Caller) -> None:
    own = await me.voice()
    me.inference.faults["/plan"] = lambda body: refused("UNSUPPORTED_CHARACTERS")
    async with asyncio.timeout(WAIT_S):
        while (answer := await me.ask("GET", path_of(own))).status_code == 202:
            await asyncio.sleep(0.02)
    error_of(answer, 503, "PREVIEW_FAILED")
    assert 1 <= int(answer.headers["Retry-After"]) <= previews.RETRY_FAILED_S
    assert await me.refused("GET", f"/files/audio/preview_{own}") == (404, "FILE_NOT_FOUND")
    (failed,) = await jobs(me)
    del me.inference.faults["/plan"]
    assert (await me.ask("GET", path_of(own))).status_code == 503
    assert len(await jobs(me)) == 1, "nobody can fill the queue by asking again and again"
    await change(me, Job, completed_at=failed.completed_at - timedelta(seconds=previews.RETRY_FAILED_S))
    assert (await ready(me, own))["job_id"] != failed.id


async def test_one_whose_sound_is_gone_is_made_again(me: Caller) -> None:
    first = await ready(me, PRESET)
    await me.stores.objects.delete((await me.row(Job, first["job_id"])).output_path)
    second = await ready(me, PRESET)
    assert second["job_id"] != first["job_id"]
    await me.data("DELETE", f"/file/synthesis/{second['job_id']}")
    assert (await ready(me, PRESET))["job_id"] != second["job_id"]


async def test_it_goes_with_its_clone(me: Caller) -> None:
    own = await me.voice()
    made = await ready(me, own)
    await me.data("DELETE", f"/voice/clones/{own}")
    assert await me.counts() == (0, 0, 0, 0), "no job and no sound is left"
    async with me.stores.database.read() as session:
        assert (await session.scalars(select(VoicePreview))).all() == []
    for path in (path_of(own), made["preview_audio_url"].removeprefix("/api/v1"), f"/files/audio/reference_{own}"):
        assert (await me.ask("GET", path)).status_code == 404


async def test_only_for_who_has_the_voice_and_when_it_can_speak(me: Caller, stranger: Caller) -> None:
    own, making = await me.voice(), await me.voice(status="processing", reference_path=None)
    await ready(me, own)
    assert await stranger.refused("GET", path_of(own)) == (404, "VOICE_MODEL_NOT_FOUND")
    assert await me.refused("GET", path_of("preset_none")) == (404, "VOICE_MODEL_NOT_FOUND")
    assert await me.refused("GET", path_of(making)) == (409, "CLONE_NOT_READY")
    for kind in ("preview", "reference"):
        for method in ("GET", "HEAD"):
            assert (await stranger.ask(method, f"/files/audio/{kind}_{own}")).status_code == 404
        assert await stranger.refused("GET", f"/files/audio/{kind}_{making}") == (404, "FILE_NOT_FOUND")
        assert await stranger.refused("GET", f"/files/{kind}_{own}/info") == (404, "FILE_NOT_FOUND")
        assert await stranger.refused("POST", f"/files/{kind}_{own}/link") == (404, "FILE_NOT_FOUND")
        assert await me.refused("GET", f"/files/audio/{kind}_preset_none") == (404, "FILE_NOT_FOUND")
    assert await me.refused("GET", f"/files/audio/reference_{making}") == (409, "REFERENCE_NOT_READY")
    assert await me.refused("GET", "/files/audio/preview_preset_walter_001") == (404, "FILE_NOT_FOUND")


async def test_the_recording_of_a_preset_is_a_file_like_any_other(me: Caller) -> None:
    content = await recordings().get(shipped().default.recording)
    url = f"/files/audio/reference_{DEFAULT}"
    whole = await me.ask("GET", url)
    assert (whole.content, whole.headers["Content-Type"]) == (content, "audio/flac")
    assert whole.headers["Content-Disposition"] == f'attachment; filename="reference_{DEFAULT}.flac"'
    part = await me.ask("GET", url, headers={"Range": "bytes=4-9"})
    assert (part.status_code, part.content) == (206, content[4:10])
    assert (await me.ask("GET", url, headers={"If-None-Match": whole.headers["ETag"]})).status_code == 304
    assert (await me.ask("HEAD", url)).headers["Content-Length"] == str(len(content))
    info = await me.data("GET", f"/files/reference_{DEFAULT}/info")
    assert (info["kind"], info["size"], info["duration"]) == ("reference", len(content), shipped().default.duration)


async def test_a_player_needs_no_token_with_a_signed_address(me: Caller, client: httpx.AsyncClient) -> None:
    own = await me.voice()
    for voice_model_id in (PRESET, own):
        await ready(me, voice_model_id)
        for kind in ("preview", "reference"):
            link = await me.data("POST", f"/files/{kind}_{voice_model_id}/link")
            assert (await client.get(link["url"])).status_code == 200
            assert (await client.get(f"{link['url']}x")).status_code == 403
    await change(me, User, is_active=False)
    assert (await client.get(link["url"])).status_code == 404, "what a disabled account has given away ends with it"
