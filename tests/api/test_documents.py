"""The examples of the two documents that describe the API, sent as they stand there: every field that they show is in the answer."""

from __future__ import annotations

import json
from typing import Any

import httpx
from litestar import Litestar

from store.models.user import ADMIN
from tests.api.accounts import change_user
from tests.api.rooms import Caller, recording

PAGES = {"total_count", "limit", "offset", "has_more", "page", "page_size", "total_pages", "has_next", "has_prev"}
JOB = {
    "id", "user_id", "voice_model_id", "text_content", "text_hash", "text_language", "text_length", "word_count", "status", "progress",
    "config", "output_format", "sample_rate", "speed", "pitch", "volume", "output_file_path", "duration", "created_at", "updated_at",
}  # fmt: skip
VOICE = {
    "voice_model_id", "name", "type", "tags", "language", "description", "sample_audio_url", "preview_text", "quality_score",
    "usage_count", "is_favorite", "created_at",
}  # fmt: skip


def holds(answer: httpx.Response, status: int, *fields: str) -> Any:
    """The data of an answer in the unified form, with at least these fields."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert {"success", "data", "message", "timestamp"} <= body.keys()
    assert body["success"] is True
    assert set(fields) <= (body["data"].keys() if fields else set())
    return body["data"]


async def events(me: Caller, job_id: str) -> list[dict[str, Any]]:
    answer = await me.ask("GET", f"/job/{job_id}/progress", headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]


async def test_an_account(client: httpx.AsyncClient) -> None:
    known = {"email": "user@example.com", "password": "SecurePass123!"}
    registered = await client.post("/api/v1/auth/register", json={**known, "first_name": "John", "last_name": "Doe"})
    assert {"id", "email", "first_name", "last_name"} <= holds(registered, 201, "user")["user"].keys()
    session = holds(
        await client.post("/api/v1/auth/login", json=known), 200, "access_token", "refresh_token", "token_type", "expires_in", "user"
    )
    assert session["expires_in"] == 3600
    headers = {"Authorization": f"Bearer {session['refresh_token']}"}
    holds(await client.post("/api/v1/auth/refresh", headers=headers), 200, "access_token", "refresh_token")


async def test_speech_in_the_default_voice(me: Caller) -> None:
    wanted = {"voice_model_id": "default_voice_001", "output_format": "wav", "speed": 1.0, "pitch": 1.0, "volume": 1.0}
    created = await me.ask("POST", "/job", json={"text_content": "Hello world, this uses the default voice model!", **wanted})
    job = holds(created, 201, *JOB)
    assert (job["status"], job["progress"], type(job["config"])) == ("pending", 0.0, dict)
    told = await events(me, job["id"])
    assert all({"progress", "status", "message"} <= event.keys() for event in told[:-1])
    assert {"output_file_path", "duration"} <= told[-2].keys()
    assert told[-1] == {"event": "complete"}
    assert holds(await me.ask("GET", f"/job/{job['id']}"), 200, *JOB)["status"] == "completed"
    for path in (f"/files/audio/{job['id']}", f"/file/synthesis/{job['id']}"):
        sound = await me.ask("GET", path)
        assert (sound.status_code, sound.headers["content-type"], sound.content[:4]) == (200, "audio/wav", b"RIFF")
    listed = await me.ask("GET", "/job?status=completed&limit=10&offset=0&sort_by=created_at&sort_order=desc&include_text=false")
    assert listed.json()["meta"]["pagination"].keys() == PAGES
    assert [each["id"] for each in listed.json()["data"]] == [job["id"]]
    assert listed.json()["data"][0].keys() >= JOB
    assert (await me.ask("DELETE", f"/file/synthesis/{job['id']}")).json()["success"] is True
    gone = (await me.ask("DELETE", f"/job/{job['id']}")).json()
    assert (gone["success"], gone["message"]) == (True, "Job deleted successfully")


async def test_a_job_with_all_that_may_be_said(me: Caller) -> None:
    wanted = {
        "text_content": "Hello world, this is a test synthesis job.", "voice_model_id": await me.voice(), "text_language": "en-US",
        "output_format": "wav", "sample_rate": 22050, "speed": 1.2, "pitch": 1.0, "volume": 1.0,
        "config": {"include_timestamps": True, "timestamp_granularity": "word"},
    }  # fmt: skip
    me.inference.gate.clear()
    # One job for each slot, so that this one waits.
    ahead = [holds(await me.ask("POST", "/job", json={**wanted, "config": {}}), 201)["id"] for _ in range(2)]
    for _ in ahead:
        await me.inference.waiting.acquire()
    job = holds(await me.ask("POST", "/job", json=wanted), 201, *JOB)
    assert {"include_timestamps": True, "timestamp_granularity": "word"}.items() <= job["config"].items()
    assert (job["text_length"], job["word_count"]) == (42, 8)
    change = {"speed": 1.5, "pitch": 1.1, "volume": 0.9, "output_format": "mp3", "sample_rate": 44100}
    changed = holds(await me.ask("PUT", f"/job/{job['id']}", json=change), 200, *JOB)
    assert change.items() <= changed.items()
    assert holds(await me.ask("PATCH", f"/job/{job['id']}", json={"status": "cancelled"}), 200, *JOB)["status"] == "cancelled"
    assert holds(await me.ask("POST", f"/job/{ahead[0]}/cancel"), 200, *JOB)["status"] == "cancelled"
    me.inference.gate.set()


async def test_speech_in_ones_own_voice(me: Caller) -> None:
    form = {"name": "My Personal Voice Sample", "description": "High quality recording for voice cloning", "language": "en-US"}
    answer = await me.ask("POST", "/voice/samples", files={"file": ("voice_sample.wav", recording())}, data=form)
    sample = holds(answer, 201, "sample_id", "name", "duration", "format", "sample_rate", "channels", "status", "quality_metrics")
    path = f"/voice/samples/{sample['sample_id']}"
    holds(await me.ask("POST", f"{path}/process", json={}), 202, "job_id", "status")
    await me.until(path, "ready")
    holds(await me.ask("GET", path), 200, "status", "quality_metrics", "validation_results", "similar_samples")
    listed = holds(await me.ask("GET", "/voice/samples"), 200, "samples", "pagination")
    assert listed["pagination"].keys() == PAGES
    wanted = {
        "sample_ids": [sample["sample_id"]],
        "name": "My Voice Clone",
        "ref_text": "Hello, this is my reference text for voice cloning.",
    }
    clone = holds(
        await me.ask("POST", "/voice/clones", json={**wanted, "language": "en-US"}),
        201, "clone_id", "name", "status", "language", "sample_ids", "job_id",
    )  # fmt: skip
    path = f"/voice/clones/{clone['clone_id']}"
    await me.until(path, "ready")
    holds(await me.ask("GET", path), 200, "status", "quality_metrics", "sample_references", "is_active")
    assert holds(await me.ask("GET", "/voice/clones"), 200, "clones", "pagination")["pagination"].keys() == PAGES
    assert holds(await me.ask("POST", f"{path}/select"), 200, "clone_id", "is_active")["is_active"] is True
    said = holds(
        await me.ask("POST", f"{path}/synthesize", json={"text": "Hello world, this is my personal cloned voice speaking!"}),
        200, "job_id", "clone_id", "status", "output_path",
    )  # fmt: skip
    assert said["status"] == "completed"
    assert (await me.ask("GET", f"/file/voice-clone/{said['job_id']}")).headers["content-type"] == "audio/wav"
    holds(await me.ask("GET", f"/file/voice-clone/{said['job_id']}/info"), 200, "size", "duration", "format", "mime_type")
    holds(await me.ask("GET", f"/files/{said['job_id']}/info"), 200, "size", "duration", "format", "mime_type")
    (own,) = await me.data("GET", "/voice/models?type=custom")
    assert own.keys() >= VOICE | {"owner_id", "clone_id"}
    assert (own["owner_id"], own["clone_id"]) == (me.who.id, clone["clone_id"])


async def test_the_library(me: Caller) -> None:
    answer = (await me.ask("GET", "/voice/models/?tags=female,calm&language=en-US&type=preset&limit=10&offset=0")).json()
    assert answer["meta"]["pagination"].keys() == PAGES
    assert {"available_tags", "available_languages", "available_types"} <= answer["meta"]["filters"].keys()
    voice = answer["data"][0]
    assert voice.keys() >= VOICE
    path = f"/voice/models/{voice['voice_model_id']}"
    found = holds(await me.ask("GET", path), 200, *VOICE, "model_config", "statistics", "updated_at")
    assert found["model_config"].keys() >= {
        "sample_rate", "supported_formats", "max_text_length", "supports_emotions", "supports_speed_range", "supports_pitch_range",
    }  # fmt: skip
    assert found["statistics"].keys() >= {"average_synthesis_time", "success_rate", "user_rating"}
    favourite = holds(await me.ask("POST", f"{path}/favorite"), 200, "voice_model_id", "is_favorite", "favorites_count")
    assert (favourite["is_favorite"], favourite["favorites_count"]) == (True, 1)
    preview = await me.ask("GET", f"{path}/preview")
    assert preview.status_code in {200, 202}
    assert preview.json()["data"].keys() >= {"preview_audio_url", "preview_text", "duration", "format", "sample_rate"}
    holds(await me.ask("GET", "/voice/info"), 200, "service", "status", "models", "languages", "limits", "output_formats")


async def test_administration(me: Caller, app: Litestar) -> None:
    await change_user(app, me.who.id, role=ADMIN)
    holds(await me.ask("GET", "/admin/stats"), 200, "users", "jobs", "queue", "storage", "inference")
    assert (await me.data("GET", "/admin/users"))[0]["id"] == me.who.id
    holds(await me.ask("GET", "/admin/config"), 200, "config", "settings")
    changed = holds(await me.ask("PUT", "/admin/config", json={"jobs_per_day": 1000}), 200, "config")
    assert changed["config"]["jobs_per_day"] == 1000


async def test_an_error(me: Caller) -> None:
    answer = (await me.ask("GET", "/job/job_123")).json()
    assert answer.keys() == {"success", "error", "timestamp"}
    assert {"code", "message", "timestamp"} <= answer["error"].keys()
