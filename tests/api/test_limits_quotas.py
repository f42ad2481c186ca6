"""What somebody may make in a day and have stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from litestar import Litestar

from api.bodies import LINGER_BYTES
from api.limits import counters as counting
from settings import Settings
from store.models import Clone, Job, Sample
from tests.api.accounts import change_user
from tests.api.rooms import Caller, recording
from tests.api.support import error_of

SOUND = recording()
LATER_MS = 24 * 3600 * 1000


async def usage(who: Caller) -> dict[str, Any]:
    found: dict[str, Any] = await who.data("GET", "/auth/usage")
    return found


async def stored(who: Caller) -> int:
    return int((await usage(who))["storage"]["used"])


def upload(who: Caller, **request: Any) -> Any:
    request = {"files": {"file": ("a.wav", SOUND)}, "data": {"name": "A voice", "ref_text": "Some words."}} | request
    return who.ask("POST", "/voice/samples", **request)


def say(who: Caller, voice: str, **more: Any) -> Any:
    return who.ask("POST", "/job", json={"text_content": "Hello.", "voice_model_id": voice}, **more)


def quota_of(answer: httpx.Response, quota: str) -> dict[str, Any]:
    error = error_of(answer, 429, "QUOTA_EXCEEDED")
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    assert error["details"]["quota"] == quota
    details: dict[str, Any] = error["details"]
    return details


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"samples_per_day": 3, "jobs_per_day": 3})


async def test_usage_shows_limits_and_what_is_used(me: Caller) -> None:
    found = await usage(me)
    assert found["samples"] == {"limit": 3, "used": 0, "remaining": 3, "resets_at": found["jobs"]["resets_at"]}
    assert found["storage"] == {"limit": 1024**3, "used": 0, "remaining": 1024**3, "resets_at": None}
    assert found["requests"]["limit"] == 10**6
    assert found["requests"]["used"] == 1
    resets_at = datetime.fromisoformat(found["jobs"]["resets_at"])
    assert 0 < (resets_at - datetime.now(UTC)).total_seconds() <= 86_400
    assert (resets_at.hour, resets_at.minute, resets_at.second) == (0, 0, 0)


async def test_recordings_of_a_day(me: Caller, stranger: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = await asyncio.gather(*(upload(me) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 201, 429, 429]
    details = quota_of(await upload(me), "samples_per_day")
    assert (details["limit"], details["used"]) == (3, 3)
    assert details["resets_at"] == (await usage(me))["samples"]["resets_at"]
    first = next(answer for answer in answers if answer.status_code == 201).json()["data"]["sample_id"]
    await me.until(f"/voice/samples/{first}", "ready")
    quota_of(await me.ask("POST", f"/voice/samples/{first}/process"), "samples_per_day")
    await me.data("DELETE", f"/voice/samples/{first}")
    quota_of(await upload(me), "samples_per_day")
    assert (await upload(stranger)).status_code == 201
    now = counting.now_ms()
    monkeypatch.setattr("api.limits.quotas.now_ms", lambda: now + LATER_MS)
    assert (await upload(me)).status_code == 201, "tomorrow"
    assert (await usage(me))["samples"]["used"] == 1


async def test_what_is_refused_takes_nothing_and_leaves_nothing(me: Caller, app: Litestar) -> None:
    broken = await upload(me, files={"file": ("a.wav", b"no sound at all")})
    assert broken.status_code == 400
    assert (await usage(me))["samples"]["used"] == 0
    await change_user(app, me.who.id, limit_samples_per_day=0)
    quota_of(await upload(me), "samples_per_day")
    assert await me.counts() == (0, 0, 0, 0)


async def test_jobs_of_a_day(me: Caller) -> None:
    voice = await me.voice()
    keyed = {"headers": {"Idempotency-Key": "k"}}
    assert [(await say(me, voice, **keyed)).status_code for _ in range(3)] == [201, 200, 200], "a repeat is no other job"
    answers = await asyncio.gather(*(say(me, voice) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 429, 429]
    quota_of(await say(me, voice), "jobs_per_day")
    quota_of(await me.ask("POST", f"/voice/clones/{voice}/synthesize", json={"text": "Hello."}), "jobs_per_day")
    assert (await say(me, voice, **keyed)).status_code == 200, "what was made before can still be asked for"
    assert (await usage(me))["jobs"]["remaining"] == 0


async def test_a_direct_synthesis_is_a_job_unless_it_fails(me: Caller) -> None:
    voice = await me.voice()
    await me.data("POST", f"/voice/clones/{voice}/synthesize", json={"text": "Hello."})
    assert (await usage(me))["jobs"]["used"] == 1
    me.inference.faults["/plan"] = lambda _: httpx.Response(503, json={})
    assert (await me.ask("POST", f"/voice/clones/{voice}/synthesize", json={"text": "Hello."})).status_code == 503
    assert (await usage(me))["jobs"]["used"] == 1


async def test_storage_counts_every_file_and_gives_back_what_goes(me: Caller) -> None:
    sample = await me.upload()
    await me.until(f"/voice/samples/{sample['sample_id']}", "ready")
    clone = await me.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample["sample_id"]]})
    await me.until(f"/voice/clones/{clone['clone_id']}", "ready")
    job = (await say(me, clone["clone_id"])).json()["data"]
    done = await me.until(f"/job/{job['id']}", "completed")
    rows = [await me.row(Sample, sample["sample_id"]), await me.row(Clone, clone["clone_id"])]
    assert rows[0].size == len(SOUND)
    assert await stored(me) == len(SOUND) + rows[0].prepared_size + rows[1].reference_size + done["output_size"]
    sizes = {stat.key: stat.size async for stat in me.stores.objects.list()}
    assert await stored(me) == sum(sizes.values()), "no more and no less than there is"
    await me.data("DELETE", f"/job/{job['id']}")
    assert await stored(me) == sum(sizes.values()) - done["output_size"]
    await me.data("DELETE", f"/voice/samples/{sample['sample_id']}?force=true")
    assert await stored(me) == 0


async def test_of_uploads_at_once_only_those_pass_that_fit(me: Caller, app: Litestar) -> None:
    await change_user(app, me.who.id, limit_storage_bytes=2 * len(SOUND) + 100, limit_samples_per_day=100)
    me.inference.faults["/embed"] = lambda _: httpx.Response(503, json={})  # no prepared form, which takes room too
    answers = await asyncio.gather(*(upload(me) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 429, 429, 429]
    quota_of(next(answer for answer in answers if answer.status_code == 429), "storage_bytes")
    assert (await usage(me))["samples"]["used"] == 2, "what did not fit did not count"


async def test_an_upload_that_cannot_fit_is_refused_before_it_is_read(me: Caller, app: Litestar) -> None:
    """The rest of the body never comes: whoever waited for it would not answer."""

    async def body() -> AsyncIterator[bytes]:
        yield b"--XX\r\n"
        await asyncio.Event().wait()

    headers = {"Content-Type": "multipart/form-data; boundary=XX", "Content-Length": "2000000"}
    for limit, quota in (({"limit_storage_bytes": 1_000_000}, "storage_bytes"), ({"limit_samples_per_day": 0}, "samples_per_day")):
        await change_user(app, me.who.id, **limit)
        refused = await asyncio.wait_for(me.ask("POST", "/voice/samples", content=body(), headers=headers), 10)
        quota_of(refused, quota)
    await change_user(app, me.who.id, limit_storage_bytes=0)
    unannounced = {"Content-Type": "multipart/form-data; boundary=XX"}
    quota_of(await asyncio.wait_for(me.ask("POST", "/voice/samples", content=body(), headers=unannounced), 10), "samples_per_day")


async def test_an_upload_over_the_bound_is_cut_off_where_it_is_known(me: Caller, settings: Settings) -> None:
    """By what it announces, and by what it sends when it announces nothing."""
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        while sent < 10 * settings.max_upload_bytes:
            sent += 1024 * 1024
            yield bytes(1024 * 1024)

    headers = {"Content-Type": "multipart/form-data; boundary=XX"}
    announced = await me.ask("POST", "/voice/samples", content=body(), headers=headers | {"Content-Length": str(10**9)})
    error_of(announced, 413, "PAYLOAD_TOO_LARGE")
    sent = 0
    counted = await me.ask("POST", "/voice/samples", content=body(), headers=headers)
    error_of(counted, 413, "PAYLOAD_TOO_LARGE")
    # What is taken beyond the bound is let go, so that the client gets to read the answer.
    assert sent < settings.max_upload_bytes + LINGER_BYTES + 4 * 1024 * 1024
    assert await me.counts() == (0, 0, 0, 0)


async def test_a_full_storage_takes_neither_jobs_nor_clones(me: Caller, app: Litestar) -> None:
    voice = await me.voice(reference_size=500)
    sample = await me.upload()
    await change_user(app, me.who.id, limit_storage_bytes=500)
    quota_of(await say(me, voice), "storage_bytes")
    wanted = {"name": "Mine", "sample_ids": [sample["sample_id"]]}
    quota_of(await me.ask("POST", "/voice/clones", json=wanted), "storage_bytes")
    assert (await usage(me))["jobs"]["used"] == 0
    assert (await usage(me))["storage"]["remaining"] == 0


async def test_speech_that_does_not_fit_fails_its_job_and_is_not_kept(me: Caller, app: Litestar) -> None:
    voice = await me.voice()
    await change_user(app, me.who.id, limit_storage_bytes=100)
    job = (await say(me, voice)).json()["data"]
    ended = await me.until(f"/job/{job['id']}", "failed")
    assert ended["error_code"] == "QUOTA_EXCEEDED"
    assert "storage is full" in ended["error_message"]
    row = await me.row(Job, job["id"])
    assert (row.output_path, row.output_size) == (None, None)
    quota_of(await me.ask("POST", f"/voice/clones/{voice}/synthesize", json={"text": "Hello."}), "storage_bytes")
    assert (await me.counts())[2:] == (1, 1), "the failed job, and the reference of the voice"
    assert (await usage(me))["jobs"]["used"] == 1
    assert await stored(me) == 0
    await change_user(app, me.who.id, limit_storage_bytes=None)
    await me.data("PATCH", f"/job/{job['id']}", json={"status": "pending"})
    await me.until(f"/job/{job['id']}", "completed")


async def test_a_clone_that_does_not_fit_fails(me: Caller, app: Litestar) -> None:
    sample = await me.upload()
    await me.until(f"/voice/samples/{sample['sample_id']}", "ready")
    await change_user(app, me.who.id, limit_storage_bytes=await stored(me) + 10)
    clone = await me.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample["sample_id"]]})
    failed = await me.until(f"/voice/clones/{clone['clone_id']}", "failed")
    assert failed["error_code"] == "QUOTA_EXCEEDED"
