"""The API as a real process, and a person who uses it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from scripts.demo import RECORDING_TEXT, recording
from tests.servers import ROOT, free_port, stop, wait_until_ready

WAIT_S = 60.0


@dataclass
class ApiProcess:
    """`voxify serve` on a port and a data folder that outlive the process, so that it can be killed and started again."""

    folder: Path
    inference_url: str
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "api.log").read_text(errors="replace")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("VOXIFY_")}
        environment |= {
            "VOXIFY_ENV": "dev",
            "VOXIFY_DATA_DIR": str(self.data),
            "VOXIFY_API_PORT": str(self.port),
            "VOXIFY_INFERENCE_URL": self.inference_url,
            # One account does here in seconds what a person does in an hour.
            "VOXIFY_REQUESTS_PER_MINUTE": "100000",
            "VOXIFY_ANONYMOUS_REQUESTS_PER_MINUTE": "100000",
            "VOXIFY_SAMPLES_PER_DAY": "10000",
            "VOXIFY_JOBS_PER_DAY": "10000",
        }
        log_file = self.folder / "api.log"
        with log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api.cli", "serve"],
                cwd=ROOT,
                env=environment | self.settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until_ready(self.url, self.process, log_file, path="/health/live")

    def kill(self) -> None:
        """End it as a crash would, at once and with everything it started."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process)


@contextlib.contextmanager
def api_process(folder: Path, inference_url: str, **settings: str) -> Iterator[ApiProcess]:
    api = ApiProcess(folder, inference_url, settings)
    api.start()
    try:
        yield api
    finally:
        api.stop()


class Person:
    """Somebody with an account."""

    def __init__(self, url: str, email: str) -> None:
        self.http = httpx.Client(base_url=f"{url}/api/v1", timeout=60, trust_env=False)
        self.http.headers["Authorization"] = ""
        account = {"email": email, "password": "Correct-Horse-7!"}
        self.http.post("/auth/register", json=account).raise_for_status()
        answer = self.http.post("/auth/login", json=account)
        self.http.headers["Authorization"] = f"Bearer {answer.json()['data']['access_token']}"

    def data(self, method: str, path: str, **request: Any) -> Any:
        answer = self.http.request(method, path, **request)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    def refused(self, method: str, path: str, **request: Any) -> tuple[int, str]:
        answer = self.http.request(method, path, **request)
        assert answer.json()["success"] is False, answer.text
        return answer.status_code, answer.json()["error"]["code"]

    def upload(self, content: bytes | None = None, **form: str) -> httpx.Response:
        content = recording().read_bytes() if content is None else content
        form = {"name": "A voice", "ref_text": RECORDING_TEXT} | form
        return self.http.post("/voice/samples", files={"file": ("voice.wav", content)}, data=form)

    def clone(self) -> str:
        """A voice that is ready to speak."""
        sample = self.upload().json()["data"]
        clone = self.data("POST", "/voice/clones", json={"name": "A clone", "sample_ids": [sample["sample_id"]]})
        self.until(f"/voice/clones/{clone['clone_id']}", "ready")
        return str(clone["clone_id"])

    def until(self, path: str, *statuses: str) -> Any:
        """What the path answers once its status is one of these."""
        deadline = time.monotonic() + WAIT_S
        while (found := self.data("GET", path))["status"] not in statuses:
            assert found["status"] != "failed", found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found

    def ended(self, path: str) -> tuple[str, str | None]:
        """Status and error code of what the path answers, once it is ready or has failed."""
        deadline = time.monotonic() + WAIT_S
        while (found := self.data("GET", path))["status"] not in {"ready", "failed"}:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found["status"], found["error_code"]

    def events(self, job_id: str, **headers: str) -> list[dict[str, Any]]:
        """The events of a job, to the end of the stream."""
        with self.http.stream("GET", f"/job/{job_id}/progress", headers=headers) as stream:
            return [json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:")]
