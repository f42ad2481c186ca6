"""What a job's config may say, and where it ends up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from store.clock import utcnow
from store.models import Job
from tests.api.rooms import Caller


@pytest.fixture
async def quiet(me: Caller) -> Caller:
    await me.app.state.rooms.worker.stop(1)
    return me


async def test_all_that_a_config_may_say_is_kept(quiet: Caller) -> None:
    config = {
        "seed": 0, "nfe_step": 7, "cfg_strength": 0.0, "on_unsupported": "drop", "include_timestamps": True,
        "timestamp_granularity": "sentence", "loudness_lufs": -16.0, "emotion": "neutral",
    }  # fmt: skip
    wanted = {"text_content": "Hi.", "voice_model_id": "default_voice_001", "config": config}
    job = await quiet.data("POST", "/job", json=wanted)
    assert job["config"] == config
    assert (await quiet.data("GET", f"/job/{job['id']}"))["config"] == config


async def test_the_manner_of_speech_has_one_place(quiet: Caller) -> None:
    wanted: dict[str, Any] = {"text_content": "Hi.", "config": {"speed": 1.2, "pitch": 0.9, "volume": 0.5, "seed": 1}, "pitch": 1.1}
    job = await quiet.data("POST", "/job", json=wanted)
    assert (job["speed"], job["pitch"], job["volume"]) == (1.2, 1.1, 0.5), "the job itself comes first"
    assert job["config"] == {"seed": 1}
    async with quiet.stores.database.write() as session:
        await session.execute(update(Job).values(available_at=utcnow() + timedelta(days=1)))
    changed = await quiet.data("PUT", f"/job/{job['id']}", json={"config": {"speed": 2.0, "nfe_step": 32}})
    assert (changed["speed"], changed["pitch"], changed["config"]) == (2.0, 1.1, {"seed": 1, "nfe_step": 32})
    assert (await quiet.data("PUT", f"/job/{job['id']}", json={"config": {"volume": 1.5}}))["volume"] == 1.5


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_what_is_out_of_range_is_named(quiet: Caller, method: str) -> None:
    waiting = await quiet.data("POST", "/job", json={"text_content": "Hi."})
    path = "/job" if method == "POST" else f"/job/{waiting['id']}"
    before = await quiet.counts()
    for field, values in {
        "seed": (-1, 2**31, 1.5, "1"),
        "nfe_step": (0, 8, 64, "7"),
        "cfg_strength": (-0.1, 10.1, "2"),
        "on_unsupported": ("skip",),
        "include_timestamps": ("yes", 1),
        "timestamp_granularity": ("letter",),
        "loudness_lufs": (-41, -9, "-16"),
        "speed": (0.4, 3.1, "1", True),
        "pitch": (0.4, 2.1),
        "volume": (-0.1, 2.1),
    }.items():
        for value in values:
            answer = await quiet.ask(method, path, json={"text_content": "Hi.", "config": {field: value}})
            assert answer.status_code == 400, (field, value)
            assert answer.json()["error"]["details"].keys() == {f"config.{field}"}, (field, value)
    assert await quiet.counts() == before


async def test_a_job_brings_its_sound_to_its_own_loudness(me: Caller) -> None:
    async def loud(**config: Any) -> float:
        job = await me.data("POST", "/job", json={"text_content": "A. B. C. D.", "config": {"seed": 1, **config}})
        done = await me.until(f"/job/{job['id']}", "completed", "failed")
        sound = (await me.ask("GET", done["output_path"].removeprefix("/api/v1"))).content
        return float(sum(abs(int.from_bytes(sound[i : i + 2], "little", signed=True)) for i in range(1000, len(sound) - 1, 200)))

    plain, quieter, quietest = await loud(), await loud(loudness_lufs=-24.0), await loud(loudness_lufs=-34.0)
    assert plain > quieter
    assert quieter / quietest == pytest.approx(10**0.5, rel=0.1), "10 dB"


async def test_what_is_tried_again_begins_without_what_it_had(quiet: Caller) -> None:
    job_id = await quiet.job_row(status="failed", output_path="jobs/x/1.wav", output_size=5, duration=1.0, result={"model": "tone"})
    again = await quiet.data("PATCH", f"/job/{job_id}", json={"status": "pending"})
    assert [again[name] for name in ("output_file_path", "output_size", "duration", "model")] == [None] * 4
