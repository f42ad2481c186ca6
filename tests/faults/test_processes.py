"""Two API processes on one database and one bucket: one hangs without dying, each is replaced under load, slow clients hold on."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_bad_input import sound_file
from tests.e2e.voxify import ApiProcess, Person
from tests.engines import s3_server, state_of
from tests.faults.stub import Stub, stub_inference
from tests.faults.test_uploads import status

# Processes are stopped, started again and waited for.
pytestmark = pytest.mark.timeout(300)

WAIT_S = 60
MIB = 1024**2
PRESET = "default_voice_001"
TEXT = {"text_content": "Some words.", "voice_model_id": PRESET}


@dataclass
class House:
    """The processes and what they share."""

    stub: Stub
    processes: list[ApiProcess]
    objects: Callable[[], list[str]]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("processes")
    with stub_inference() as stub, s3_server() as s3:
        bucket = s3.bucket("voxify")
        settings = {
            "VOXIFY_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'shared.db'}", "VOXIFY_JWT_SECRET": "x" * 32,
            "VOXIFY_OBJECTS_URL": "s3://voxify", "VOXIFY_OBJECTS_ENDPOINT": s3.endpoint, "VOXIFY_OBJECTS_REGION": s3.region,
            "VOXIFY_OBJECTS_ACCESS_KEY": s3.access_key, "VOXIFY_OBJECTS_SECRET_KEY": s3.secret_key,
            "VOXIFY_LEASE_S": "3", "VOXIFY_SWEEP_S": "0.2", "VOXIFY_QUEUE_POLL_S": "0.2", "VOXIFY_WORKER_SLOTS": "1",
            "VOXIFY_SHUTDOWN_DRAIN_S": "4",
        }  # fmt: skip
        processes = [ApiProcess(folder / name, stub.url, settings) for name in ("one", "two")]
        starting = [threading.Thread(target=process.start) for process in processes]
        try:
            for thread in starting:
                thread.start()
            for thread in starting:
                thread.join()
            yield House(stub, processes, lambda: [each.key for each in bucket.objects.all()])
        finally:
            for process in processes:
                if process.process is not None:
                    with contextlib.suppress(ProcessLookupError):
                        process.process.send_signal(signal.SIGCONT)
                process.stop()


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def send(process: ApiProcess, number: signal.Signals) -> None:
    assert process.process is not None
    os.kill(process.process.pid, number)


def stop(process: ApiProcess) -> None:
    """Let it stand still, and not with the lock of the database, which on a slow machine it holds for much of the time."""
    assert process.process is not None
    file = process.settings["VOXIFY_DATABASE_URL"].removeprefix("sqlite+aiosqlite:///")
    with contextlib.closing(sqlite3.connect(file, timeout=WAIT_S, isolation_level=None)) as own:
        own.execute("BEGIN IMMEDIATE")
        send(process, signal.SIGSTOP)
        pid = process.process.pid
        until(lambda: state_of(pid) == "T")


@pytest.fixture(autouse=True)
def all_go_on(house: House) -> Iterator[None]:
    """Also after a test that fails."""
    yield
    house.stub.let_go()
    for process in house.processes:
        send(process, signal.SIGCONT)


def test_a_worker_that_hangs_loses_its_job_and_writes_nothing_when_it_wakes(house: House) -> None:
    first, second = house.processes
    person = Person(first.url, "hang@example.com")
    other = Person(second.url, "other@example.com")
    other.http.headers["Authorization"] = person.http.headers["Authorization"]
    stop(second)  # so that the first one takes the job
    house.stub.hold()
    before = house.stub.asked
    job = person.data("POST", "/job", json=TEXT)["id"]
    until(lambda: house.stub.asked > before)
    stop(first)
    send(second, signal.SIGCONT)
    house.stub.let_go()
    done = other.until(f"/job/{job}", "completed")
    assert done["attempt"] >= 2
    send(first, signal.SIGCONT)
    until(lambda: '"event":"job lost"' in first.log)
    assert person.data("GET", f"/job/{job}") == done
    (kept,) = [key for key in house.objects() if job in key]
    assert kept.startswith(f"jobs/{job}/{done['attempt']}-"), "of the last attempt, and none of the first"
    assert person.http.get(f"/file/synthesis/{job}").status_code == 200


@dataclass
class Load:
    """Somebody who asks as a balancer would: whoever says that it is ready, and the next one where nothing listens any more."""

    house: House
    headers: dict[str, str]
    ready: set[int] = field(default_factory=lambda: {0, 1})
    statuses: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.over.wait(0.1):
            for number, process in enumerate(self.house.processes):
                well = False
                with contextlib.suppress(httpx.TransportError):
                    well = httpx.get(f"{process.url}/health/ready", timeout=5).status_code == 200
                (self.ready.add if well else self.ready.discard)(number)

    def ask(self, turn: int) -> None:
        for number in itertools.count(turn):
            if self.over.wait(0.02):
                return
            method, path, body = (("GET", "/job", None), ("POST", "/job", TEXT), ("GET", "/auth/profile", None))[number % 3]
            try:
                self.statuses.append(self._once(number, method, path, body))
            except httpx.HTTPError as failure:
                self.failures.append(repr(failure))

    def _once(self, number: int, method: str, path: str, body: dict[str, str] | None) -> int:
        for attempt in range(100):
            backends = sorted(self.ready) or [0, 1]
            url = self.house.processes[backends[(number + attempt) % len(backends)]].url
            try:
                # A connection each: a balancer keeps none to whom it has turned away from.
                return httpx.request(method, f"{url}/api/v1{path}", json=body, headers=self.headers, timeout=30).status_code
            except httpx.ConnectError:
                time.sleep(0.05)
        raise httpx.ConnectError("nobody is there")


def test_every_process_is_replaced_under_load_and_no_request_fails(house: House) -> None:
    person = Person(house.processes[0].url, "rolling@example.com")
    load = Load(house, {"Authorization": str(person.http.headers["Authorization"])})
    threads = [threading.Thread(target=load.watch), *(threading.Thread(target=load.ask, args=(turn,)) for turn in range(3))]
    for thread in threads:
        thread.start()
    try:
        for number, process in enumerate(house.processes):
            until(lambda: load.ready == {0, 1})
            assert process.process is not None
            send(process, signal.SIGTERM)
            until(lambda number=number: number not in load.ready)  # type: ignore[misc]
            assert process.process.wait(WAIT_S) == 0
            process.start()
        until(lambda: load.ready == {0, 1})
    finally:
        load.over.set()
        for thread in threads:
            thread.join()
    assert load.failures == []
    assert set(load.statuses) == {200, 201}
    assert len(load.statuses) > 20
    until(lambda: all(job["status"] == "completed" for job in person.data("GET", "/job?limit=100")))


def test_a_stream_ends_with_the_time_to_come_back_when_its_process_stops(house: House) -> None:
    first = house.processes[0]
    person = Person(first.url, "stream@example.com")
    house.stub.hold()
    job = person.data("POST", "/job", json=TEXT)["id"]
    try:
        with person.http.stream("GET", f"/job/{job}/progress") as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("id:")
            send(first, signal.SIGTERM)
            rest = list(lines)  # ends by itself, without an error
        ready = httpx.get(f"{first.url}/health/ready")
        assert ready.status_code == 503
        assert ready.json()["data"]["parts"]["process"]["status"] == "stopping"
        assert person.http.get(f"/job/{job}").status_code == 200, "requests are still taken"
    finally:
        house.stub.let_go()
    assert "retry: 1000" in rest
    assert '"event":"complete"' not in "".join(rest)
    assert first.process is not None
    assert first.process.wait(WAIT_S) == 0
    first.start()
    assert person.until(f"/job/{job}", "completed")["attempt"] == 1


def test_slow_downloads_hold_up_nobody(house: House) -> None:
    """Twice as many as there are connections to the database, each taking a kilobyte a second of ten megabytes."""
    first = house.processes[0]
    person = Person(first.url, "slow@example.com")
    sample = person.upload(sound_file(55, rate=96_000)).json()["data"]["sample_id"]
    size = int(person.http.head(f"/voice/samples/{sample}/audio").headers["Content-Length"])
    assert size > 10 * MIB
    person.ended(f"/voice/samples/{sample}")  # its processing takes memory too
    assert first.process is not None
    Path(f"/proc/{first.process.pid}/clear_refs").write_text("5")
    before = status(first.process.pid, "VmRSS")
    ask = f"GET /api/v1/voice/samples/{sample}/audio HTTP/1.1\r\nHost: x\r\nAuthorization: {person.http.headers['Authorization']}\r\n\r\n"
    with contextlib.ExitStack() as lines:
        slow = []
        for _ in range(30):
            line = lines.enter_context(socket.socket())
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.connect(("127.0.0.1", first.port))
            line.sendall(ask.encode())
            slow.append(line)
        for line in slow:
            assert line.recv(1024).startswith(b"HTTP/1.1 200")
        took = []
        for _ in range(30):
            for line in slow:
                line.recv(35)
            began = time.monotonic()
            assert person.http.get("/job").status_code == 200
            took.append(time.monotonic() - began)
        assert sorted(took)[len(took) // 2] < 2, "as quick as without them, on a busy machine"
        growth = status(first.process.pid, "VmHWM") - before
        assert growth < 30 * 2 * MIB, f"{growth / MIB:.0f} MiB: a block each, and not the file"
