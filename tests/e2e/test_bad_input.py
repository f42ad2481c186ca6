"""Bad input gets a clear error with a stable code, and leaves nothing behind: no row, no file, no vector."""

from __future__ import annotations

import io
import sqlite3
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from tests.e2e.voxify import ApiProcess, Person


def tables(api: ApiProcess) -> dict[str, int]:
    with sqlite3.connect(f"file:{api.data / 'voxify.db'}?mode=ro", uri=True) as database:
        return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("samples", "clones", "jobs")}


def files(api: ApiProcess) -> set[str]:
    return {str(path) for path in api.data.joinpath("objects").rglob("*") if path.is_file()}


def sound_file(seconds: float, container: str = "WAV", rate: int = 16_000) -> bytes:
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds * rate)).astype(np.float32)
    written = io.BytesIO()
    soundfile.write(written, noise, rate, format=container)
    return written.getvalue()


def silence_of_forty_minutes() -> bytes:
    written = io.BytesIO()
    soundfile.write(written, np.zeros(40 * 60 * 8000, np.float32), 8000, format="FLAC")
    return written.getvalue()


def wav_that_lies() -> bytes:
    """Half a second of sound under a header that claims a gigabyte."""
    honest = sound_file(0.5)
    return honest[:4] + struct.pack("<I", 2**30) + honest[8:40] + struct.pack("<I", 2**30 - 36) + honest[44:]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"This is a letter, and no sound at all.\n" * 100, 400, "INVALID_AUDIO"),
        (b"", 400, "INVALID_AUDIO"),
        (b"RIFF" + b"\0" * 2000, 400, "INVALID_AUDIO"),
        (wav_that_lies(), 400, "INVALID_AUDIO"),
        (sound_file(1.0), 400, "AUDIO_TOO_SHORT"),
        (silence_of_forty_minutes(), 400, "AUDIO_TOO_LONG"),
        (b"RIFF" + b"\0" * (17 * 1024 * 1024), 413, "PAYLOAD_TOO_LARGE"),
    ],
    ids=["a letter", "nothing", "a header alone", "a header that lies", "too short", "40 minutes", "too many bytes"],
)
def test_uploads_that_are_no_voice(api: ApiProcess, newcomer: Callable[[], Person], content: bytes, status: int, code: str) -> None:
    person, rows, objects = newcomer(), tables(api), files(api)
    answer = person.upload(content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]
    assert (tables(api), files(api)) == (rows, objects)


def test_a_form_without_its_parts(newcomer: Callable[[], Person]) -> None:
    person = newcomer()
    nameless = person.http.post("/voice/samples", files={"file": ("a.wav", sound_file(4))})
    assert (nameless.status_code, nameless.json()["error"]["code"]) == (400, "VALIDATION_ERROR")
    assert "name" in nameless.json()["error"]["details"]
    fileless = person.http.post("/voice/samples", files={"name": (None, "A voice")})
    assert (fileless.status_code, fileless.json()["error"]["code"]) == (400, "VALIDATION_ERROR")
    assert "file" in fileless.json()["error"]["details"]
    no_form = person.http.post("/voice/samples", json={"name": "A voice"})
    assert no_form.status_code in (400, 415)
    assert no_form.json()["success"] is False


def test_a_file_name_is_never_a_path(api: ApiProcess, newcomer: Callable[[], Person]) -> None:
    person = newcomer()
    form = {"name": "A voice", "ref_text": "Whatever."}
    answer = person.http.post("/voice/samples", files={"file": ("../../../../tmp/evil.wav", sound_file(4))}, data=form)
    assert answer.status_code == 201
    assert not [name for name in files(api) if "evil" in name]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"text_content": ""}, "text_content"),
        ({"text_content": "   \n"}, "text_content"),
        ({"text_content": 7}, "text_content"),
        ({"text_content": "x" * 10_001}, "text_content"),
        ({"speed": "fast"}, "speed"),
        ({"speed": 0.4}, "speed"),
        ({"speed": 3.1}, "speed"),
        ({"pitch": 2.5}, "pitch"),
        ({"volume": -1}, "volume"),
        ({"output_format": "exe"}, "output_format"),
        ({"sample_rate": 12345}, "sample_rate"),
        ({"text_language": "not a language"}, "text_language"),
        ({"config": []}, "config"),
        ({"config": {"seed": -1}}, "config.seed"),
        ({"config": {"nfe_step": 1000}}, "config.nfe_step"),
    ],
)
def test_jobs_with_wrong_fields(api: ApiProcess, speaker: tuple[Person, str], change: dict[str, object], field: str) -> None:
    person, voice = speaker
    rows = tables(api)
    answer = person.http.post("/job", json={"text_content": "Hello.", "voice_model_id": voice} | change)
    assert answer.status_code == 400, answer.text
    assert field in answer.json()["error"]["details"]
    assert tables(api) == rows


def test_ids_that_are_not_there_and_ids_of_others_answer_alike(
    api: ApiProcess, speaker: tuple[Person, str], newcomer: Callable[[], Person]
) -> None:
    owner, voice = speaker
    sample = owner.data("GET", f"/voice/clones/{voice}")["sample_ids"][0]
    job = owner.data("POST", "/job", json={"text_content": "Mine alone.", "voice_model_id": voice})["id"]
    owner.until(f"/job/{job}", "completed")
    stranger, rows, objects = newcomer(), tables(api), files(api)
    for sample_id in (sample, "vs_unknown"):
        assert stranger.refused("GET", f"/voice/samples/{sample_id}") == (404, "SAMPLE_NOT_FOUND")
        assert stranger.refused("DELETE", f"/voice/samples/{sample_id}?force=true") == (404, "SAMPLE_NOT_FOUND")
        wanted = {"name": "Stolen", "sample_ids": [sample_id], "ref_text": "Whatever."}
        assert stranger.refused("POST", "/voice/clones", json=wanted) == (404, "SAMPLE_NOT_FOUND")
    for voice_id in (voice, "vc_unknown"):
        assert stranger.refused("GET", f"/voice/clones/{voice_id}") == (404, "CLONE_NOT_FOUND")
        assert stranger.refused("DELETE", f"/voice/clones/{voice_id}") == (404, "CLONE_NOT_FOUND")
        assert stranger.refused("POST", f"/voice/clones/{voice_id}/select") == (404, "CLONE_NOT_FOUND")
        assert stranger.refused("POST", f"/voice/clones/{voice_id}/synthesize", json={"text": "Hi."}) == (404, "CLONE_NOT_FOUND")
        wanted_job = {"text_content": "Hi.", "voice_model_id": voice_id}
        assert stranger.refused("POST", "/job", json=wanted_job) == (404, "VOICE_MODEL_NOT_FOUND")
    for job_id in (job, "job_unknown"):
        for method, path in (
            ("GET", f"/job/{job_id}"),
            ("DELETE", f"/job/{job_id}"),
            ("GET", f"/job/{job_id}/progress"),
            ("GET", f"/file/synthesis/{job_id}"),
        ):
            assert stranger.refused(method, path) == (404, "JOB_NOT_FOUND")
        assert stranger.http.head(f"/file/synthesis/{job_id}").status_code == 404
        assert stranger.refused("PATCH", f"/job/{job_id}", json={"status": "cancelled"}) == (404, "JOB_NOT_FOUND")
    assert stranger.data("GET", "/job") == []
    assert (tables(api), files(api)) == (rows, objects)


def test_characters_without_letters_are_named_with_their_places(api: ApiProcess, speaker: tuple[Person, str]) -> None:
    person, voice = speaker
    text = "Snow \u2744 and a snake \U0001f40d."
    rows, objects = tables(api), files(api)
    answer = person.http.post(f"/voice/clones/{voice}/synthesize", json={"text": text})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "UNSUPPORTED_CHARACTERS")
    assert [(each["character"], each["position"]) for each in error["details"]["characters"]] == [("\u2744", 5), ("\U0001f40d", 19)]
    assert (tables(api), files(api)) == (rows, objects), "a direct synthesis that fails leaves nothing behind"

    job = person.data("POST", "/job", json={"text_content": text, "voice_model_id": voice})
    event = person.events(job["id"])[-2]
    assert (event["status"], event["error_code"]) == ("failed", "UNSUPPORTED_CHARACTERS")
    assert files(api) == objects
    dropped = {"text_content": text, "voice_model_id": voice, "config": {"on_unsupported": "drop"}}
    job = person.data("POST", "/job", json=dropped)
    done = person.until(f"/job/{job['id']}", "completed")
    assert [lost["position"] for lost in done["unsupported_characters"]] == [5, 19]


def test_a_clone_needs_to_know_what_is_spoken(newcomer: Callable[[], Person]) -> None:
    person = newcomer()
    upload = person.http.post("/voice/samples", files={"file": ("a.wav", sound_file(4))}, data={"name": "Silent about itself"})
    sample_id = upload.json()["data"]["sample_id"]
    early = person.data("POST", "/voice/clones", json={"name": "A", "sample_ids": [sample_id]})
    person.until(f"/voice/samples/{sample_id}", "ready")
    assert person.ended(f"/voice/clones/{early['clone_id']}") == ("failed", "REFERENCE_TEXT_REQUIRED")
    assert person.refused("POST", "/voice/clones", json={"name": "A", "sample_ids": [sample_id]}) == (400, "REFERENCE_TEXT_REQUIRED")
    assert person.refused("POST", "/voice/clones", json={"name": "A", "sample_ids": []}) == (400, "VALIDATION_ERROR")
    twice = {"name": "A", "sample_ids": [sample_id, sample_id], "ref_text": "Hm."}
    assert person.refused("POST", "/voice/clones", json=twice) == (400, "VALIDATION_ERROR")
