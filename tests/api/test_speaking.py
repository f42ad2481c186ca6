"""Speaking at once, within the request: whole, streamed, broken off, cancelled."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import soundfile
from sqlalchemy import select, update

from api.clones.schemas import DirectSynthesis
from api.clones.synthesis import DirectSpeech
from api.errors import ApiError, UnavailableError
from store.faults import UnreachableError
from store.models import Job
from store.repositories.queue import JobQueue
from tests.api.inference import refused
from tests.api.rooms import Caller
from tests.api.support import Logs, error_of

TEXT = "First. Second. Third."


def speech_of(me: Caller) -> DirectSpeech:
    found: DirectSpeech = me.app.state.rooms.speech
    return found


async def begin(me: Caller, **wanted: Any) -> AsyncIterator[bytes]:
    return await speech_of(me).stream(me.who.id, await me.voice(), DirectSynthesis(text=TEXT, **wanted), "req_1")


async def the_job(me: Caller) -> Job:
    async with me.stores.database.read() as session:
        return (await session.scalars(select(Job))).one()


async def test_whole_and_streamed_are_the_same_sound(me: Caller) -> None:
    path = f"/voice/clones/{await me.voice()}/synthesize"
    made = await me.data("POST", path, json={"text": TEXT, "output_format": "flac", "seed": 1})
    assert made["status"] == "completed"
    kept, rate = soundfile.read(io.BytesIO((await me.ask("GET", made["output_path"].removeprefix("/api/v1"))).content))
    assert len(kept) / rate == pytest.approx(made["duration"], abs=0.001)
    for request in ({"json": {"text": TEXT, "stream": True}}, {"json": {"text": TEXT}, "headers": {"Accept": "audio/wav"}}):
        answer = await me.ask("POST", path, **request)
        assert answer.headers["content-type"] == "audio/wav"
        assert (len(answer.content) - len(kept) * 2) < 200, "a header and as many samples"
    assert (await me.counts())[2] == 3


async def test_whoever_listens_comes_before_jobs(me: Caller) -> None:
    voice = await me.voice()
    for stream in (False, True):
        await me.ask("POST", f"/voice/clones/{voice}/synthesize", json={"text": TEXT, "stream": stream})
    assert me.inference.priorities == ["u=1"] * 6
    job = await me.data("POST", "/job", json={"text_content": TEXT, "voice_model_id": voice, "config": {"seed": 9}})
    await me.until(f"/job/{job['id']}", "completed")
    assert me.inference.priorities[6:] == [""] * 3


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (lambda body: refused("UNSUPPORTED_CHARACTERS", characters=[]), 400, "UNSUPPORTED_CHARACTERS"),
        (lambda body: httpx.Response(500), 503, "SYNTHESIS_FAILED"),
        (lambda body: httpx.Response(200, text="<html>a proxy's page</html>"), 503, "SYNTHESIS_FAILED"),
    ],
    ids=["its text", "a refusal", "nonsense"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_goes_wrong_before_the_first_sound_leaves_nothing(me: Caller, stream: bool, fault: Any, status: int, code: str) -> None:
    voice = await me.voice()
    before = await me.counts()
    me.inference.faults["/plan"] = fault
    answer = await me.ask("POST", f"/voice/clones/{voice}/synthesize", json={"text": TEXT, "stream": stream})
    error_of(answer, status, code)
    assert await me.counts() == before


async def test_a_fault_of_our_own_is_one_and_no_worker_repeats_it(me: Caller, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("the inside")

    voice = await me.voice()
    before = await me.counts()
    monkeypatch.setattr(speech_of(me).handler, "run", broken)
    answer = await me.ask("POST", f"/voice/clones/{voice}/synthesize", json={"text": TEXT})
    error_of(answer, 500, "INTERNAL_ERROR")
    assert await me.counts() == before
    assert "direct synthesis broke" in logs.text
    assert TEXT not in logs.text


async def test_cancelling_a_direct_synthesis_ends_it_and_keeps_the_row(me: Caller) -> None:
    me.inference.gate.clear()
    voice = await me.voice()
    asked = asyncio.create_task(me.ask("POST", f"/voice/clones/{voice}/synthesize", json={"text": TEXT}))
    await me.inference.waiting.acquire()
    job = await the_job(me)
    assert (job.status, job.attempt) == ("processing", 1)
    await me.data("PATCH", f"/job/{job.id}", json={"status": "cancelled"})
    me.inference.gate.set()  # the next report, or the next heartbeat, finds the lease lost
    error_of(await asked, 409, "JOB_CANCELLED")
    assert (await the_job(me)).status == "cancelled"


async def test_one_whose_lease_is_over_will_be_finished_later_and_was_not_cancelled(me: Caller) -> None:
    me.inference.gate.clear()
    voice = await me.voice()
    asked = asyncio.create_task(me.ask("POST", f"/voice/clones/{voice}/synthesize", json={"text": TEXT}))
    await me.inference.waiting.acquire()
    async with me.stores.database.write() as session:
        await session.execute(update(Job).values(lease_owner="another", attempt=2))
    me.inference.gate.set()
    error_of(await asked, 503, "STORAGE_UNAVAILABLE")


async def test_a_job_that_another_worker_took_over_is_not_deleted(me: Caller) -> None:
    me.inference.gate.clear()
    voice = await me.voice()
    asked = asyncio.create_task(me.ask("POST", f"/voice/clones/{voice}/synthesize", json={"text": TEXT}))
    await me.inference.waiting.acquire()
    async with me.stores.database.write() as session:
        await session.execute(update(Job).values(lease_owner="another", attempt=2, status="completed", output_path="jobs/x/2.wav"))
    me.inference.gate.set()
    assert (await asked).status_code == 409
    assert (await the_job(me)).output_path == "jobs/x/2.wav"


async def test_sound_that_is_made_is_answered_though_the_database_was_away_at_its_end(me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    complete, failures = JobQueue.complete, [UnreachableError("refused")] * 2

    async def refused_at_first(self: JobQueue, *lease: Any, **outcome: Any) -> bool:
        if failures:
            raise failures.pop()
        return await complete(self, *lease, **outcome)

    monkeypatch.setattr(JobQueue, "complete", refused_at_first)
    made = await me.data("POST", f"/voice/clones/{await me.voice()}/synthesize", json={"text": TEXT})
    assert not failures
    assert (made["status"], (await the_job(me)).attempt) == ("completed", 1)
    assert (await me.ask("GET", made["output_path"].removeprefix("/api/v1"))).status_code == 200


async def test_a_listener_who_goes_does_not_stop_the_job_and_costs_no_memory(me: Caller) -> None:
    stream = await begin(me)
    assert await anext(stream)
    me.inference.gate.clear()
    (running,) = speech_of(me)._running
    await stream.aclose()  # type: ignore[attr-defined]
    me.inference.gate.set()
    done = await running
    assert done.status == "completed"
    sound = await me.ask("GET", f"/file/synthesis/{done.id}")
    assert len(sound.content) == done.output_size


async def test_a_failure_after_the_first_sound_breaks_the_stream_off(me: Caller) -> None:
    me.app.state.rooms.speech.handler.chunk_concurrency = 1
    stream = await begin(me)
    assert await anext(stream)
    me.inference.faults["/synthesize"] = lambda body: httpx.Response(400)
    with pytest.raises(ApiError):
        async for _ in stream:
            pass


async def test_a_stopping_server_hands_the_job_on(me: Caller) -> None:
    me.inference.gate.clear()
    starting = asyncio.create_task(begin(me))
    await me.inference.waiting.acquire()
    await speech_of(me).stop()
    with pytest.raises(UnavailableError):
        await starting
    assert (await the_job(me)).status in {"pending", "processing"}
    me.inference.gate.set()
    job = await the_job(me)
    me.app.state.rooms.worker.ring()
    assert (await me.until(f"/job/{job.id}", "completed"))["attempt"] == 1
