"""What strangers upload to a real API process: what it costs there in memory and time, what is answered, and that nothing is left."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_bad_input import sound_file
from tests.e2e.voxify import ApiProcess, Person, api_process
from tests.faults.bombs import MIB, REFUSED
from tests.servers import descendants, free_port

TIME_S = 30  # of a busy machine; alone most take milliseconds
# What an upload may cost: itself in a body, in memory and on its way to the child.
API_GROWTH = 80 * MIB
CHILD_MEMORY = 512 * MIB
BOUNDARY = "frontier"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    folder = tmp_path_factory.mktemp("uploads")
    (folder / "tmp").mkdir()
    nowhere = f"http://127.0.0.1:{free_port()}"
    with api_process(folder, nowhere, TMPDIR=str(folder / "tmp"), VOXIFY_DECODE_CPU_S="3") as started:
        yield started


@pytest.fixture(scope="module")
def person(api: ApiProcess) -> Person:
    person = Person(api.url, "bomber@example.com")
    assert person.upload(sound_file(4)).status_code == 201, "the first one starts the decoders and fills the caches"
    return person


def status(process: int, name: str) -> int:
    """A number of bytes of ``/proc/PID/status``."""
    line = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


@dataclass
class Cost:
    """`growth`: peak of the API's resident memory over what it had before; `child`: largest peak of its children. In bytes."""

    seconds: float
    growth: int
    child: int


def measured(api: ApiProcess, ask: Callable[[], Any]) -> tuple[Any, Cost]:
    """What `ask` gives, and what it costs the API."""
    assert api.process is not None
    processes = [api.process.pid, *descendants(api.process.pid)]
    for process in processes:
        Path(f"/proc/{process}/clear_refs").write_text("5")  # sets the peak back to what is resident now
    before = status(api.process.pid, "VmRSS")
    began = time.monotonic()
    answer = ask()
    seconds = time.monotonic() - began
    children = [status(child, "VmHWM") for child in descendants(api.process.pid)]
    return answer, Cost(seconds, status(api.process.pid, "VmHWM") - before, max(children, default=0))


def left(api: ApiProcess) -> dict[str, Any]:
    """All that an upload may leave behind."""
    with sqlite3.connect(f"file:{api.data / 'voxify.db'}?mode=ro", uri=True) as database:
        found: dict[str, Any] = {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("samples", "jobs")}
    found["objects"] = {str(path) for path in (api.data / "objects").rglob("*") if path.is_file()}
    found["temporary"] = {str(path) for path in (api.folder / "tmp").rglob("*")}
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_a_bomb_is_refused_at_a_bounded_cost_and_leaves_nothing(api: ApiProcess, person: Person, name: str) -> None:
    make, codes = REFUSED[name]
    content, before = make(), left(api)
    assert len(content) < 16 * MIB
    answer, cost = measured(api, lambda: person.upload(content))
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] in codes, answer.text
    assert cost.seconds < TIME_S, cost
    assert cost.growth < API_GROWTH, cost
    assert cost.child < CHILD_MEMORY, cost
    assert left(api) == before


def test_the_next_upload_works(api: ApiProcess, person: Person) -> None:
    assert person.upload(sound_file(4)).status_code == 201
    assert "Traceback" not in api.log


def part(name: str, content: bytes = b"x", more: str = "") -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
NESTED = b"".join(
    f'--b{depth}\r\nContent-Disposition: form-data; name="file"\r\nContent-Type: multipart/mixed; boundary=b{depth + 1}\r\n\r\n'.encode()
    for depth in range(20_000)
)
FORMS: dict[str, tuple[Callable[[], bytes], set[int]]] = {
    "a hundred thousand parts": (lambda: part("name") * 100_000 + END, {400, 413}),
    "a thousand files": (lambda: part("file", b"", '; filename="a"') * 999 + END, {400}),
    "a header of 8 MB": (lambda: part("name", more=f"; x={'y' * 8 * MIB}") + END, {400, 413}),
    "a hundred thousand headers": (
        lambda: part("name").replace(b"\r\n\r\n", b"\r\n" + b"X-Y: z\r\n" * 100_000 + b"\r\n", 1) + END, {400, 413},
    ),
    "a text of 15 MB": (lambda: part("name", "\u00e9".encode() * 8 * 10**6) + END, {400}),
    "forms in forms": (lambda: NESTED.replace(b"--b0\r\n", f"--{BOUNDARY}\r\n".encode(), 1) + END, {400}),
    "no end": (lambda: part("file", bytes(MIB), '; filename="a.wav"'), {400}),
    "one border of 15 MB": (lambda: b"-" * 15 * MIB, {400}),
    "fifteen million line ends": (lambda: part("file", b"\r\n" * 7 * MIB, '; filename="a.wav"') + END, {400}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_forms_that_are_bombs(api: ApiProcess, person: Person, name: str) -> None:
    make, statuses = FORMS[name]
    content, before = make(), left(api)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer, cost = measured(api, lambda: person.http.post("/voice/samples", content=content, headers=headers))
    assert answer.status_code in statuses, answer.text
    assert answer.json()["error"]["code"]
    assert cost.seconds < TIME_S, cost
    assert cost.growth < API_GROWTH, cost
    assert left(api) == before


def endless(api: ApiProcess, person: Person, path: str, head: bytes, piece: bytes) -> tuple[dict[str, Any], int]:
    """The answer to a body in chunks that never ends, and how many bytes of it were taken."""
    sent = 0
    with socket.create_connection(("127.0.0.1", api.port), timeout=TIME_S) as line:
        line.sendall(
            f"POST /api/v1{path} HTTP/1.1\r\nHost: x\r\nAuthorization: {person.http.headers['Authorization']}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        line.sendall(f"{len(head):x}\r\n".encode() + head + b"\r\n")
        chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
        try:
            while sent < 200 * MIB:
                line.sendall(chunk)
                sent += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was closed: the answer may have come before
        line.settimeout(TIME_S)
        answer = b""
        try:
            while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
                received = line.recv(65_536)
                if not received:
                    break
                answer += received
        except ConnectionResetError:
            pass
    return (json.loads(answer.partition(b"\r\n\r\n")[2]) if answer else {}), sent


@pytest.mark.parametrize("path", ["/voice/samples", "/voice/clones/similar", "/job"])
def test_a_body_without_an_end(api: ApiProcess, person: Person, path: str) -> None:
    before = left(api)
    head = part("file", b"", '; filename="a.wav"').removesuffix(b"\r\n")
    (answer, sent), cost = measured(api, lambda: endless(api, person, path, head, bytes(MIB)))
    assert sent < 100 * MIB, "what lies in the buffers of the line, and no more"
    if answer:  # a line that is reset under a client that still sends may lose it
        assert answer["error"]["code"] in {"PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"}
    assert cost.seconds < TIME_S, cost
    assert cost.growth < API_GROWTH, cost
    assert left(api) == before
    assert person.http.get("/auth/profile").status_code == 200


def test_an_ordinary_client_reads_why_its_file_was_too_large(api: ApiProcess, person: Person) -> None:
    """The answer comes before the file is sent; a connection that was closed at once would be reset under it."""
    for _ in range(5):
        answer = person.upload(bytes(17 * MIB))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert person.http.get("/auth/profile").status_code == 200
