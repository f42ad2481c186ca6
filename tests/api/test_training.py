"""Fine-tuning: what may be trained, how it is watched and taken back, and who may speak with what came of it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from store.clock import utcnow
from store.ids import new_id
from store.models import Clone, CloneSample, Job, Sample, TrainingSample
from tests.api.inference import refused
from tests.api.rooms import Caller, recording
from tests.api.support import error_of

RESULT = {
    "offered": True, "reason": None, "model": "tone", "steps": 40, "loss": {"before": 1.5, "after": 1.25},
    "speaker_similarity": {"before": 0.5, "after": 0.75}, "trained_seconds": 40.0, "held_out_seconds": 7.0, "left_out_seconds": 0.0,
}  # fmt: skip


class Tier:
    """The trainings of an inference service, which go as far as a test says."""

    def __init__(self, me: Caller) -> None:
        self.begun: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.state: dict[str, Any] = {"status": "running", "message": "Step 1 of 40", "progress": 10.0, "step": 1, "steps": 40}
        self.known: set[str] = set()
        self.seen = asyncio.Event()
        self.gone = asyncio.Event()
        me.inference.training = self.answer

    def answer(self, request: httpx.Request, body: dict[str, Any]) -> httpx.Response:
        path = request.url.path
        if path == "/train/estimate":
            return httpx.Response(200, json={"ok": True, "model": "tone", "steps": 40, "seconds": 12.5})
        training_id = body.get("id") or path.removeprefix("/train/")
        if request.method == "DELETE":
            self.removed.append(training_id)
            self.known.discard(training_id)
            self.gone.set()
            return httpx.Response(200, json={"ok": True})
        if request.method == "POST":
            self.begun.append(body)
            self.known.add(training_id)
        self.seen.set()
        state = self.state if training_id in self.known else {"status": "unknown"}
        return httpx.Response(200, json={"ok": True, "id": training_id, **state})

    def ends(self, **result: Any) -> None:
        self.state = {"status": "done", "progress": 100.0, "step": 40, "steps": 40, "result": RESULT | result}


@pytest.fixture
async def tier(me: Caller) -> Tier:
    me.app.state.rooms.worker.runner.handlers["training"].look_s = 0.02
    return Tier(me)


async def sample(me: Caller, seconds: float = 40.0, **columns: Any) -> str:
    """A recording that is ready, without the work that makes it so."""
    sample_id = new_id("vs")
    key = f"samples/{sample_id}/prepared-1.wav"
    await me.stores.objects.put(key, recording(rate=24_000))
    given: dict[str, Any] = {
        "name": "A voice", "ref_text": "Some words.", "format": "wav", "duration": seconds, "sample_rate": 24_000, "channels": 1,
        "size": 10, "original_path": key, "prepared_path": key, "prepared_duration": seconds, "status": "ready",
        "quality_metrics": {"speech_ratio": 0.9},
    } | columns  # fmt: skip
    await me.add(Sample(id=sample_id, user_id=me.who.id, **given))
    return sample_id


async def trained(me: Caller, sample_id: str, **result: Any) -> str:
    """A training that has completed, without the work."""
    job_id = new_id("job")
    columns = {"kind": "training", "status": "completed", "subject_id": sample_id, "completed_at": utcnow(), "result": RESULT | result}
    await me.add(Job(id=job_id, user_id=me.who.id, available_at=utcnow(), **columns))
    await me.add(TrainingSample(job_id=job_id, sample_id=sample_id, position=0))
    return job_id


async def test_a_training_is_begun_watched_and_shown(me: Caller, tier: Tier) -> None:
    one, other = await sample(me, 20), await sample(me, 25, language="en-GB")
    config = {"epochs": 100, "learning_rate": 0.001, "batch_size": 32, "enable_timestamp_alignment": True}
    answer = await me.ask("POST", f"/voice/samples/{one}/train", json={"sample_ids": [other], "config": config})
    assert answer.status_code == 202, answer.text
    started = answer.json()["data"]
    assert (started["status"], started["estimated_duration"], started["sample_ids"]) == ("pending", 12.5, [one, other])
    assert started["features"] == {"timestamp_alignment_enabled": True, "voice_quality_enhancement": True}
    job_id = started["training_job_id"]
    job = await me.until(f"/job/{job_id}", "processing")
    assert (job["kind"], job["training"]) == ("training", None)
    async with asyncio.timeout(60):
        while job["message"] != "Step 1 of 40":
            job = await me.data("GET", f"/job/{job_id}")
            await asyncio.sleep(0.02)
    assert job["progress"] == 10.0
    (begun,) = tier.begun
    assert (begun["id"], begun["language"], begun["epochs"], begun["learning_rate"]) == (job_id, "en-GB", 100, 0.001)
    assert [each["text"] for each in begun["samples"]] == ["Some words.", "Some words."]
    tier.ends()
    assert (await me.until(f"/job/{job_id}", "completed"))["training"]["loss"] == {"before": 1.5, "after": 1.25}
    for sample_id in (one, other):
        training = (await me.data("GET", f"/voice/samples/{sample_id}"))["training"]
        assert (training["training_job_id"], training["offered"], training["model"], training["steps"]) == (job_id, True, "tone", 40)
        assert training["speaker_similarity"] == {"before": 0.5, "after": 0.75}
        assert [each["training_job_id"] for each in await me.data("GET", f"/voice/samples/{sample_id}/train")] == [job_id]
    assert job_id not in [each["id"] for each in await me.data("GET", "/job")], "a list of what was spoken"
    usage = await me.data("GET", "/auth/usage")
    assert usage["jobs"]["used"] == 0, usage


async def test_too_little_sound_is_refused_with_how_much_is_needed(me: Caller, tier: Tier) -> None:
    short = await sample(me, 20)
    body = error_of(await me.ask("POST", f"/voice/samples/{short}/train", json={}), 400, "TRAINING_TOO_SHORT")
    assert body["details"] == {"seconds": 18.0, "needed_s": 30.0}, "pauses are no speech"
    long = [await sample(me, 60) for _ in range(15)]
    body = error_of(await me.ask("POST", f"/voice/samples/{long[0]}/train", json={"sample_ids": long[1:]}), 400, "TRAINING_TOO_LONG")
    assert body["details"]["limit_s"] == 840
    assert (await me.counts())[2] == 0
    assert tier.begun == []


async def test_what_cannot_be_learnt_from_is_refused(me: Caller, tier: Tier) -> None:
    good = await sample(me)
    path = f"/voice/samples/{good}/train"
    silent = await sample(me, ref_text=None)
    assert await me.refused("POST", path, json={"sample_ids": [silent]}) == (400, "REFERENCE_TEXT_REQUIRED")
    unready = await sample(me, status="processing", prepared_path=None)
    assert await me.refused("POST", path, json={"sample_ids": [unready]}) == (409, "SAMPLE_NOT_READY")
    german = await sample(me, language="de-DE")
    assert await me.refused("POST", path, json={"sample_ids": [german]}) == (400, "VALIDATION_ERROR")
    assert await me.refused("POST", path, json={"sample_ids": [good]}) == (400, "VALIDATION_ERROR")
    for wrong in ({"epochs": 0}, {"learning_rate": 0}, {"learning_rate": 0.5}, {"batch_size": 2.5}, {"enable_timestamp_alignment": 1}):
        assert await me.refused("POST", path, json={"config": wrong}) == (400, "VALIDATION_ERROR"), wrong
    me.inference.faults["/train/estimate"] = lambda body: refused("MODEL_UNAVAILABLE")
    assert await me.refused("POST", path, json={}) == (409, "MODEL_UNAVAILABLE")
    assert (await me.counts())[2] == 0


async def test_another_person_s_sample_and_training_are_not_there(me: Caller, stranger: Caller, tier: Tier) -> None:
    own = await sample(me)
    theirs = await sample(stranger)
    job_id = await trained(me, own)
    assert await stranger.refused("POST", f"/voice/samples/{own}/train", json={}) == (404, "SAMPLE_NOT_FOUND")
    assert await stranger.refused("POST", f"/voice/samples/{theirs}/train", json={"sample_ids": [own]}) == (404, "SAMPLE_NOT_FOUND")
    assert await stranger.refused("GET", f"/voice/samples/{own}/train") == (404, "SAMPLE_NOT_FOUND")
    assert await stranger.refused("DELETE", f"/voice/samples/{own}/train/{job_id}") == (404, "SAMPLE_NOT_FOUND")
    assert await stranger.refused("DELETE", f"/voice/samples/{theirs}/train/{job_id}") == (404, "TRAINING_NOT_FOUND")
    clone_id = await stranger.voice()
    assert await stranger.refused("PATCH", f"/voice/clones/{clone_id}", json={"training_job_id": job_id}) == (404, "TRAINING_NOT_FOUND")
    mine = await me.voice()
    assert await stranger.refused("PATCH", f"/voice/clones/{mine}", json={"training_job_id": None}) == (404, "CLONE_NOT_FOUND")


async def test_one_training_at_a_time_and_a_bound_on_what_is_kept(me: Caller, stranger: Caller, tier: Tier) -> None:
    one = await sample(me)
    path = f"/voice/samples/{one}/train"
    answers = await asyncio.gather(*(me.ask("POST", path, json={}) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409]
    job_id = next(answer.json()["data"]["training_job_id"] for answer in answers if answer.status_code == 202)
    body = error_of(await me.ask("POST", path, json={}), 409, "TRAINING_RUNNING")
    assert body["details"] == {"training_job_id": job_id}
    tier.ends()
    await me.until(f"/job/{job_id}", "completed")
    for _ in range(3):
        await trained(me, one)
    await trained(me, one, offered=False)  # keeps nothing
    assert (await me.ask("POST", path, json={})).status_code == 202
    await asyncio.gather(*(me.until(f"/job/{row['training_job_id']}", "completed") for row in await me.data("GET", path)))
    assert await me.refused("POST", path, json={}) == (409, "TRAINING_LIMIT")
    await me.data("DELETE", f"{path}/{job_id}")
    assert (await me.ask("POST", path, json={})).status_code == 202


async def test_a_cancelled_training_is_removed_where_it_runs_and_can_be_begun_again(me: Caller, tier: Tier) -> None:
    one = await sample(me)
    job_id = (await me.data("POST", f"/voice/samples/{one}/train", json={}))["training_job_id"]
    async with asyncio.timeout(60):
        await tier.seen.wait()
        await me.until(f"/job/{job_id}", "processing")
        assert (await me.data("PATCH", f"/job/{job_id}", json={"status": "cancelled"}))["status"] == "cancelled"
        await tier.gone.wait()
    assert tier.removed == [job_id]
    assert (await me.data("GET", f"/voice/samples/{one}"))["training"]["status"] == "cancelled"
    tier.ends()
    await me.data("PATCH", f"/job/{job_id}", json={"status": "pending"})
    await me.until(f"/job/{job_id}", "completed")
    assert len(tier.begun) == 2
    assert await me.refused("DELETE", f"/job/{job_id}") == (409, "BACKGROUND_JOB")


async def test_a_clone_speaks_with_what_was_trained_and_with_nothing_worse(me: Caller, tier: Tier) -> None:
    one = await sample(me)
    job_id = await trained(me, one)
    clone_id = await me.voice()
    path = f"/voice/clones/{clone_id}"
    assert (await me.data("GET", path))["training_job_id"] is None
    await me.data("POST", f"{path}/synthesize", json={"text": "Hello."})
    assert (await me.data("PATCH", path, json={"training_job_id": job_id}))["training_job_id"] == job_id
    assert (await me.data("GET", path))["training_job_id"] == job_id
    await me.data("POST", f"{path}/synthesize", json={"text": "Hello again."})
    spoken = {body["text"]: body["model"] for body in me.inference.asked("/plan")}
    assert (spoken["Hello."], spoken["Hello again."]) == (None, f"tuned-{job_id}")
    measuring = [text for text, model in spoken.items() if text not in {"Hello.", "Hello again."} and model == f"tuned-{job_id}"]
    async with asyncio.timeout(60):
        while not measuring:
            await asyncio.sleep(0.02)
            measuring = [body["text"] for body in me.inference.asked("/plan") if "Hello" not in body["text"] and body["model"]]
    worse = await trained(me, one, offered=False, reason="It came out worse.")
    assert await me.refused("PATCH", path, json={"training_job_id": worse}) == (409, "TRAINING_NOT_BETTER")
    unready = await me.job_row(kind="training", status="failed")
    assert await me.refused("PATCH", path, json={"training_job_id": unready}) == (409, "TRAINING_NOT_READY")
    assert await me.refused("PATCH", path, json={"training_job_id": await me.job_row()}) == (404, "TRAINING_NOT_FOUND")
    other = await trained(me, one)
    assert (await me.data("PATCH", path, json={"training_job_id": other}))["training_job_id"] == other
    assert await me.refused("DELETE", f"/voice/samples/{one}/train/{other}") == (409, "TRAINING_IN_USE")
    assert (await me.data("PATCH", path, json={"training_job_id": None}))["training_job_id"] is None
    assert (await me.data("GET", path))["training_job_id"] is None
    assert await me.refused("PATCH", path, json={}) == (400, "VALIDATION_ERROR")


async def test_what_was_trained_goes_with_the_recording(me: Caller, tier: Tier) -> None:
    one, other = await sample(me), await sample(me)
    job_id = await trained(me, one)
    await me.add(TrainingSample(job_id=job_id, sample_id=other, position=1))
    clone_id = await me.voice()
    await me.data("PATCH", f"/voice/clones/{clone_id}", json={"training_job_id": job_id})
    body = error_of(await me.ask("DELETE", f"/voice/samples/{other}"), 409, "SAMPLE_IN_USE")
    assert body["details"] == {"clones": [clone_id]}, "a voice that was trained on it needs it too"
    assert (await me.data("DELETE", f"/voice/samples/{other}?force=true"))["deleted_clones"] == [clone_id]
    assert await me.row(Job, job_id) is None
    assert await me.row(Clone, clone_id) is None
    assert (await me.data("GET", f"/voice/samples/{one}"))["training"] is None
    async with asyncio.timeout(60):
        await tier.gone.wait()
    assert tier.removed == [job_id]


async def test_a_clone_s_own_sample_is_named_once(me: Caller, tier: Tier) -> None:
    one = await sample(me)
    job_id = await trained(me, one)
    clone_id = await me.voice()
    await me.add(CloneSample(clone_id=clone_id, sample_id=one, position=0))
    await me.data("PATCH", f"/voice/clones/{clone_id}", json={"training_job_id": job_id})
    body = error_of(await me.ask("DELETE", f"/voice/samples/{one}"), 409, "SAMPLE_IN_USE")
    assert body["details"] == {"clones": [clone_id]}


async def test_processing_and_training_of_a_sample_are_not_taken_for_each_other(me: Caller, tier: Tier) -> None:
    one = await sample(me)
    job_id = (await me.data("POST", f"/voice/samples/{one}/train", json={}))["training_job_id"]
    assert (await me.data("POST", f"/voice/samples/{one}/process"))["job_id"] != job_id
    tier.ends()
    await me.until(f"/job/{job_id}", "completed", "failed")
