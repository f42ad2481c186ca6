"""Progress as server-sent events: what is said, when it ends, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar.response import ServerSentEventMessage
from sqlalchemy import delete, event, update

from api.jobs import events
from api.jobs.events import ProgressStreams
from store.models import Job
from tests.api.rooms import Caller

COMPLETE = {"event": "complete"}


def streams_of(me: Caller) -> ProgressStreams:
    found: ProgressStreams = me.app.state.rooms.streams
    return found


async def written(me: Caller, job_id: str, **columns: Any) -> None:
    """Change the row as a worker would, and say so."""
    async with me.stores.database.write() as session:
        await session.execute(update(Job).where(Job.id == job_id).values(**columns))
    streams_of(me).notify(job_id)


async def following(stream: AsyncIterator[ServerSentEventMessage]) -> dict[str, Any]:
    async with asyncio.timeout(60):
        message = await anext(stream)
    assert isinstance(message.data, str)
    found: dict[str, Any] = json.loads(message.data)
    return found


async def sent_away(stream: AsyncIterator[ServerSentEventMessage]) -> bool:
    """Whether it ends with the time after which to connect again."""
    async with asyncio.timeout(60):
        last = (await anext(stream)).encode().decode()
    return "retry: 1000" in last and "data:" not in last and await ended(stream)


async def ended(stream: AsyncIterator[ServerSentEventMessage]) -> bool:
    async with asyncio.timeout(60):
        return await anext(stream, None) is None


async def events_of(me: Caller, job_id: str, **headers: str) -> list[dict[str, Any]]:
    answer = await me.ask("GET", f"/job/{job_id}/progress", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]


async def test_a_job_is_followed_to_its_end(me: Caller) -> None:
    job = await me.data("POST", "/job", json={"text_content": "One. Two. Three.", "voice_model_id": await me.voice()})
    heard = await events_of(me, job["id"])
    assert heard[-1] == COMPLETE
    assert (heard[-2]["status"], heard[-2]["progress"]) == ("completed", 100.0)
    assert heard[-2]["output_file_path"] == f"/api/v1/file/synthesis/{job['id']}"
    progress = [each["progress"] for each in heard[:-1]]
    assert progress == sorted(progress)


async def test_a_job_that_has_ended_answers_at_once_and_says_why(me: Caller) -> None:
    job_id = await me.job_row(status="failed", error_code="EMPTY_TEXT", error_message="Nothing to say")
    first, last = await events_of(me, job_id)
    assert (first["status"], first["error_code"], first["error_message"], last) == ("failed", "EMPTY_TEXT", "Nothing to say", COMPLETE)


async def test_the_last_event_seen_is_not_repeated(me: Caller) -> None:
    job_id = await me.job_row()
    answer = await me.ask("GET", f"/job/{job_id}/progress")
    last_id = next(line[3:].strip() for line in answer.text.splitlines() if line.startswith("id:"))
    assert await events_of(me, job_id, **{"Last-Event-ID": last_id}) == [COMPLETE]
    assert len(await events_of(me, job_id, **{"Last-Event-ID": "x" * 5000})) == 2


async def test_every_change_is_heard(me: Caller) -> None:
    job_id = await me.job_row(status="processing")
    stream = streams_of(me).follow(job_id, None)
    assert (await following(stream))["progress"] == 0
    for progress in (20.0, 60.0):
        await written(me, job_id, progress=progress)
        assert (await following(stream))["progress"] == progress
    await written(me, job_id, status="completed", progress=100.0)
    assert (await following(stream))["status"] == "completed"
    assert await following(stream) == COMPLETE
    assert await ended(stream)


async def test_a_change_that_nobody_told_of_is_seen_a_little_later(me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOOK_S", 0.05)
    job_id = await me.job_row(status="processing")
    stream = streams_of(me).follow(job_id, None)
    await following(stream)
    async with me.stores.database.write() as session:
        await session.execute(update(Job).values(progress=50.0))
    assert (await following(stream))["progress"] == 50


async def test_a_deleted_job_ends_its_streams(me: Caller) -> None:
    job_id = await me.job_row(status="processing")
    stream = streams_of(me).follow(job_id, None)
    await following(stream)
    async with me.stores.database.write() as session:
        await session.execute(delete(Job))
    streams_of(me).notify(job_id)
    assert await following(stream) == COMPLETE
    assert await ended(stream)


async def test_a_quiet_stream_pings_without_an_event(me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOOK_S", 0.01)
    monkeypatch.setattr(events, "PING_S", 0.02)
    stream = streams_of(me).follow(await me.job_row(status="processing"), None)
    await following(stream)
    async with asyncio.timeout(60):
        ping = (await anext(stream)).encode().decode()
    assert ping.startswith(": ping")
    assert "data:" not in ping, "an event with empty data would be read as JSON"


async def test_a_stream_ends_after_its_time_and_when_the_server_stops(me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await me.job_row(status="processing")
    monkeypatch.setattr(events, "LIFE_S", 0.02)
    monkeypatch.setattr(events, "LOOK_S", 0.01)
    short = streams_of(me).follow(job_id, None)
    await following(short)
    assert await sent_away(short)
    monkeypatch.setattr(events, "LIFE_S", 600)
    monkeypatch.setattr(events, "LOOK_S", 600)
    stream = streams_of(me).follow(job_id, None)
    await following(stream)
    streams_of(me).end()
    assert await sent_away(stream)


async def test_clients_that_go_leave_no_subscription_and_no_connection(me: Caller) -> None:
    job_id = await me.job_row(status="processing")

    async def look_and_go() -> None:
        spoken = asyncio.Event()
        asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> dict[str, Any]:
            if (message := next(asked, None)) is not None:
                return message
            await spoken.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message.get("body"):
                spoken.set()

        path = f"/api/v1/job/{job_id}/progress"
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": path,
            "raw_path": path.encode(), "root_path": "", "query_string": b"", "client": ("127.0.0.1", 1), "server": ("voxify.test", 80),
            "headers": [(b"authorization", me.who.headers["Authorization"].encode())], "extensions": {}, "state": {},
        }  # fmt: skip
        await me.app(scope, receive, send)  # type: ignore[arg-type]

    async with asyncio.timeout(20):
        await asyncio.gather(*(look_and_go() for _ in range(20)))
        while streams_of(me)._watching or me.stores.database.engine.pool.checkedout():  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
    assert len(me.app.state.rooms.streams.channels._channels) == 1, "books do not grow with the jobs that were watched"


async def test_strangers_watch_nothing(me: Caller, stranger: Caller) -> None:
    job_id = await me.job_row(status="processing")
    assert await stranger.refused("GET", f"/job/{job_id}/progress") == (404, "JOB_NOT_FOUND")


async def test_many_streams_of_many_jobs_are_read_together_and_hold_no_connection(me: Caller) -> None:
    job_ids = [await me.job_row(status="processing") for _ in range(20)]
    statements: list[str] = []
    engine = me.stores.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: statements.append(statement))
    streams = [streams_of(me).follow(job_id, None) for job_id in job_ids for _ in range(10)]
    firsts = await asyncio.gather(*(following(stream) for stream in streams))
    assert [first["job_id"] for first in firsts] == [job_id for job_id in job_ids for _ in range(10)]
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    about_jobs = [statement for statement in statements if "FROM jobs" in statement and "jobs.id IN" in statement]
    assert len(about_jobs) < 20, "200 streams were opened"
    await written(me, job_ids[3], progress=40.0)
    assert [(await following(stream))["progress"] for stream in streams[30:40]] == [40.0] * 10
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]


async def test_a_stream_outlives_a_database_that_is_away_for_a_moment(me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOOK_S", 0.02)
    job_id = await me.job_row(status="processing")
    stream = streams_of(me).follow(job_id, None)
    await following(stream)
    failed = asyncio.Event()

    async def away(*_: Any) -> None:
        failed.set()
        raise OSError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(events.JobRepository, "stamps", away)
        await written(me, job_id, progress=30.0)
        async with asyncio.timeout(60):
            await failed.wait()
    assert (await following(stream))["progress"] == 30
