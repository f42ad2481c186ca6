"""Real servers for tests: started on a free port, waited for, and stopped with everything they started."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 20


_KERNELS_OWN_PORTS = 32768  # from here on; what is below is taken by nobody who does not ask for it by number
_random = random.SystemRandom()  # not the one that tests seed: two of their processes would ask for the same


def free_port() -> int:
    """A port that nothing listens on now, and that no client's connection gets while its server is down for a moment."""
    while True:
        port = _random.randrange(20_000, _KERNELS_OWN_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def inference_process(folder: Path, *, wait: bool = True, **env: str) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """``python -m inference`` in its own process group: address, process and log file.

    Args:
        folder: for its data and its log.
        wait: until ``/readyz`` answers 200.
        env: environment variables, ``VOXIFY_…``.

    Raises:
        RuntimeError: it ended or did not become ready; the message holds the end of its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = int(env.get("VOXIFY_INFERENCE_PORT") or free_port())
    url = f"http://127.0.0.1:{port}"
    log_file = folder / "inference.log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VOXIFY_")}
    environment |= {"VOXIFY_DATA_DIR": str(folder / "data"), "VOXIFY_INFERENCE_HOST": "127.0.0.1", "VOXIFY_INFERENCE_PORT": str(port)}
    environment |= {"OMP_NUM_THREADS": "1", "BENTOML_HOME": str(folder / "bentoml"), "HF_HUB_OFFLINE": "1", "VOXIFY_MODEL": "smoke"}
    # Tests compare sounds to 1e-3, which half precision does not promise.
    environment |= {"VOXIFY_DTYPE": "float32"}
    # What the tests make of batches does not depend on how many cores there are.
    environment |= {"VOXIFY_MAX_BATCH_SIZE": "16"}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "inference"],
            cwd=ROOT,
            env=environment | env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if wait:
            wait_until_ready(url, process, log_file)
        yield url, process, log_file
    finally:
        stop(process)


@contextlib.contextmanager
def inference_server(folder: Path, **env: str) -> Iterator[str]:
    """Address of an inference service that is ready. See :func:`inference_process`."""
    with inference_process(folder, wait=True, **env) as (url, _, _):
        yield url


@contextlib.contextmanager
def voxify_process(log_file: Path, *command: str, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """A command of `voxify` in its own process group, with these settings alone; killed at the end if it still runs.

    What it says is added to `log_file`. Nobody waits for it to be ready.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VOXIFY_")}
    environment |= {f"VOXIFY_{name.upper()}": str(value) for name, value in settings.items()}
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", *command], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT_S)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log_file: Path, path: str = "/readyz") -> None:
    """Return when ``path`` answers 200."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with {process.returncode}\n{_tail(log_file)}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}{path}", timeout=2).status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the service was not ready after {START_TIMEOUT_S} s\n{_tail(log_file)}")


def wait_for_line(text: str, process: subprocess.Popen[bytes], log_file: Path) -> None:
    """Return when the log of a running process holds ``text``."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while text not in log_file.read_text(encoding="utf-8", errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{text!r} is not in the log\n{_tail(log_file)}")
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL to the whole group for what is left of it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_TIMEOUT_S)


def need(there: object, what: str) -> None:
    """Skip the test where what it needs is not installed, or fail it where VOXIFY_TEST_NO_SKIP asks for all of them."""
    if not there:
        if os.environ.get("VOXIFY_TEST_NO_SKIP"):
            pytest.fail(f"{what} is not installed")
        pytest.skip(f"{what} is not installed")


def descendants(process: int) -> list[int]:
    """Processes that a process started, and theirs, that still run."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if fields[0] != "Z":
                parents[int(stat.parent.name)] = int(fields[1])
    found: list[int] = []
    waiting = [process]
    while waiting:
        parent = waiting.pop()
        children = [child for child, of in parents.items() if of == parent]
        found += children
        waiting += children
    return found


def _tail(log_file: Path) -> str:
    return log_file.read_text(encoding="utf-8", errors="replace")[-4000:]
