"""`make demo`: the main job from end to end, as a person would do it: a voice in, speech out."""

from __future__ import annotations

import importlib.util
import json
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from scripts.stack import START_LIMIT_S, Stack, StackError, answers, interruptible
from settings import Settings

RECORDING = "infer/examples/basic/basic_ref_en.wav"
RECORDING_TEXT = "Some call me nature, others call me mother nature."
SAY = "The quick brown fox jumps over the lazy dog. And this is the voice that I was given a few seconds ago."

FIRST_LOOK_S, LOOK_S = 0.1, 1.0  # more often than once in a second would soon be more than an account may ask in a minute
PATIENCE_S = 5.0  # between two lines that say that it still goes on
LIMIT_S = 300.0


class DemoError(Exception):
    """A step did not go as it should."""


class Person:
    """A client that speaks the API, and says what it does."""

    def __init__(self, base: str) -> None:
        self.http = httpx.Client(base_url=base, timeout=120, trust_env=False)
        self.step = 0

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """A step: says what it is, and how long it took."""
        self.step += 1
        print(f"\n{self.step}. {what}", flush=True)
        begun = time.monotonic()
        yield
        print(f"   took {time.monotonic() - begun:.1f} s", flush=True)

    def call(self, method: str, path: str, **request: Any) -> Any:
        answer = self.http.request(method, f"/api/v1{path}", **request)
        body = answer.json()
        if not answer.is_success:
            raise DemoError(f"{method} {path} answered {answer.status_code}: {body['error']['code']}: {body['error']['message']}")
        return body["data"]

    def until_ready(self, path: str) -> Any:
        begun = told = time.monotonic()
        pause = FIRST_LOOK_S
        while True:
            data = self.call("GET", path)
            if data["status"] == "ready":
                return data
            if data["status"] == "failed":
                raise DemoError(f"{path} failed: {data['error_message']}")
            now = time.monotonic()
            if now - begun > LIMIT_S:
                raise DemoError(f"{path} was not ready after {LIMIT_S:.0f} s")
            if now - told > PATIENCE_S:
                print(f"   {data['status']} for {now - begun:.0f} s", flush=True)
                told = now
            time.sleep(pause)
            pause = min(LOOK_S, 2 * pause)


def main_job(base: str, output: Path) -> Path:
    """Walk the main job against a running Voxify; the file of the speech."""
    person = Person(base)
    email, password = f"demo-{secrets.token_hex(4)}@example.com", f"Demo-{secrets.token_urlsafe(12)}1!"

    with person.doing("Register and log in"):
        person.call("POST", "/auth/register", json={"email": email, "password": password, "first_name": "Demo"})
        tokens = person.call("POST", "/auth/login", json={"email": email, "password": password})
        person.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        print(f"   as {email}")

    with person.doing("Upload a few seconds of a voice"):
        with recording().open("rb") as file:
            sample = person.call(
                "POST", "/voice/samples", files={"file": ("voice.wav", file)}, data={"name": "Demo voice", "ref_text": RECORDING_TEXT}
            )
        sample = person.until_ready(f"/voice/samples/{sample['sample_id']}")
        quality = sample["quality_metrics"]
        print(f"   {sample['sample_id']}: {sample['duration']:.1f} s {sample['format']}, quality {quality['quality_score']:.2f} of 1")

    with person.doing("Clone the voice"):
        clone = person.call("POST", "/voice/clones", json={"name": "Demo clone", "sample_ids": [sample["sample_id"]], "language": "en-US"})
        clone = person.until_ready(f"/voice/clones/{clone['clone_id']}")
        print(f"   {clone['clone_id']} is {clone['status']}")

    with person.doing(f"Have it say: {SAY!r}"):
        job = person.call("POST", "/job", json={"text_content": SAY, "voice_model_id": clone["clone_id"], "output_format": "wav"})
        print(f"   {job['id']} is {job['status']}")

    with person.doing("Watch it work"):
        with person.http.stream("GET", f"/api/v1/job/{job['id']}/progress") as stream:
            for line in stream.iter_lines():
                event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if "progress" in event:
                    print(f"   {event['progress']:5.1f} %  {event['message']}", flush=True)
        job = person.call("GET", f"/job/{job['id']}")
        if job["status"] != "completed":
            raise DemoError(f"the job is {job['status']}: {job['error_message']}")

    with person.doing("Download the speech"):
        sound = person.http.get(f"/api/v1/file/synthesis/{job['id']}")
        sound.raise_for_status()
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(sound.content)
        print(f"   {job['duration']:.1f} s of sound, spoken in {job['processing_time_ms'] / 1000:.1f} s; {len(sound.content):,} bytes")
    if not job["is_speech"]:
        print("   Note: the model is the smoke voice. It shows that everything works; what it makes is noise, not speech.")
    return output


def recording() -> Path:
    """The reference recording that f5-tts ships; found without importing the package, which takes seconds."""
    package = importlib.util.find_spec("f5_tts")
    if package is None or package.submodule_search_locations is None:
        raise DemoError("f5-tts is not installed here; run this through `make demo`")
    return Path(package.submodule_search_locations[0]) / RECORDING


def found_running(stack: Stack) -> bool:
    """Whether Voxify is up, after waiting for one that is being started in another terminal. Raises DemoError when it never is ready."""
    ready = f"{stack.api_url}/health/ready"
    begun = time.monotonic()
    told = begun - PATIENCE_S
    while not answers(ready):
        if not stack.elsewhere():
            return False
        now = time.monotonic()
        if now - begun > START_LIMIT_S:
            raise DemoError(f"Voxify was started in another terminal, but {ready} says that it is not ready")
        if now - told >= PATIENCE_S:
            print(f"Voxify is being started in another terminal; waiting for {ready}", flush=True)
            told = now
        time.sleep(0.5)
    return True


def main() -> int:
    interruptible()
    settings = Settings()
    stack = Stack(settings, lambda line: print(line, flush=True))
    try:
        with ExitStack() as started:
            if found_running(stack):
                print(f"Voxify is running at {stack.api_url}")
            else:
                print("Voxify is not running; starting it for the demo")
                started.enter_context(stack)
            begun = time.monotonic()
            output = main_job(stack.api_url, settings.data_dir / "demo.wav")
            print(f"\nDone in {time.monotonic() - begun:.1f} s. Listen to {output.absolute()}", flush=True)
    except (DemoError, StackError, httpx.HTTPError) as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
