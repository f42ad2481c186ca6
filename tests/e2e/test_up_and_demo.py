"""`make up` and `make demo` as a newcomer runs them, less the making of the environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import soundfile

from tests.servers import ROOT, descendants, free_port, stop


def environment(data: Path, api_port: int, inference_port: int) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VOXIFY_")}
    return kept | {
        "VOXIFY_ENV": "dev",
        "VOXIFY_DATA_DIR": str(data),
        "VOXIFY_API_PORT": str(api_port),
        "VOXIFY_INFERENCE_PORT": str(inference_port),
        "VOXIFY_MODEL": "smoke",
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def up(folder: Path, settings: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`make up`, which has just begun: the process, and the file of what it says."""
    said = folder / "up.txt"
    with said.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.up"], cwd=ROOT, env=settings, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process, said
    finally:
        stop(process)


def until(condition, process: subprocess.Popen[bytes], said: Path) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 90
    while not condition():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.1)


@pytest.mark.timeout(300)
def test_up_demo_restart_and_stop(tmp_path: Path) -> None:
    data, api_port, inference_port = tmp_path / "data", free_port(), free_port()
    settings = environment(data, api_port, inference_port)
    api = f"http://127.0.0.1:{api_port}"
    with up(tmp_path, settings) as (process, said):
        until(lambda: "inference  starting" in said.read_text(), process, said)
        demo = subprocess.run([sys.executable, "-m", "scripts.demo"], cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
        assert demo.returncode == 0, demo.stdout + demo.stderr
        assert "being started in another terminal" in demo.stdout
        assert f"Voxify is running at {api}" in demo.stdout
        assert demo.stdout.count("   took ") == 6, "each step says how long it took"
        assert "100.0 %  Completed" in demo.stdout
        assert "noise, not speech" in demo.stdout, "the smoke voice says what it is"
        assert soundfile.info(data / "demo.wav").duration > 3

        until(lambda: "Voxify is up after" in said.read_text(), process, said)
        assert f"{api}/docs" in said.read_text()
        assert f"http://127.0.0.1:{inference_port}" in said.read_text()

        second = subprocess.run([sys.executable, "-m", "scripts.up"], cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert "is in use" in second.stderr

        serving = next(child for child in descendants(process.pid) if b"api.cli" in Path(f"/proc/{child}/cmdline").read_bytes())
        os.kill(serving, signal.SIGKILL)
        until(lambda: "starting it again" in said.read_text() and said.read_text().count("api        ready") == 2, process, said)
        assert httpx.get(f"{api}/health/ready").status_code == 200

        children = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
        assert "Voxify is stopped." in said.read_text()
        assert not [child for child in children if Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes()]
