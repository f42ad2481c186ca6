"""The file of a job says what it is, has the loudness that the operator wants, and the rate that is said of it."""

from __future__ import annotations

import io
from typing import Any

import av
import pytest
import soundfile as sf

from audio.encode import FORMATS
from audio.loudness import integrated_loudness
from settings import Settings
from tests.api.rooms import Caller

TEXT = "What nobody else should read."


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"loudness_lufs": -23.0})


async def spoken(me: Caller, **wanted: Any) -> tuple[dict[str, Any], bytes]:
    """A job that has completed, and its file."""
    made = await me.data("POST", "/job", json={"text_content": TEXT, "voice_model_id": await me.voice()} | wanted)
    job = await me.until(f"/job/{made['id']}", "completed", "failed")
    assert job["status"] == "completed", job["error_message"]
    return job, (await me.ask("GET", f"/file/synthesis/{job['id']}")).content


def tags(sound: bytes) -> dict[str, str]:
    with av.open(io.BytesIO(sound)) as file:
        return {name.lower(): value for name, value in {**file.metadata, **file.streams[0].metadata}.items()}


async def test_every_file_says_that_nobody_spoke_it_and_not_what_is_said(me: Caller) -> None:
    for output_format in FORMATS:
        job, sound = await spoken(me, output_format=output_format)
        assert tags(sound)["title"] == f"Voxify {job['id']}", output_format
        assert tags(sound)["comment"] == "AI-generated speech", output_format
        assert b"nobody" not in sound


async def test_a_stream_says_so_too(me: Caller) -> None:
    path = f"/voice/clones/{await me.voice()}/synthesize"
    for output_format in FORMATS:
        answer = await me.ask("POST", path, json={"text": TEXT, "stream": True, "output_format": output_format})
        assert answer.status_code == 200
        found = tags(answer.content)
        assert found["title"].startswith("Voxify job_"), output_format
        assert found["comment"] == "AI-generated speech", output_format


async def test_the_loudness_is_what_the_operator_wants_times_the_volume(me: Caller) -> None:
    for volume, expected in ((1.0, -23.0), (0.5, -29.02)):
        _, sound = await spoken(me, output_format="flac", volume=volume)
        samples, rate = sf.read(io.BytesIO(sound), dtype="float32")
        assert integrated_loudness(samples, rate) == pytest.approx(expected, abs=0.2)
    streamed = await me.ask("POST", f"/voice/clones/{await me.voice()}/synthesize", json={"text": TEXT, "stream": True, "volume": 0.5})
    samples, rate = sf.read(io.BytesIO(streamed.content), dtype="float32")
    assert integrated_loudness(samples, rate) == pytest.approx(-29.02, abs=0.5)


async def test_the_rate_of_an_opus_file_is_said_as_it_is(me: Caller) -> None:
    for asked, written in ((22_050, 24_000), (44_100, 48_000), (16_000, 16_000)):
        job, _ = await spoken(me, output_format="opus", sample_rate=asked)
        assert (job["sample_rate"], job["output_sample_rate"]) == (asked, written)
        assert (await me.data("GET", f"/file/synthesis/{job['id']}/info"))["sample_rate"] == written
    job, sound = await spoken(me, output_format="wav", sample_rate=22_050)
    assert job["output_sample_rate"] == sf.info(io.BytesIO(sound)).samplerate == 22_050
