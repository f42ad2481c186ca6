"""Jobs that a service of our own speaks: what it may say, and that nobody else's work is disturbed."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import update

from api.auth.operators import issue_service_token
from api.auth.tokens import Tokens, signing_secret
from settings import Settings
from store.clock import utcnow
from store.ids import new_id
from store.models import Job, User
from store.repositories.queue import JobQueue, Lease
from tests.api.inference import FakeInference
from tests.api.rooms import Caller
from tests.api.support import SignedIn

LATER = timedelta(days=1)
ALL = ("pending", "processing", "completed", "failed", "cancelled")
ALLOWED = {
    ("pending", "processing"), ("pending", "cancelled"), ("pending", "failed"), ("processing", "completed"), ("processing", "failed"),
    ("processing", "cancelled"), ("failed", "pending"), ("cancelled", "pending"),
}  # fmt: skip


async def named(app: Litestar, client: httpx.AsyncClient, inference: FakeInference, settings: Settings, name: str) -> Caller:
    tokens = Tokens(signing_secret(settings), access_ttl_s=60, refresh_ttl_s=60)
    token = await issue_service_token(app.state.stores.database, tokens, name, 1)
    return Caller(client, SignedIn(tokens.read(token, "voxify:service").user_id, "", token, ""), app, inference)


@pytest.fixture
async def service(app: Litestar, client: httpx.AsyncClient, inference: FakeInference, settings: Settings) -> Caller:
    return await named(app, client, inference, settings, "speaker")


@pytest.fixture
async def another(app: Litestar, client: httpx.AsyncClient, inference: FakeInference, settings: Settings) -> Caller:
    return await named(app, client, inference, settings, "another")


async def waiting(me: Caller, **columns: Any) -> str:
    """A pending job that no worker takes meanwhile."""
    given: dict[str, Any] = {"text_content": "Hello.", "voice_model_id": "vc_1", "available_at": utcnow() + LATER} | columns
    job = Job(id=new_id("job"), user_id=me.who.id, **given)
    await me.add(job)
    return job.id


async def taken(me: Caller, service: Caller) -> tuple[str, str]:
    """A job that the service has, and its lease."""
    job_id = await waiting(me)
    answer = await service.data("PATCH", f"/job/{job_id}", json={"status": "processing"})
    return job_id, answer["lease"]


async def test_a_service_speaks_a_job_from_its_start_to_its_file(me: Caller, service: Caller) -> None:
    job_id = await waiting(me, output_format="flac")
    path = f"/job/{job_id}"
    assert (await service.data("GET", path))["text_content"] == "Hello.", "it may read what it is to speak"
    begun = await service.data("PATCH", path, json={"status": "processing", "progress": 5.0})
    assert (begun["status"], begun["progress"], begun["attempt"]) == ("processing", 5.0, 1)
    assert (await service.data("PATCH", path, json={"progress": 50.04}))["progress"] == 50.0
    assert (await me.data("GET", path))["progress"] == 50.0
    key = f"jobs/{job_id}/speech.flac"
    await me.stores.objects.put(key, b"sound")
    await service.data("PATCH", path, json={"output_file_path": key, "duration": 2.5})
    done = await service.data("PATCH", path, json={"status": "completed"})
    assert (done["status"], done["progress"], done["duration"], done["output_size"]) == ("completed", 100.0, 2.5, 5)
    assert done["lease"] is None
    assert (await me.ask("GET", done["output_path"].removeprefix("/api/v1"))).content == b"sound"
    row = await me.row(Job, job_id)
    assert (row.lease_until, row.completed_at is not None) == (None, True)
    await me.data("DELETE", path)
    assert [each async for each in me.stores.objects.list("jobs")] == [], "its object goes with the job"


async def test_the_machine(me: Caller, service: Caller) -> None:
    for before, after in itertools.product(ALL, ALL):
        owner = f"s-{service.who.id}-0" if before == "processing" else None
        job_id = await waiting(me, status=before, lease_owner=owner, attempt=1, lease_until=utcnow() + LATER)
        path, said = f"/job/{job_id}", {"status": after}
        if (before, after) in ALLOWED:
            assert (await service.data("PATCH", path, json=said))["status"] == after
        else:
            assert await service.refused("PATCH", path, json=said) == (409, "INVALID_STATUS_TRANSITION"), (before, after)
            assert (await me.row(Job, job_id)).status == before


async def test_a_job_of_our_worker_is_not_disturbed(me: Caller, service: Caller) -> None:
    job_id = await waiting(me)
    async with me.stores.database.write() as session:
        lease = await JobQueue(session).take(job_id, "w-1", 60)
    for said in ({"progress": 99.0}, {"status": "completed"}, {"status": "failed"}, {"duration": 1.0}, {"progress": 9.0, "lease": "w-1"}):
        assert await service.refused("PATCH", f"/job/{job_id}", json=said) == (409, "JOB_LEASE_LOST"), said
    assert await service.refused("PATCH", f"/job/{job_id}", json={"status": "processing"}) == (409, "INVALID_STATUS_TRANSITION")
    row = await me.row(Job, job_id)
    assert (row.status, row.progress, row.lease_owner) == ("processing", 0.0, "w-1")
    async with me.stores.database.write() as session:
        assert lease is not None
        assert await JobQueue(session).complete(lease), "the worker still has it"


async def test_our_worker_leaves_a_service_its_job_until_it_is_silent(me: Caller, service: Caller) -> None:
    job_id, lease = await taken(me, service)
    row = await me.row(Job, job_id)
    assert row.lease_owner == lease
    assert timedelta(seconds=250) < row.lease_until - utcnow() <= timedelta(seconds=300)
    async with me.stores.database.write() as session:
        queue = JobQueue(session)
        assert await queue.claim("w-1", 30, ["synthesis"], job_id=job_id) is None
        assert await queue.recover(3) == []
        await session.execute(update(Job).values(lease_until=utcnow() + timedelta(seconds=1)))
    await service.data("PATCH", f"/job/{job_id}", json={"progress": 1.0})
    assert (await me.row(Job, job_id)).lease_until > utcnow() + timedelta(seconds=250), "whoever is heard of keeps it"
    async with me.stores.database.write() as session:
        await session.execute(update(Job).values(lease_until=utcnow() - timedelta(seconds=1)))
        assert [job.id for job in await JobQueue(session).recover(3)] == [job_id]
    assert await service.refused("PATCH", f"/job/{job_id}", json={"progress": 2.0}) == (409, "JOB_NOT_PROCESSING")
    assert await service.refused("PATCH", f"/job/{job_id}", json={"status": "completed"}) == (409, "INVALID_STATUS_TRANSITION")


async def test_one_lease_is_told_from_a_later_one(me: Caller, service: Caller, another: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any, **__: Any) -> None:
        """No worker takes it, once it waits again."""

    monkeypatch.setattr(JobQueue, "claim", nothing)
    job_id, first = await taken(me, service)
    path = f"/job/{job_id}"
    assert await another.refused("PATCH", path, json={"progress": 2.0}) == (409, "JOB_LEASE_LOST")
    assert await another.refused("PATCH", path, json={"progress": 2.0, "lease": first}) == (409, "JOB_LEASE_LOST"), "it is not theirs"
    again = await service.data("PATCH", path, json={"status": "processing", "progress": 9.0, "lease": first})
    assert (again["progress"], again["lease"]) == (9.0, first)
    assert await service.refused("PATCH", path, json={"status": "processing"}) == (409, "INVALID_STATUS_TRANSITION"), "one job, one taker"
    await me.data("PATCH", path, json={"status": "cancelled"})
    await me.data("PATCH", path, json={"status": "pending"})
    second = (await service.data("PATCH", path, json={"status": "processing"}))["lease"]
    assert (await me.row(Job, job_id)).attempt == 1, "the attempts do not tell them apart"
    assert await service.refused("PATCH", path, json={"status": "completed", "lease": first}) == (409, "JOB_LEASE_LOST")
    assert (await service.data("PATCH", path, json={"status": "completed", "lease": second}))["status"] == "completed"


async def test_of_many_takers_one_has_the_job(me: Caller, service: Caller, another: Caller) -> None:
    job_id = await waiting(me)
    answers = await asyncio.gather(
        *(who.ask("PATCH", f"/job/{job_id}", json={"status": "processing"}) for who in (service, another, service, another))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]


async def test_a_path_names_an_object_of_the_job_alone(me: Caller, service: Caller) -> None:
    job_id, _ = await taken(me, service)
    other_id = await me.job_row(output_path="jobs/other/1.wav")
    for key in (f"jobs/{other_id}/1.wav", "jobs/other/1.wav", "samples/x.wav", f"jobs/{job_id}/1.mp3", f"jobs/{job_id}/a/1.wav"):
        await me.stores.objects.put(key, b"theirs")
    for wrong in (
        f"jobs/{job_id}/not-there.wav", f"jobs/{other_id}/1.wav", f"jobs/{job_id}/../{other_id}/1.wav", f"/jobs/{job_id}/1.wav",
        "samples/x.wav", "../samples/x.wav", f"jobs/{job_id}/", f"jobs/{job_id}", f"jobs/{job_id}/..", f"jobs/{job_id}/a/1.wav",
        f"jobs/{job_id}/1.mp3", "x" * 255, f"jobs//{job_id}/1.wav", f"jobs/{job_id}/%2e%2e/1.wav", f"/api/v1/file/synthesis/{job_id}",
    ):  # fmt: skip
        said = {"status": "completed", "output_file_path": wrong}
        answer = await service.ask("PATCH", f"/job/{job_id}", json=said)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_ERROR"), wrong
        assert answer.json()["error"]["details"].keys() == {"output_file_path"}, wrong
    row = await me.row(Job, job_id)
    assert (row.status, row.output_path) == ("processing", None)


async def test_a_service_fails_a_job_with_its_reason(me: Caller, service: Caller) -> None:
    job_id, _ = await taken(me, service)
    said = {"status": "failed", "error_message": "No voice left", "progress": 40.0}
    failed = await service.data("PATCH", f"/job/{job_id}", json=said)
    assert (failed["status"], failed["error_code"], failed["error_message"], failed["progress"]) == (
        "failed", "SERVICE_FAILED", "No voice left", 40.0,
    )  # fmt: skip
    pending = await waiting(me)
    assert (await service.data("PATCH", f"/job/{pending}", json={"status": "failed"}))["error_message"]
    assert (await me.data("PATCH", f"/job/{pending}", json={"status": "pending"}))["error_message"] is None


async def test_what_makes_no_sense(me: Caller, service: Caller) -> None:
    job_id, _ = await taken(me, service)
    for wrong in (
        {}, {"status": "done"}, {"progress": 101}, {"progress": -1}, {"progress": "5"}, {"progress": True}, {"progress": None},
        {"duration": -1}, {"duration": 1e9}, {"error_message": " "}, {"error_message": "x" * 2001}, {"output_file_path": ""},
        {"lease": "x"}, {"status": "cancelled", "progress": 5.0}, {"unknown": 1},
    ):  # fmt: skip
        assert await service.refused("PATCH", f"/job/{job_id}", json=wrong) == (400, "VALIDATION_ERROR"), wrong
    assert await service.refused("PATCH", "/job/job_none", json={"progress": 5.0}) == (404, "JOB_NOT_FOUND")
    for status in ("completed", "failed", "cancelled", "pending"):
        ended = await waiting(me, status=status)
        assert await service.refused("PATCH", f"/job/{ended}", json={"progress": 5.0}) == (409, "JOB_NOT_PROCESSING")
    sample = await me.job_row(kind="sample_processing", status="processing", lease_owner=f"s-{service.who.id}-1")
    assert await service.refused("PATCH", f"/job/{sample}", json={"progress": 5.0}) == (409, "BACKGROUND_JOB")


async def test_owners_may_not_say_what_is_a_services(me: Caller, stranger: Caller) -> None:
    job_id = await waiting(me)
    path = f"/job/{job_id}"
    for said in (
        {"progress": 50.0}, {"error_message": "Because"}, {"output_file_path": f"jobs/{job_id}/1.wav"}, {"duration": 1.0},
        {"status": "cancelled", "progress": 1.0}, {"status": "processing"}, {"status": "failed"},
    ):  # fmt: skip
        assert await me.refused("PATCH", path, json=said) == (403, "FORBIDDEN"), said
        assert await stranger.refused("PATCH", path, json=said) == (404, "JOB_NOT_FOUND"), said
    assert await me.refused("PATCH", path, json={"status": "completed"}) == (409, "INVALID_STATUS_TRANSITION")
    row = await me.row(Job, job_id)
    assert (row.status, row.progress, row.error_message, row.duration) == ("pending", 0.0, None, None)


async def test_a_cancelled_job_is_lost_to_its_service(me: Caller, service: Caller) -> None:
    job_id, lease = await taken(me, service)
    await me.data("PATCH", f"/job/{job_id}", json={"status": "cancelled"})
    assert await service.refused("PATCH", f"/job/{job_id}", json={"progress": 5.0}) == (409, "JOB_NOT_PROCESSING")
    assert await service.refused("PATCH", f"/job/{job_id}", json={"status": "completed"}) == (409, "INVALID_STATUS_TRANSITION")
    async with me.stores.database.write() as session:
        assert not await JobQueue(session).complete(Lease(job_id, lease, 1))


async def test_a_sound_that_its_owner_has_no_room_for_is_refused(me: Caller, service: Caller) -> None:
    job_id, _ = await taken(me, service)
    key = f"jobs/{job_id}/speech.wav"
    await me.stores.objects.put(key, bytes(5000))
    async with me.stores.database.write() as session:
        await session.execute(update(User).where(User.id == me.who.id).values(limit_storage_bytes=4999))
    said = {"status": "completed", "output_file_path": key}
    assert await service.refused("PATCH", f"/job/{job_id}", json=said) == (429, "QUOTA_EXCEEDED")
    row = await me.row(Job, job_id)
    assert (row.status, row.output_path) == ("processing", None)
    assert (await service.data("PATCH", f"/job/{job_id}", json={"status": "failed"}))["status"] == "failed"
