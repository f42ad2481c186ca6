"""When the words of a job are said: with the job, or when somebody asks."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from store.models import JobTimestamps
from store.repositories.jobs import JobRepository
from tests.api.inference import refused
from tests.api.rooms import Caller

TEXT = 'Is 2 < 3? "Yes," said Ann. So it is.'


async def spoken(me: Caller, text: str = TEXT, **wanted: Any) -> dict[str, Any]:
    job = await me.data("POST", "/job", json={"text_content": text, "voice_model_id": await me.voice()} | wanted)
    done: dict[str, Any] = await me.until(f"/job/{job['id']}", "completed", "failed")
    assert done["status"] == "completed", done
    return done


async def kept(me: Caller) -> int:
    async with me.stores.database.read() as session:
        return len((await session.scalars(select(JobTimestamps.job_id))).all())


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"pitch": 1.3, "speed": 2.0, "volume": 0.0, "sample_rate": 8000, "output_format": "mp3"},
        {"sample_rate": 22_050, "output_format": "opus"},
    ],
)
async def test_words_lie_in_the_text_and_in_the_sound(me: Caller, wanted: dict[str, Any]) -> None:
    job = await spoken(me, config={"include_timestamps": True}, **wanted)
    asked = len(me.inference.asked("/align"))
    assert asked == 1, "found with the job"
    found = await me.data("GET", f"/job/{job['id']}/timestamps")
    assert len(me.inference.asked("/align")) == asked
    assert (found["method"], found["granularity"], found["language"]) == ("estimated", "word", "en-US")
    assert found["duration"] == job["duration"]
    words = found["words"]
    assert [word["text"] for word in words] == ["Is", "2", "3", "Yes", "said", "Ann", "So", "it", "is"]
    assert all(TEXT[word["char_start"] : word["char_end"]] == word["text"] for word in words)
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= job["duration"]
    assert times[-1] > 0.9 * job["duration"], "the whole sound is covered"


async def test_they_are_found_when_asked_for_and_kept(me: Caller) -> None:
    job = await spoken(me)
    assert (me.inference.asked("/align"), await kept(me)) == ([], 0)
    answers = await asyncio.gather(*(me.data("GET", f"/job/{job['id']}/timestamps") for _ in range(3)))
    assert answers[0] == answers[1] == answers[2]
    asked = len(me.inference.asked("/align"))
    assert (asked >= 1, await kept(me)) == (True, 1)
    assert await me.data("GET", f"/job/{job['id']}/timestamps") == answers[0]
    assert len(me.inference.asked("/align")) == asked
    await me.data("DELETE", f"/file/synthesis/{job['id']}")
    assert await me.data("GET", f"/job/{job['id']}/timestamps") == answers[0] | {"duration": None}, "still true"
    await me.data("DELETE", f"/job/{job['id']}")
    assert await kept(me) == 0


async def test_sentences_and_what_the_job_says_of_itself(me: Caller) -> None:
    job = await spoken(me, config={"include_timestamps": True, "timestamp_granularity": "sentence"})
    found = await me.data("GET", f"/job/{job['id']}/timestamps")
    assert found["granularity"] == "sentence"
    assert "words" not in found
    assert [each["text"] for each in found["sentences"]] == ["Is 2 < 3?", '"Yes," said Ann.', "So it is."]
    words = (await me.data("GET", f"/job/{job['id']}/timestamps?granularity=word"))["words"]
    assert [each["start"] for each in found["sentences"]] == [words[0]["start"], words[3]["start"], words[6]["start"]]


async def test_captions_have_their_own_types(me: Caller) -> None:
    job = await spoken(me)
    subrip = await me.ask("GET", f"/job/{job['id']}/timestamps?format=srt")
    assert subrip.headers["content-type"] == "application/x-subrip; charset=utf-8"
    assert subrip.headers["content-disposition"] == f'attachment; filename="{job["id"]}.srt"'
    assert subrip.text.startswith("1\n00:00:00,000 --> 00:00:00,")
    assert "\nIs 2 ‹ 3?\n" in subrip.text
    webvtt = await me.ask("GET", f"/job/{job['id']}/timestamps?format=vtt&granularity=word")
    assert webvtt.headers["content-type"] == "text/vtt; charset=utf-8"
    assert webvtt.text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:00.")
    assert webvtt.text.count("-->") == 9


async def test_who_may_ask_and_when(me: Caller, stranger: Caller) -> None:
    job = await spoken(me)
    assert await stranger.refused("GET", f"/job/{job['id']}/timestamps") == (404, "JOB_NOT_FOUND")
    assert await me.refused("GET", "/job/job_none/timestamps") == (404, "JOB_NOT_FOUND")
    for query in ("format=txt", "granularity=letter", "format="):
        assert await me.refused("GET", f"/job/{job['id']}/timestamps?{query}") == (400, "VALIDATION_ERROR"), query
    running = await me.job_row(status="processing", output_path="jobs/x/1.wav")
    assert await me.refused("GET", f"/job/{running}/timestamps") == (409, "JOB_NOT_COMPLETED")
    for status in ("failed", "cancelled", "completed"):
        silent = await me.job_row(status=status)
        assert await me.refused("GET", f"/job/{silent}/timestamps") == (404, "FILE_NOT_FOUND"), status
    gone = await me.job_row(output_path="jobs/x/1.wav")
    assert await me.refused("GET", f"/job/{gone}/timestamps") == (404, "FILE_NOT_FOUND")
    sample = await me.job_row(kind="sample_processing")
    assert await me.refused("GET", f"/job/{sample}/timestamps") == (409, "BACKGROUND_JOB")


async def test_the_sound_is_not_lost_with_its_words(me: Caller) -> None:
    me.inference.faults["/align"] = lambda body: httpx.Response(400)
    job = await spoken(me, config={"include_timestamps": True})
    assert await me.refused("GET", f"/job/{job['id']}/timestamps") == (503, "ALIGNMENT_FAILED")
    me.inference.faults["/align"] = lambda body: httpx.Response(200, json={"ok": True, "method": "magic", "words": []})
    assert await me.refused("GET", f"/job/{job['id']}/timestamps") == (503, "ALIGNMENT_FAILED")
    assert await kept(me) == 0
    del me.inference.faults["/align"]
    assert (await me.data("GET", f"/job/{job['id']}/timestamps"))["words"]


async def test_a_text_without_words_has_none(me: Caller) -> None:
    me.inference.faults["/align"] = lambda body: refused("EMPTY_TEXT")
    job = await spoken(me, config={"include_timestamps": True})
    found = await me.data("GET", f"/job/{job['id']}/timestamps")
    assert found["words"] == []
    assert (await me.ask("GET", f"/job/{job['id']}/timestamps?format=vtt")).text == "WEBVTT\n"


async def test_a_lost_job_leaves_no_words(me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written in the commit that completes the job, and not without it."""
    me.inference.gate.clear()
    job = await me.data(
        "POST", "/job", json={"text_content": TEXT, "voice_model_id": await me.voice(), "config": {"include_timestamps": True}}
    )
    await me.inference.waiting.acquire()
    keep = JobRepository.keep_timestamps
    written: list[str] = []

    async def noted(self: JobRepository, found: JobTimestamps) -> None:
        written.append(found.job_id)
        await keep(self, found)

    monkeypatch.setattr(JobRepository, "keep_timestamps", noted)
    await me.data("PATCH", f"/job/{job['id']}", json={"status": "cancelled"})
    me.inference.gate.set()
    following = await spoken(me, config={"include_timestamps": True})
    assert (written, await kept(me)) == ([following["id"]], 1)
