"""Jobs that wait are changed, cancelled the old way, and found by whose and when."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from store.clock import utcnow
from store.ids import new_id
from store.models import Job, User
from store.repositories.jobs import JobRepository
from tests.api.rooms import Caller
from tests.api.support import error_of


async def waiting(me: Caller, **columns: Any) -> str:
    """A pending job that no worker takes meanwhile."""
    given: dict[str, Any] = {"text_content": "Hello.", "voice_model_id": "vc_1", "available_at": utcnow() + timedelta(days=1)} | columns
    job = Job(id=new_id("job"), user_id=me.who.id, **given)
    await me.add(job)
    return job.id


async def test_what_waits_is_changed_and_spoken_so(me: Caller) -> None:
    voice = await me.voice()
    job_id = await waiting(me, voice_model_id=voice, text_language="en-US", config={"seed": 7, "nfe_step": 16})
    text = "Another text. In two parts."
    changed = await me.data(
        "PUT",
        f"/job/{job_id}",
        json={
            "text_content": text, "speed": 1.5, "pitch": 1.1, "volume": 0.9, "output_format": "flac", "sample_rate": 16_000,
            "config": {"nfe_step": 32},
        },
    )  # fmt: skip
    assert (changed["status"], changed["queue_position"]) == ("pending", 1)
    stored = await me.data("GET", f"/job/{job_id}")
    assert (stored["text_content"], stored["text_length"], stored["word_count"]) == (text, len(text), 5)
    assert stored["text_hash"] == hashlib.sha256(text.encode()).hexdigest()
    assert (stored["speed"], stored["pitch"], stored["volume"]) == (1.5, 1.1, 0.9)
    assert stored["config"] == {"seed": 7, "nfe_step": 32}, "merged: the seed stays"
    async with me.stores.database.write() as session:
        await session.execute(update(Job).values(available_at=utcnow()))
    me.app.state.rooms.worker.ring()
    done = await me.until(f"/job/{job_id}", "completed")
    assert (me.inference.asked("/plan")[0]["text"], me.inference.asked("/plan")[0]["speed"]) == (text, 1.5)
    assert [item["nfe_step"] for body in me.inference.asked("/synthesize") for item in body["items"]] == [32, 32]
    assert (await me.ask("GET", done["output_path"].removeprefix("/api/v1"))).headers["Content-Type"] == "audio/flac"


async def test_what_is_left_out_stays(me: Caller) -> None:
    job_id = await waiting(me, text_content="As it was.", speed=2.0, config={"seed": 1})
    before = await me.data("GET", f"/job/{job_id}")
    after = await me.data("PUT", f"/job/{job_id}", json={"volume": 0.5, "voice_model_id": "vc_other", "status": "completed"})
    assert {key for key in before if before[key] != after[key]} == {"volume", "updated_at"}


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "cancelled"])
async def test_only_what_waits_can_be_changed(me: Caller, status: str) -> None:
    job_id = await me.job_row(status=status)
    assert await me.refused("PUT", f"/job/{job_id}", json={"speed": 2.0}) == (409, "JOB_NOT_PENDING")
    assert (await me.row(Job, job_id)).speed == 1.0


async def test_a_job_that_is_claimed_meanwhile_is_not_changed(me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await waiting(me)
    read = JobRepository.owned_for_update

    async def then_claimed(self: JobRepository, user_id: str, wanted: str) -> Job | None:
        found = await read(self, user_id, wanted)
        await self.session.execute(
            update(Job).where(Job.id == job_id).values(status="processing").execution_options(synchronize_session=False)
        )
        return found

    monkeypatch.setattr(JobRepository, "owned_for_update", then_claimed)
    assert await me.refused("PUT", f"/job/{job_id}", json={"speed": 2.0}) == (409, "JOB_NOT_PENDING")
    assert (await me.row(Job, job_id)).speed == 1.0


async def test_changes_at_the_same_time_all_count(me: Caller) -> None:
    job_id = await waiting(me, config={"seed": 1})
    changes: list[dict[str, Any]] = [{"speed": 2.0}, {"config": {"nfe_step": 7}}, {"config": {"cfg_strength": 3.0}}, {"pitch": 0.5}]
    await asyncio.gather(*(me.data("PUT", f"/job/{job_id}", json=change) for change in changes))
    job = await me.data("GET", f"/job/{job_id}")
    assert (job["speed"], job["pitch"], job["config"]) == (2.0, 0.5, {"seed": 1, "nfe_step": 7, "cfg_strength": 3.0})


async def test_changes_that_make_no_sense(me: Caller) -> None:
    job_id = await waiting(me)
    for wrong in (
        {}, {"speed": None}, {"config": None}, {"speed": 9}, {"speed": "2"}, {"pitch": True}, {"volume": -1}, {"text_content": " "},
        {"output_format": "exe"}, {"sample_rate": 1}, {"config": {"seed": -1}}, {"unknown": 1},
    ):  # fmt: skip
        assert await me.refused("PUT", f"/job/{job_id}", json=wrong) == (400, "VALIDATION_ERROR"), wrong
    too_long = {"text_content": "x" * 10_001}
    assert await me.refused("PUT", f"/job/{job_id}", json=too_long) == (400, "TEXT_TOO_LONG")
    assert (await me.ask("PUT", f"/job/{job_id}", json={"speed": None})).json()["error"]["details"].keys() == {"speed"}


async def test_the_work_on_a_sample_is_not_changed_by_hand(me: Caller) -> None:
    job_id = await waiting(me, kind="sample_processing", subject_id="vs_1")
    assert await me.refused("PUT", f"/job/{job_id}", json={"speed": 2.0}) == (409, "BACKGROUND_JOB")
    assert await me.refused("POST", f"/job/{job_id}/cancel") == (409, "BACKGROUND_JOB")


async def test_the_old_way_to_cancel_says_what_the_new_one_is(me: Caller) -> None:
    job_id = await waiting(me)
    answer = await me.ask("POST", f"/job/{job_id}/cancel")
    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "cancelled")
    assert answer.headers["Deprecation"] == "true"
    assert answer.headers["Link"] == f'</api/v1/job/{job_id}>; rel="successor-version"'
    assert await me.refused("POST", f"/job/{job_id}/cancel") == (409, "INVALID_STATUS_TRANSITION")
    document = (await me.client.get("/openapi.json")).json()["paths"]
    assert document["/api/v1/job/{job_id}/cancel"]["post"]["deprecated"] is True
    assert document["/api/v1/job/{job_id}"]["put"]["operationId"] == "jobs_update_job"


async def test_strangers_change_and_cancel_nothing(me: Caller, stranger: Caller) -> None:
    job_id = await waiting(me)
    for method, path, body in (("PUT", f"/job/{job_id}", {"speed": 2.0}), ("POST", f"/job/{job_id}/cancel", None)):
        assert await stranger.refused(method, path, json=body) == (404, "JOB_NOT_FOUND")
        error_of(await me.client.request(method, f"/api/v1{path}", json=body), 401, "UNAUTHORIZED")
    row = await me.row(Job, job_id)
    assert (row.status, row.speed) == ("pending", 1.0)


async def test_lists_are_of_ones_own_or_an_admins_choice(me: Caller, stranger: Caller) -> None:
    mine = await me.job_row()
    await stranger.job_row()
    assert [job["id"] for job in await me.data("GET", f"/job?user_id={me.who.id}")] == [mine]
    for other in (stranger.who.id, "user_unknown"):
        assert await me.refused("GET", f"/job?user_id={other}") == (403, "FORBIDDEN"), "the same for those who are not there"
    async with me.stores.database.write() as session:
        await session.execute(update(User).where(User.id == stranger.who.id).values(role="admin"))
    assert [job["id"] for job in await stranger.data("GET", f"/job?user_id={me.who.id}")] == [mine]
    assert mine not in [job["id"] for job in await stranger.data("GET", "/job")], "an admin's own, unless asked"


async def test_lists_of_a_time(me: Caller) -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    a, b, c = [await me.job_row(created_at=noon + timedelta(hours=hours)) for hours in (-1, 0, 1)]

    async def listed(**query: str) -> list[str]:
        return [job["id"] for job in await me.data("GET", "/job", params=query)]

    assert await listed(created_after="2026-01-31T12:00:00Z") == [c, b]
    assert await listed(created_before="2026-01-31T12:00:00Z") == [a]
    assert await listed(created_after="2026-01-31T13:00:00+01:00", created_before="2026-01-31T12:30:00") == [b]
    assert await listed(created_after="2026-02-01") == []
    for wrong in ("yesterday", "", "2026-13-01", "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", "x" * 65):
        assert await me.refused("GET", "/job", params={"created_after": wrong}) == (400, "VALIDATION_ERROR"), wrong
        assert await me.refused("GET", "/job", params={"created_before": wrong}) == (400, "VALIDATION_ERROR"), wrong
