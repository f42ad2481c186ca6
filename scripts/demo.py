"""`make demo`: the main job from end to end, as a person would do it: a voice in, speech out."""

from __future__ import annotations

import importlib.util
import json
import secrets
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from scripts.stack import Stack, StackError, interruptible
from settings import Settings

RECORDING = "infer/examples/basic/basic_ref_en.wav"
RECORDING_TEXT = "Some call me nature, others call me mother nature."
SAY = "The quick brown fox jumps over the lazy dog. And this is the voice that I was given a few seconds ago."

PATIENCE_S = 5


class DemoError(Exception):
    """A step did not go as it should."""


class Person:
    """A client that speaks the API, and says what it does."""

    def __init__(self, base: str) -> None:
        self.http = httpx.Client(base_url=base, timeout=120, trust_env=False)
        self.step = 0

    def tell(self, what: str) -> None:
        self.step += 1
        print(f"\n{self.step}. {what}", flush=True)

    def call(self, method: str, path: str, **request: Any) -> Any:
        answer = self.http.request(method, f"/api/v1{path}", **request)
        body = answer.json()
        if not answer.is_success:
            raise DemoError(f"{method} {path} answered {answer.status_code}: {body['error']['code']}: {body['error']['message']}")
        return body["data"]

    def until_ready(self, path: str) -> Any:
        for second in range(120):
            if second == PATIENCE_S:
                print("   it is being looked at; after a start the first one takes longer, until the speaker encoder is loaded", flush=True)
            data = self.call("GET", path)
            if data["status"] == "ready":
                return data
            if data["status"] == "failed":
                raise DemoError(f"{path} failed: {data['error_message']}")
            time.sleep(1)  # more often would soon be more than an account may ask in a minute
        raise DemoError(f"{path} was not ready in time")


def main_job(base: str, output: Path) -> Path:
    """Walk the main job against a running Voxify; the file of the speech."""
    person = Person(base)
    email, password = f"demo-{secrets.token_hex(4)}@example.com", f"Demo-{secrets.token_urlsafe(12)}1!"

    person.tell("Register and log in")
    person.call("POST", "/auth/register", json={"email": email, "password": password, "first_name": "Demo"})
    tokens = person.call("POST", "/auth/login", json={"email": email, "password": password})
    person.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    print(f"   as {email}")

    person.tell("Upload a few seconds of a voice")
    with recording().open("rb") as file:
        sample = person.call(
            "POST", "/voice/samples", files={"file": ("voice.wav", file)}, data={"name": "Demo voice", "ref_text": RECORDING_TEXT}
        )
    sample = person.until_ready(f"/voice/samples/{sample['sample_id']}")
    quality = sample["quality_metrics"]
    print(f"   {sample['sample_id']}: {sample['duration']:.1f} s {sample['format']}, quality {quality['quality_score']:.2f} of 1")

    person.tell("Clone the voice")
    clone = person.call("POST", "/voice/clones", json={"name": "Demo clone", "sample_ids": [sample["sample_id"]], "language": "en-US"})
    clone = person.until_ready(f"/voice/clones/{clone['clone_id']}")
    print(f"   {clone['clone_id']} is {clone['status']}")

    person.tell(f"Have it say: {SAY!r}")
    job = person.call("POST", "/job", json={"text_content": SAY, "voice_model_id": clone["clone_id"], "output_format": "wav"})
    print(f"   {job['id']} is {job['status']}")

    person.tell("Watch it work")
    with person.http.stream("GET", f"/api/v1/job/{job['id']}/progress") as stream:
        for line in stream.iter_lines():
            event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if "progress" in event:
                print(f"   {event['progress']:5.1f} %  {event['message']}", flush=True)
    job = person.call("GET", f"/job/{job['id']}")
    if job["status"] != "completed":
        raise DemoError(f"the job is {job['status']}: {job['error_message']}")

    person.tell("Download the speech")
    sound = person.http.get(f"/api/v1/file/synthesis/{job['id']}")
    sound.raise_for_status()
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(sound.content)
    print(f"   {job['duration']:.1f} s of sound in {job['processing_time_ms'] / 1000:.1f} s, {len(sound.content):,} bytes")
    if not job["is_speech"]:
        print("   Note: the model is the smoke voice. It shows that everything works; what it makes is noise, not speech.")
    return output


def recording() -> Path:
    """The reference recording that f5-tts ships; found without importing the package, which takes seconds."""
    package = importlib.util.find_spec("f5_tts")
    if package is None or package.submodule_search_locations is None:
        raise DemoError("f5-tts is not installed here; run this through `make demo`")
    return Path(package.submodule_search_locations[0]) / RECORDING


def running(base: str) -> bool:
    try:
        return httpx.get(f"{base}/health/ready", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def main() -> int:
    interruptible()
    settings = Settings()
    stack = Stack(settings, lambda line: print(line, flush=True))
    try:
        with ExitStack() as started:
            if running(stack.api_url):
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
