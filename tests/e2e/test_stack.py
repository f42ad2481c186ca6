"""How the tiers of one machine are started and looked after, with small programs in their place."""

from __future__ import annotations

import fcntl
import sys
import time
from pathlib import Path

import httpx
import pytest

from scripts import demo, stack
from scripts.demo import DemoError, Person
from scripts.stack import Stack, StackError
from settings import Settings
from tests.servers import free_port

SERVES = """
import http.server, os, pathlib, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = sys.argv[2:]
        self.send_response(200 if all(map(os.path.exists, wanted)) else 503)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
"""
ENDS = "import sys; sys.exit('No such model')"


class Talk(list[str]):
    """What is said; makes a file when it is begun to say a line that starts so."""

    def __init__(self, **files: Path) -> None:
        super().__init__()
        self.files = files

    def __call__(self, line: str) -> None:
        self.append(line.strip())
        for beginning, file in self.files.items():
            if line.strip().startswith(beginning):
                file.touch()


def small_stack(folder: Path, say: Talk, inference: list[str], api: list[str]) -> Stack:
    ports = {"api_port": free_port(), "inference_port": free_port()}
    made = Stack(Settings(data_dir=folder / "data", env="dev", **ports), say)  # type: ignore[arg-type]
    for tier, (program, *needs) in ((made.inference, inference), (made.api, api)):
        tier.command = [sys.executable, "-c", program, str(tier.port), *needs]
    return made


def test_both_start_side_by_side(tmp_path: Path) -> None:
    """The first is ready only when the second has been started, and the second only when the first is ready."""
    started, ready = tmp_path / "started", tmp_path / "ready"
    say = Talk(api=started, **{"inference  ready": ready})
    with small_stack(tmp_path, say, [SERVES, str(started)], [SERVES, str(ready)]) as made:
        assert [" ".join(line.split()[:2]) for line in say] == ["inference starting", "api starting", "inference ready", "api ready"]
        assert made.inference.running
        assert made.api.running
    assert not made.inference.running
    assert not made.api.running


@pytest.mark.parametrize("dying", ["inference", "api"])
def test_one_that_dies_while_it_starts_is_named_and_the_other_stopped(tmp_path: Path, dying: str) -> None:
    never = [SERVES, str(tmp_path / "never")]
    made = small_stack(tmp_path, Talk(), *([ENDS], never) if dying == "inference" else (never, [ENDS]))
    with pytest.raises(StackError, match=rf"The {dying} tier ended while it started(?s:.)*No such model"), made:
        pass
    assert not made.inference.running
    assert not made.api.running
    assert not made.elsewhere()


def test_a_slow_start_is_spoken_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "PATIENCE_S", 0.1)
    slow = tmp_path / "slow"
    say = Talk(**{"inference  still starting after": slow})
    with small_stack(tmp_path, say, [SERVES, str(slow)], [SERVES]):
        assert say[2].startswith("inference  still starting after")


def test_a_data_folder_has_one_stack(tmp_path: Path) -> None:
    first, second = (small_stack(tmp_path, Talk(), [SERVES], [SERVES]) for _ in range(2))
    assert not second.elsewhere()
    with first:
        assert second.elsewhere()
        with pytest.raises(StackError, match="runs already"), second:
            pass
        assert first.api.running
    assert not second.elsewhere()
    with second:
        assert first.elsewhere()


def test_the_demo_waits_for_another_terminal_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda pause: clock.__setitem__(0, clock[0] + pause))
    never = [SERVES, str(tmp_path / "never")]
    waiting = small_stack(tmp_path, Talk(), never, never)
    assert not demo.found_running(waiting)
    waiting.settings.data_dir.mkdir()
    with waiting.lock_path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DemoError, match="not ready"):
            demo.found_running(waiting)
    assert capsys.readouterr().out.count("waiting for http://") > 1
    assert clock[0] > demo.START_LIMIT_S


def test_the_demo_looks_soon_and_then_once_a_second(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda pause: clock.__setitem__(0, clock[0] + pause))
    looks: list[float] = []

    def answer(_: httpx.Request) -> httpx.Response:
        looks.append(clock[0])
        return httpx.Response(200, json={"data": {"status": "processing"}})

    person = Person("http://voxify")
    person.http = httpx.Client(base_url="http://voxify", transport=httpx.MockTransport(answer))
    with pytest.raises(DemoError, match="not ready after 300 s"):
        person.until_ready("/voice/samples/vs_1")
    assert looks[:4] == pytest.approx([0, 0.1, 0.3, 0.7])
    assert sum(look < 60 for look in looks) < 70, "well within what an account may ask in a minute"
    assert "processing for 6 s" in capsys.readouterr().out
