"""What a thousand open event streams cost one API process.

    python -m benchmarks.streams [--streams 1000] [--seconds 15]

An API process on SQLite with two thousand jobs, a stub in place of the inference service, and limits that refuse nobody; the clients
are this process. Each stream watches a job of its own that is worked on. Told are the memory and the processor time that the streams take,
how soon a change of a row is heard, with and without a word about it, the connections of the database that are open, and how long other
requests take before, beside and after the streams. Writes benchmarks/results/streams-cpu.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.api_servers import DONE, JOBS_EACH, SMALLEST, Server, api_server, fill, job_id, migrate, silent_inference, token_of

RESULTS = Path(__file__).parent / "results" / "streams-cpu.json"
STARTING_AT_ONCE = 50
HEARING_S = 30.0
CHANGES = 20


class Stream:
    """One open stream: reads lines and keeps the times at which events came."""

    def __init__(self, server: Server, number: int) -> None:
        self.server = server
        self.number = number
        self.events: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def open(self) -> float:
        """Seconds until the first event."""
        began = time.perf_counter()
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        head = (
            f"GET /api/v1/job/{job_id(self.number)}/progress HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token_of(DONE)}\r\n\r\n"
        )
        self.writer.write(head.encode())
        self.task = asyncio.create_task(self._read(reader))
        async with asyncio.timeout(HEARING_S * 4):
            await self.changed.wait()
        return time.perf_counter() - began

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if line.startswith(b"data:"):
                self.events.append(json.loads(line[5:]))
                self.changed.set()

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
        if self.writer is not None:
            self.writer.close()
            with contextlib.suppress(ConnectionError):
                await self.writer.wait_closed()


def open_jobs(database: Path) -> None:
    """Let the jobs of the benchmark's user be at work, held by somebody who never gives them back."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE jobs SET status = 'processing', progress = 10, lease_owner = 'somebody', attempt = 1, completed_at = NULL, "
            "output_path = NULL, lease_until = '2100-01-01 00:00:00.000000' WHERE user_id = ?",
            (DONE,),
        )


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def described(seconds: list[float]) -> dict[str, float]:
    return {f"p{share}_ms": round(percentile(seconds, share / 100) * 1000, 1) for share in (50, 99)}


async def others(server: Server, seconds: float) -> dict[str, float]:
    """How long requests that have nothing to do with the streams take, one after another with a pause between."""
    headers = {"Authorization": f"Bearer {token_of(DONE)}"}
    took: list[float] = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}/api/v1", headers=headers, timeout=60) as client:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.perf_counter()
            answer = await client.get(f"/job/{job_id(JOBS_EACH - 1)}")
            took.append(time.perf_counter() - began)
            answer.raise_for_status()
            await asyncio.sleep(0.01)
    return {"requests": len(took), **described(took)}


async def heard(server: Server, streams: list[Stream], database: Path, *, told: bool) -> list[float]:
    """Seconds from a change of a row to its event. `told`: made through the API, so that the process knows; else behind its back."""
    waits = []
    headers = {"Authorization": f"Bearer {token_of(DONE)}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}/api/v1", headers=headers, timeout=60) as client:
        for stream in streams:
            stream.changed.clear()
            began = time.perf_counter()
            if told:
                (await client.patch(f"/job/{job_id(stream.number)}", json={"status": "cancelled"})).raise_for_status()
            else:
                with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection, connection:
                    connection.execute("UPDATE jobs SET progress = 55 WHERE id = ?", (job_id(stream.number),))
            async with asyncio.timeout(HEARING_S):
                await stream.changed.wait()
            waits.append(time.perf_counter() - began)
    return waits


def open_files(server: Server, name: str) -> int:
    """How often the process has a file whose name ends so open."""
    count = 0
    for link in Path(f"/proc/{server.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(link.readlink()).endswith(name)
    return count


@contextlib.asynccontextmanager
async def opened(server: Server, count: int) -> AsyncIterator[tuple[list[Stream], list[float]]]:
    """So many streams, and how long each took to its first event."""
    streams = [Stream(server, number) for number in range(count)]
    gate = asyncio.Semaphore(STARTING_AT_ONCE)

    async def start(stream: Stream) -> float:
        async with gate:
            return await stream.open()

    try:
        yield streams, list(await asyncio.gather(*(start(stream) for stream in streams)))
    finally:
        await asyncio.gather(*(stream.close() for stream in streams))


async def measure(server: Server, database: Path, count: int, seconds: float) -> dict[str, Any]:
    await others(server, 1)  # caches are filled
    found: dict[str, Any] = {"rss_before_mb": round(server.resident_mb(), 1), "other_requests_before": await others(server, seconds)}
    async with opened(server, count) as (streams, firsts):
        found["first_event"] = described(firsts)
        found["rss_with_streams_mb"] = round(server.resident_mb(), 1)
        found["kib_a_stream"] = round((server.resident_mb() - found["rss_before_mb"]) * 1024 / count, 1)
        cpu = server.cpu_s()
        await asyncio.sleep(seconds)
        found["cpu_share_of_quiet_streams"] = round((server.cpu_s() - cpu) / seconds, 3)
        found["other_requests_beside"] = await others(server, seconds)
        found["database_connections_open"] = open_files(server, "voxify.db")
        found["change_told_of"] = described(await heard(server, streams[:CHANGES], database, told=True))
        found["change_behind_its_back"] = described(await heard(server, streams[CHANGES : 2 * CHANGES], database, told=False))
    found["other_requests_after"] = await others(server, seconds)
    found["rss_after_mb"] = round(server.resident_mb(), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000, help="at most 1000: as many jobs one user has here")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each measurement")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="voxify-streams-") as name, silent_inference() as inference:
        folder = Path(name)
        url = f"sqlite+aiosqlite:///{folder / 'voxify.db'}"
        migrate(url, folder)
        fill(url, "sqlite", SMALLEST)
        open_jobs(folder / "voxify.db")
        with api_server("streams", "sqlite", SMALLEST, folder, url, inference) as server:
            measured = asyncio.run(measure(server, folder / "voxify.db", asked.streams, asked.seconds))
    result = {
        "benchmark": "streams",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "streams": asked.streams,
        "seconds": asked.seconds,
        **measured,
    }
    asked.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
