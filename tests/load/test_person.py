"""A person of the load test against a server that refuses, breaks and lies; in a process of its own, since locust replaces sockets."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.servers import ROOT

PROGRAM = """
import json, sys
from locust.env import Environment
from load_tests.person import GivenUpError, Person, journey

class Somebody(Person):
    @journey
    def walk(self):
        self.ask("GET", self.path)

environment, seen = Environment(), []
environment.events.request.add_listener(lambda name, exception, context, **_: seen.append(
    [name, "refused" if context.get("refused") else "failed" if exception else "ok", str(exception or ""), context["journey"]]))
for path in sys.argv[2:]:
    Somebody.host, Somebody.path = sys.argv[1], path
    somebody = Somebody(environment)
    if path.endswith("/progress"):
        try:
            seen.append(["watched", somebody.watch(path.split("/")[2]), "", ""])
        except GivenUpError:
            pass
    else:
        Somebody.walk(somebody)
print(json.dumps(seen))
"""


class Answers(BaseHTTPRequestHandler):
    """By path; `/busy` refuses the first time."""

    refused = 0

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        good = json.dumps({"success": True, "data": {"status": "ready"}})
        status, headers, body = {
            "good": (200, {}, good),
            "busy": (429, {"Retry-After": "1"}, "{}"),
            "away": (503, {}, "{}"),
            "lying": (200, {}, json.dumps({"success": False})),
            "odd": (200, {}, "no JSON"),
            "job_ends": (200, {}, self.stream({"status": "processing"}, {"status": "completed"}, {"event": "complete"})),
            "job_cut": (200, {}, self.stream({"status": "processing"})),
        }[self.path.removeprefix("/api/v1/").removeprefix("job/").removesuffix("/progress")]
        if status == 429:
            type(self).refused += 1
            if type(self).refused > 1:
                status, headers, body = 200, {}, good
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    @staticmethod
    def stream(*events: dict[str, str]) -> str:
        return "".join(f"data: {json.dumps(event)}\n\n" for event in events)


@pytest.fixture(scope="module")
def seen() -> list[list[str]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        paths = ["/good", "/busy", "/away", "/lying", "/odd", "/job/job_ends/progress", "/job/job_cut/progress"]
        ran = subprocess.run([sys.executable, "-c", PROGRAM, url, *paths], cwd=ROOT, capture_output=True, timeout=100, check=False)
        server.shutdown()
    assert ran.returncode == 0, ran.stderr.decode()
    return json.loads(ran.stdout.splitlines()[-1])


def outcomes(seen: list[list[str]], name: str) -> list[str]:
    return [outcome for told, outcome, *_ in seen if told == name]


def test_a_refusal_is_counted_apart_and_asked_again(seen: list[list[str]]) -> None:
    assert outcomes(seen, "/busy") == ["refused", "ok"]


@pytest.mark.parametrize(("path", "why"), [("/away", "503"), ("/lying", "no success"), ("/odd", "JSONDecodeError")])
def test_what_is_wrong_is_a_failure_with_its_reason(seen: list[list[str]], path: str, why: str) -> None:
    (told,) = [reason for name, outcome, reason, _ in seen if name == path and outcome == "failed"]
    assert why in told


def test_only_a_walk_to_its_end_is_a_round(seen: list[list[str]]) -> None:
    assert outcomes(seen, "round") == ["ok", "ok"]  # /good and /busy
    assert {journey for name, _, _, journey in seen if name == "round"} == {"Somebody"}


def test_a_stream_is_followed_to_its_end(seen: list[list[str]]) -> None:
    assert outcomes(seen, "watched") == ["completed"]
    (why,) = [why for name, outcome, why, _ in seen if name == "/job/{id}/progress" and outcome == "failed"]
    assert "without an end, at processing" in why
