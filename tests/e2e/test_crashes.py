"""No job is lost when a process dies: after a restart it is finished, once."""

from __future__ import annotations

import io
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import soundfile

from tests.e2e.voxify import ApiProcess, Person, api_process
from tests.servers import descendants, free_port, inference_process

# Long texts, and processes that are started again.
pytestmark = pytest.mark.timeout(300)

LONG_TEXT = "The quick brown fox jumps over the lazy dog, and nobody saw it but the moon. " * 12


def under_way(person: Person, job_id: str) -> None:
    """Return when at least one chunk has been spoken."""
    deadline = time.monotonic() + 60
    while not 5 < (job := person.data("GET", f"/job/{job_id}"))["progress"] < 90:
        assert job["status"] in ("pending", "processing"), job
        assert time.monotonic() < deadline, job
        time.sleep(0.02)


def leave_a_file(api: ApiProcess, job_id: str) -> None:
    """What a crash leaves between the storing of a job's file and the commit that names it."""
    left = api.data / "objects" / "jobs" / job_id / "1-00000000.wav"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"RIFF")
    os.utime(left, (0, 0))


def files_of_jobs(api: ApiProcess, count: int) -> None:
    """Return when the jobs have no more files than they name: one that was stored right before a crash is removed by the sweep."""
    deadline = time.monotonic() + 60
    while len(files := list(api.data.glob("objects/jobs/*/*"))) != count:
        assert len(files) > count, files
        assert time.monotonic() < deadline, files
        time.sleep(0.1)


def test_a_killed_api_loses_no_job(tmp_path: Path, inference_url: str) -> None:
    settings = {"VOXIFY_LEASE_S": "2", "VOXIFY_SWEEP_S": "0.2", "VOXIFY_CHUNK_CONCURRENCY": "1"}
    settings |= {"VOXIFY_ORPHAN_GRACE_S": "10", "VOXIFY_ORPHAN_SWEEP_S": "1", "VOXIFY_JOB_MAX_ATTEMPTS": "20"}
    with api_process(tmp_path, inference_url, **settings) as api:
        person = Person(api.url, "crash@example.com")
        voice = person.clone()
        running = person.data("POST", "/job", json={"text_content": LONG_TEXT, "voice_model_id": voice})["id"]
        others = [person.data("POST", "/job", json={"text_content": "Short.", "voice_model_id": voice})["id"] for _ in range(3)]
        under_way(person, running)
        api.kill()
        leave_a_file(api, running)
        api.start()
        done = person.until(f"/job/{running}", "completed")
        assert done["attempt"] >= 2, "the first attempt died with the process"
        assert soundfile.info(io.BytesIO(person.http.get(f"/file/synthesis/{running}").content)).duration == done["duration"]
        for other in others:
            person.until(f"/job/{other}", "completed")
        files_of_jobs(api, 4)


def test_a_killed_inference_service_loses_no_job(tmp_path: Path) -> None:
    port = str(free_port())
    with ExitStack() as life:
        url, inference, _ = life.enter_context(inference_process(tmp_path / "first", VOXIFY_INFERENCE_PORT=port))
        with api_process(tmp_path, url, VOXIFY_CHUNK_CONCURRENCY="1") as api:
            person = Person(api.url, "crash@example.com")
            voice = person.clone()
            job = person.data("POST", "/job", json={"text_content": LONG_TEXT, "voice_model_id": voice})["id"]
            under_way(person, job)
            for process in (inference.pid, *descendants(inference.pid)):
                os.kill(process, signal.SIGKILL)
            inference.wait()
            refused = person.http.post(f"/voice/clones/{voice}/synthesize", json={"text": "Hello."})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "INFERENCE_UNAVAILABLE")
            assert int(refused.headers["Retry-After"]) > 0
            ready = person.http.get(f"{api.url}/health/ready")
            assert ready.status_code == 503
            life.enter_context(inference_process(tmp_path / "second", VOXIFY_INFERENCE_PORT=port))
            done = person.until(f"/job/{job}", "completed")
            assert soundfile.info(io.BytesIO(person.http.get(f"/file/synthesis/{job}").content)).duration == done["duration"]


def test_a_stopped_api_ends_its_event_streams_and_keeps_its_jobs(tmp_path: Path, inference_url: str) -> None:
    with api_process(tmp_path, inference_url, VOXIFY_SHUTDOWN_GRACE_S="1", VOXIFY_CHUNK_CONCURRENCY="1") as api:
        person = Person(api.url, "crash@example.com")
        voice = person.clone()
        job = person.data("POST", "/job", json={"text_content": LONG_TEXT, "voice_model_id": voice})["id"]
        under_way(person, job)
        with person.http.stream("GET", f"/job/{job}/progress") as stream:
            lines = stream.iter_lines()
            next(lines)
            api.process.terminate()
            for _ in lines:  # ends by itself
                pass
        assert api.process.wait(60) == 0
        api.start()
        assert person.until(f"/job/{job}", "completed")["attempt"] == 1, "a job that was put back has not used an attempt up"
