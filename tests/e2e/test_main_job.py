"""The main job over HTTP with every real part: API process, worker, SQLite, files, Chroma, BentoML service."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from tests.e2e.voxify import ApiProcess, Person

TEXT = "The quick brown fox jumps over the lazy dog. It was seen by nobody, and it did not look back."


def sound_of(answer: httpx.Response) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    return samples, rate


def test_a_voice_in_and_speech_out(newcomer: Callable[[], Person]) -> None:
    person = newcomer()
    uploaded = person.upload()
    assert uploaded.status_code == 201
    sample = person.until(f"/voice/samples/{uploaded.json()['data']['sample_id']}", "ready")
    assert sample["format"] == "wav"
    assert 0 < sample["quality_metrics"]["quality_score"] <= 1
    clone = person.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample["sample_id"]]})
    clone = person.until(f"/voice/clones/{clone['clone_id']}", "ready")
    assert clone["sample_ids"] == [sample["sample_id"]]

    job = person.data("POST", "/job", json={"text_content": TEXT, "voice_model_id": clone["clone_id"], "sample_rate": 22050})
    assert (job["status"], job["progress"], job["text_length"], job["word_count"]) == ("pending", 0.0, len(TEXT), 20)
    events = person.events(job["id"])
    assert events[-1] == {"event": "complete"}
    assert events[-2]["status"] == "completed"
    assert [event["progress"] for event in events[:-1]] == sorted(event["progress"] for event in events[:-1])

    done = person.data("GET", f"/job/{job['id']}")
    assert (done["status"], done["progress"], done["model"], done["is_speech"]) == ("completed", 100.0, "smoke", False)
    samples, rate = sound_of(person.http.get(f"/file/synthesis/{job['id']}"))
    assert rate == 22050
    assert len(samples) / rate == pytest.approx(done["duration"], abs=0.01)
    assert 3 < done["duration"] < 15
    assert np.sqrt(np.mean(samples**2)) > 0.001


@pytest.mark.parametrize("wanted", ["wav", "mp3", "flac", "ogg", "opus"])
def test_every_format_is_what_it_says(speaker: tuple[Person, str], wanted: str) -> None:
    person, voice = speaker
    job = person.data("POST", "/job", json={"text_content": "Hello there.", "voice_model_id": voice, "output_format": wanted})
    person.until(f"/job/{job['id']}", "completed")
    answer = person.http.get(f"/file/synthesis/{job['id']}")
    expected = {"wav": ("WAV", "audio/wav"), "mp3": ("MP3", "audio/mpeg"), "flac": ("FLAC", "audio/flac"), "ogg": ("OGG", "audio/ogg")}
    container, media_type = expected.get(wanted, ("OGG", "audio/ogg"))
    assert answer.headers["Content-Type"].startswith(media_type)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{job["id"]}.{wanted}"'
    info = soundfile.info(io.BytesIO(answer.content))
    assert info.format == container
    assert info.duration > 0.3


def test_the_same_seed_makes_the_same_sound_and_another_does_not(speaker: tuple[Person, str]) -> None:
    person, voice = speaker

    def spoken(seed: int) -> bytes:
        job = person.data("POST", "/job", json={"text_content": TEXT, "voice_model_id": voice, "config": {"seed": seed}})
        person.until(f"/job/{job['id']}", "completed")
        return person.http.get(f"/file/synthesis/{job['id']}").content[200:]  # behind the tags, which name the job

    first, again, other = spoken(7), spoken(7), spoken(8)
    a, b, c = (np.frombuffer(sound[: len(sound) // 2 * 2], dtype="<i2").astype(int) for sound in (first, again, other))
    assert len(a) == len(b)
    assert np.abs(a - b).max() <= 2, "a batch may change the last bit, never the sound"
    assert len(a) != len(c) or np.abs(a - c).max() > 100


def test_volume_and_pitch_and_speed_are_heard(speaker: tuple[Person, str]) -> None:
    person, voice = speaker

    def spoken(**manner: float) -> tuple[np.ndarray, float]:
        wanted = {"text_content": TEXT, "voice_model_id": voice, "config": {"seed": 1}, **manner}
        job = person.data("POST", "/job", json=wanted)
        done = person.until(f"/job/{job['id']}", "completed")
        return sound_of(person.http.get(f"/file/synthesis/{job['id']}"))[0], done["duration"]

    plain, seconds = spoken()
    quiet, _ = spoken(volume=0.25)
    assert np.sqrt(np.mean(quiet**2)) == pytest.approx(np.sqrt(np.mean(plain**2)) / 4, rel=0.1)
    _, faster = spoken(speed=2.0)
    assert faster == pytest.approx(seconds / 2, rel=0.15)
    shifted, same = spoken(pitch=1.5)
    assert same == pytest.approx(seconds, abs=0.01)
    assert not np.allclose(shifted[: len(plain)], plain[: len(shifted)], atol=0.01)
    silent, _ = spoken(volume=0.0)
    assert not silent.any()


def test_ranges_and_head_and_etag(speaker: tuple[Person, str]) -> None:
    person, voice = speaker
    job = person.data("POST", "/job", json={"text_content": "Hello there.", "voice_model_id": voice})
    person.until(f"/job/{job['id']}", "completed")
    path = f"/file/synthesis/{job['id']}"
    whole = person.http.get(path)
    head = person.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.content))
    assert head.headers["Accept-Ranges"] == "bytes"
    part = person.http.get(path, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(whole.content)}"
    assert person.http.get(path, headers={"Range": "bytes=-50"}).content == whole.content[-50:]
    assert person.http.get(path, headers={"Range": "bytes=500-"}).content == whole.content[500:]
    outside = person.http.get(path, headers={"Range": "bytes=99999999-"})
    assert (outside.status_code, outside.json()["error"]["code"]) == (416, "RANGE_NOT_SATISFIABLE")
    assert outside.headers["Content-Range"] == f"bytes */{len(whole.content)}"
    fresh = person.http.get(path, headers={"If-None-Match": whole.headers["ETag"]})
    assert (fresh.status_code, fresh.content) == (304, b"")
    changed = person.http.get(path, headers={"Range": "bytes=0-9", "If-Range": '"another"'})
    assert (changed.status_code, len(changed.content)) == (200, len(whole.content))


def test_speaking_at_once_as_json_and_as_a_stream(speaker: tuple[Person, str]) -> None:
    person, voice = speaker
    answer = person.data("POST", f"/voice/clones/{voice}/synthesize", json={"text": "Hello there.", "seed": 3})
    assert (answer["status"], answer["clone_id"], answer["is_speech"]) == ("completed", voice, False)
    kept, rate = sound_of(person.http.get(f"/file/synthesis/{answer['job_id']}"))
    assert len(kept) / rate == pytest.approx(answer["duration"], abs=0.01)

    streamed = person.http.post(f"/voice/clones/{voice}/synthesize", json={"text": "Hello there.", "seed": 3, "stream": True})
    assert streamed.headers["Content-Type"].startswith("audio/wav")
    pcm = np.frombuffer(streamed.content[-2 * len(kept) :], dtype="<i2") / 32768
    assert np.abs(pcm - kept).max() < 0.001


def test_a_job_can_be_cancelled_while_it_runs_and_tried_again(speaker: tuple[Person, str]) -> None:
    person, voice = speaker
    job = person.data("POST", "/job", json={"text_content": TEXT * 40, "voice_model_id": voice})
    person.until(f"/job/{job['id']}", "processing")
    cancelled = person.data("PATCH", f"/job/{job['id']}", json={"status": "cancelled"})
    assert cancelled["status"] == "cancelled"
    assert person.refused("PATCH", f"/job/{job['id']}", json={"status": "cancelled"}) == (409, "INVALID_STATUS_TRANSITION")
    assert person.refused("GET", f"/file/synthesis/{job['id']}") == (404, "FILE_NOT_FOUND")
    assert person.events(job["id"])[-1] == {"event": "complete"}
    again = person.data("PATCH", f"/job/{job['id']}", json={"status": "pending"})
    assert again["status"] == "pending"
    person.until(f"/job/{job['id']}", "processing")
    assert person.refused("DELETE", f"/job/{job['id']}") == (409, "JOB_PROCESSING")
    person.data("PATCH", f"/job/{job['id']}", json={"status": "cancelled"})
    person.data("DELETE", f"/job/{job['id']}")
    assert person.refused("GET", f"/job/{job['id']}") == (404, "JOB_NOT_FOUND")


def test_a_request_is_followed_through_every_tier_and_no_log_repeats_what_people_said(
    api: ApiProcess, inference_log: Path, newcomer: Callable[[], Person]
) -> None:
    person = newcomer()
    voice = person.clone()
    secret = "The heron keeps the amber key."
    named = {"X-Request-ID": "follow-me-7"}
    answer = person.http.post("/job", json={"text_content": secret, "voice_model_id": voice}, headers=named)
    assert answer.headers["X-Request-ID"] == "follow-me-7"
    person.until(f"/job/{answer.json()['data']['id']}", "completed")
    streamed = {"text": secret, "stream": True}
    person.http.post(f"/voice/clones/{voice}/synthesize", json=streamed, headers={"X-Request-ID": "follow-me-8"}).raise_for_status()
    marks = ['"follow-me-7"', '"follow-me-8"']
    logs = api.log, inference_log.read_text()
    give_up = time.monotonic() + 30
    # A tier writes a request's line after its answer has gone.
    while not all(mark in log for log in logs for mark in marks) and time.monotonic() < give_up:
        time.sleep(0.02)
        logs = api.log, inference_log.read_text()
    for log in logs:
        assert [mark for mark in marks if mark not in log] == []
        for said in ("heron", "call me nature", "@example.com", "Correct-Horse", "eyJ"):
            assert said not in log


def test_what_is_deleted_is_gone_from_the_disk(api: ApiProcess, newcomer: Callable[[], Person]) -> None:
    person = newcomer()
    before = set(api.data.joinpath("objects").rglob("*.*"))
    voice = person.clone()
    clone = person.data("GET", f"/voice/clones/{voice}")
    sample_id = clone["sample_ids"][0]
    job = person.data("POST", "/job", json={"text_content": "Hello there.", "voice_model_id": voice})
    person.until(f"/job/{job['id']}", "completed")
    assert person.refused("DELETE", f"/voice/samples/{sample_id}") == (409, "SAMPLE_IN_USE")
    person.data("DELETE", f"/job/{job['id']}")
    assert person.data("DELETE", f"/voice/samples/{sample_id}?force=true")["deleted_clones"] == [voice]
    assert person.refused("GET", f"/voice/clones/{voice}") == (404, "CLONE_NOT_FOUND")
    assert set(api.data.joinpath("objects").rglob("*.*")) == before
