"""What all journeys share: an account, requests whose every answer is checked, and patience with refusals.

A refusal (429 or 503 with `Retry-After`) is no failure: it is counted apart, waited out as it says, and asked again, as a good client does.
"""

from __future__ import annotations

import functools
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from locust import HttpUser, between, task
from locust.clients import ResponseContextManager
from locust.exception import StopUser

from load_tests.events import ROUND, refusal_s

Read = Callable[[ResponseContextManager], Any]
Walk = TypeVar("Walk", bound=Callable[[Any], None])

PATIENCE_S = 180.0
"""How long a person comes back after refusals, or waits for a voice or a job, before giving up, which is a failure."""
TIMEOUT_S = 120.0
LOOK_S = 1.0  # more often would soon be more than an account may ask in a minute
DEFAULT_VOICE = "default_voice_001"


class WrongError(Exception):
    """The answer is not what it should be; the message says why."""


class GivenUpError(Exception):
    """The rest of a round makes no sense: something in it went wrong, and was counted there."""


def data_of(answer: ResponseContextManager) -> Any:
    """What is in the envelope of a success."""
    if not answer.ok:
        raise WrongError(f"{answer.status_code} {answer.text or answer.error}")
    body = answer.json()
    if body.get("success") is not True:
        raise WrongError(f"no success: {answer.text}")
    return body["data"]


def journey(walk: Walk) -> Walk:
    """The task of a person; a walk to its end counts as a round. Every limit of the journey is of something that each round holds."""

    @functools.wraps(walk)
    def walked(person: Person) -> None:
        began = time.perf_counter()
        try:
            walk(person)
        except GivenUpError:
            return
        except Exception as error:  # noqa: BLE001 - an answer of another shape than the journey expects is a failure of the round
            person.fail(ROUND, error)
        else:
            person.took(ROUND, began)

    return task(walked)  # type: ignore[return-value]


class Person(HttpUser):
    """Somebody with an account of their own, made when they come."""

    abstract = True
    wait_time = between(0.5, 2)

    def context(self) -> dict[str, Any]:
        return {"journey": type(self).__name__}

    def on_start(self) -> None:
        try:
            self.sign_in()
        except GivenUpError:
            raise StopUser from None

    def sign_in(self) -> None:
        email, password = f"load-{secrets.token_hex(6)}@example.com", f"Load-{secrets.token_urlsafe(12)}1!"
        self.ask("POST", "/auth/register", json={"email": email, "password": password})
        tokens = self.ask("POST", "/auth/login", json={"email": email, "password": password})
        self.client.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    def ask(self, method: str, path: str, read: Read = data_of, *, name: str | None = None, **request: Any) -> Any:
        """What `read` makes of the answer.

        Args:
            path: below `/api/v1`.
            read: raises WrongError where the answer is wrong. It may take its time with a stream.
            name: stands for all paths of its kind; without it the path itself.

        Raises:
            GivenUpError: the answer was wrong, or there was none, or every one was a refusal.
        """
        told, until = name or path, time.monotonic() + PATIENCE_S
        while True:
            pause = None
            with self.client.request(method, f"/api/v1{path}", name=told, catch_response=True, timeout=TIMEOUT_S, **request) as answer:
                pause = refusal_s(answer.status_code, answer.headers.get("Retry-After"))
                if pause is not None:
                    answer.request_meta["context"]["refused"] = True
                    answer.success()
                else:
                    try:
                        result = read(answer)
                    # A connection that breaks within a stream comes as one of many types.
                    except Exception as error:  # noqa: BLE001
                        answer.failure(f"{type(error).__name__}: {error}")
                    else:
                        answer.success()
                        return result
            if pause is None:
                raise GivenUpError
            if time.monotonic() + pause > until:
                self.broken(f"{method} {told}", f"still refused after {PATIENCE_S:.0f} s")
            time.sleep(pause)

    def until_ready(self, path: str, what: str, name: str) -> Any:
        """The resource once it is ready, its making told as `{what} ready`. Raises GivenUpError where it fails or takes too long."""
        began = time.perf_counter()
        while time.perf_counter() - began < PATIENCE_S:
            there = self.ask("GET", path, name=name)
            if there["status"] == "ready":
                self.took(f"{what} ready", began)
                return there
            if there["status"] == "failed":
                self.broken(f"{what} ready", f"failed: {there.get('error_message')}")
            time.sleep(LOOK_S)
        self.broken(f"{what} ready", f"was not ready after {PATIENCE_S:.0f} s")

    def watch(self, job_id: str) -> str:
        """The status with which a job ends, by its event stream; the first event is told as `first event`."""
        asked = time.perf_counter()

        def follow(answer: ResponseContextManager) -> str:
            if not answer.ok:
                data_of(answer)
            status = ""
            for event in sent_events(answer):
                if not status:
                    self.took("first event", asked)
                if event.get("event") == "complete":
                    return status
                status = event["status"]
            raise WrongError(f"the stream ended without an end, at {status or 'nothing'}")

        return str(self.ask("GET", f"/job/{job_id}/progress", follow, name="/job/{id}/progress", stream=True))

    def took(self, name: str, began: float) -> None:
        """Tell a time that a person waited, since a moment of `time.perf_counter`."""
        self._tell(name, (time.perf_counter() - began) * 1000, None)

    def fail(self, name: str, error: Exception) -> None:
        """Count a failure."""
        self._tell(name, 0.0, error)

    def broken(self, name: str, why: str) -> None:
        """Count a failure that no single answer is to blame for. Raises GivenUpError."""
        self.fail(name, WrongError(why))
        raise GivenUpError

    def _tell(self, name: str, ms: float, error: Exception | None) -> None:
        self.environment.events.request.fire(
            request_type="", name=name, response_time=ms, response_length=0, exception=error, context=self.context()
        )


def sent_events(answer: ResponseContextManager) -> Iterator[dict[str, Any]]:
    """The data of server-sent events as they come."""
    begun = b""
    for block in answer.iter_content(chunk_size=None):
        *lines, begun = (begun + block).split(b"\n")
        yield from (json.loads(line[5:]) for line in lines if line.startswith(b"data:"))
