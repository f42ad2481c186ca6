"""The main job as a newcomer walks it: register, log in, upload a voice, clone it, then have it speak again and again.

Every answer is checked, the sound of each job included, and whatever is wrong counts as a failure, so that a run with
errors ends with another exit status than 0.
"""

from __future__ import annotations

import io
import json
import random
import secrets
import time
from typing import Any

import soundfile
from locust import HttpUser, between, task
from locust.exception import StopUser

from scripts.demo import RECORDING_TEXT, recording

SENTENCES = (
    "A short one.",
    "The quick brown fox jumps over the lazy dog.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "Call me tomorrow at seven, and bring the letters with you. I shall wait by the gate until the clock strikes.",
)
FORMATS = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg", "opus": "audio/ogg"}
READY_LIMIT_S = 120.0


class Newcomer(HttpUser):
    """One person with one voice. Response times of waiting (readiness, a job) are reported under names of their own."""

    wait_time = between(0.5, 2)

    def on_start(self) -> None:
        email, password = f"load-{secrets.token_hex(6)}@example.com", f"Load-{secrets.token_urlsafe(12)}1!"
        self.call("POST", "/auth/register", json={"email": email, "password": password})
        tokens = self.call("POST", "/auth/login", json={"email": email, "password": password})
        self.client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        with recording().open("rb") as file:
            sample = self.call(
                "POST", "/voice/samples", files={"file": ("voice.wav", file)}, data={"name": "Load", "ref_text": RECORDING_TEXT}
            )
        clone = self.call("POST", "/voice/clones", json={"name": "Load", "sample_ids": [sample["sample_id"]]})
        self.voice = clone["clone_id"]
        self.until_ready(f"/voice/clones/{self.voice}", "/voice/clones/{id}")

    @task(5)
    def speak(self) -> None:
        """Create a job, watch it to its end, download the sound and look at it."""
        wanted = random.choice(list(FORMATS))
        job = self.call(
            "POST", "/job", json={"text_content": random.choice(SENTENCES), "voice_model_id": self.voice, "output_format": wanted}
        )
        began = time.perf_counter()
        ended = self.watch(job["id"])
        if ended != "completed":
            self.broken("job", f"the job ended as {ended}")
            return
        self.report("job, from creation to end", began)
        with self.client.get(f"/api/v1/file/synthesis/{job['id']}", name="/file/synthesis/{id}", catch_response=True) as answer:
            sound = soundfile.info(io.BytesIO(answer.content)) if answer.ok else None
            if sound is None or sound.duration < 0.3 or not answer.headers["Content-Type"].startswith(FORMATS[wanted]):
                answer.failure(f"no sound of the wanted kind: {answer.status_code} {answer.headers.get('Content-Type')}")

    @task(2)
    def look_around(self) -> None:
        self.call("GET", "/job?limit=20", name="/job")
        self.call("GET", "/voice/clones", name="/voice/clones")

    @task(1)
    def change_my_mind(self) -> None:
        """Cancel a job just after it was created; it may have ended before."""
        job = self.call("POST", "/job", json={"text_content": SENTENCES[-1] * 3, "voice_model_id": self.voice})
        with self.client.patch(
            f"/api/v1/job/{job['id']}", json={"status": "cancelled"}, name="/job/{id} cancel", catch_response=True
        ) as answer:
            if answer.status_code in (200, 409):
                answer.success()

    def watch(self, job_id: str) -> str:
        status = "unknown"
        path = f"/api/v1/job/{job_id}/progress"
        with self.client.get(path, name="/job/{id}/progress", stream=True, timeout=READY_LIMIT_S, catch_response=True) as stream:
            for line in stream.iter_lines():
                if line.startswith(b"data:"):
                    status = json.loads(line[5:]).get("status", status)
        return status

    def until_ready(self, path: str, name: str) -> None:
        began = time.perf_counter()
        while time.perf_counter() - began < READY_LIMIT_S:
            status = self.call("GET", path, name=name)["status"]
            if status == "ready":
                self.report("clone, from creation to ready", began)
                return
            if status == "failed":
                break
            time.sleep(0.5)  # a person who looks again
        self.broken("clone", f"{name} did not become ready")
        raise StopUser

    def call(self, method: str, path: str, *, name: str | None = None, **request: Any) -> Any:
        with self.client.request(method, f"/api/v1{path}", name=name or path, catch_response=True, **request) as answer:
            if answer.ok and answer.json()["success"]:
                return answer.json()["data"]
            answer.failure(f"{answer.status_code} {answer.text[:300]}")
        raise StopUser

    def report(self, name: str, began: float) -> None:
        elapsed = (time.perf_counter() - began) * 1000
        self.environment.events.request.fire(request_type="WAIT", name=name, response_time=elapsed, response_length=0, exception=None)

    def broken(self, name: str, why: str) -> None:
        self.environment.events.request.fire(
            request_type="WAIT", name=name, response_time=0, response_length=0, exception=AssertionError(why)
        )
