"""More requests than the inference service can take, for minutes: who is refused, how fast, and what memory does.

    python -m benchmarks.overload --seconds 600 --clients 400 --model voxify-small-en

Starts a service of its own on a free port, keeps `--clients` requests in flight, and writes a table and JSON under
benchmarks/results/. Exit status 1 when an accepted request failed, a refusal was slow or lacked `Retry-After`, or memory grew.

Every client has a connection of its own, as separate workers have. A pool that hundreds of requests share makes them wait for one
another before a byte is sent (httpx hands an idle connection to all who wait, and all but one ask again); `--shared-pool` measures that
wait. The clients run in one process beside the service: `client_lag_p99_s` is how late its own event loop was, which is in every time.
`refused_apart_*` is therefore what a process of its own met, with nothing else to do and a new connection each time; it decides.
`refused_in_service_p99_s` is the service's own measure, from the request's headers to the end of its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import http.client
import json
import multiprocessing
import os
import platform
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from inference.threads import physical_cores
from tests.servers import descendants, inference_process

RESULTS = Path(__file__).parent / "results"
REFUSED = (429, 503)
REFUSAL_LIMIT_S = 1.0
GROWTH_LIMIT = 1.10  # of the median of the last fifth over that of the second: the first fifth fills caches
PAGE_MB = 4096 / 1024**2
PROBES = 4
"""Requests at a time from apart; one that is let in waits for its sound."""
FRAMES = (60, 120, 240, 480)


@dataclass
class Seen:
    """What the clients met."""

    statuses: Counter[int] = field(default_factory=Counter)
    accepted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    without_retry_after: int = 0
    failed: list[str] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    client_lag_s: list[float] = field(default_factory=list)
    refused_in_service_s: list[float] = field(default_factory=list)
    refused_apart_s: list[float] = field(default_factory=list)


def item(number: int) -> dict[str, Any]:
    """A chunk of one of four lengths, with a second of reference."""
    t = np.arange(24_000) / 24_000
    tone = (np.sin(2 * np.pi * 150 * t) * 8000).astype("<i2").tobytes()
    return {
        "text": f"This is request number {number % 100}.",
        "reference_audio": base64.b64encode(tone).decode(),
        "reference_text": "A second of sound.",
        "frames": FRAMES[number % len(FRAMES)],
        "seed": number,
        "nfe_step": 16,
    }


@lru_cache(maxsize=100)
def body(number: int) -> bytes:
    """Made once: a client that is busy with its own sums measures those."""
    return json.dumps({"items": [item(number)]}).encode()


async def client(http: httpx.AsyncClient, seen: Seen, until: float, number: int) -> None:
    """Ask again and again; after a refusal wait as told, as a good client does."""
    while time.monotonic() < until:
        began = time.perf_counter()
        try:
            answer = await http.post("/synthesize", content=body(number % 100), headers={"Content-Type": "application/json"})
        except httpx.HTTPError as error:
            seen.failed.append(type(error).__name__)
            continue
        took = time.perf_counter() - began
        seen.statuses[answer.status_code] += 1
        if answer.status_code in REFUSED:
            seen.refused_s.append(took)
            seen.without_retry_after += "Retry-After" not in answer.headers
            await asyncio.sleep(min(5.0, float(answer.headers.get("Retry-After", 1))))
        elif answer.is_success and answer.json()[0]["ok"]:
            seen.accepted_s.append(took)
        else:
            seen.failed.append(f"{answer.status_code} {answer.text[:100]}")
        number += 1


def refused_apart(url: str, seconds: float, sent: bytes) -> list[float]:
    """Seconds until the service has refused a request on a new connection; run in a process of its own."""
    address, until = urlsplit(url), time.monotonic() + seconds

    def again_and_again(_: int) -> list[float]:
        took = []
        while time.monotonic() < until:
            began = time.perf_counter()
            connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=300)
            try:
                connection.request("POST", "/synthesize", sent, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
            finally:
                connection.close()
            if answer.status in REFUSED:
                took.append(time.perf_counter() - began)
            time.sleep(0.2)
        return took

    with ThreadPoolExecutor(PROBES) as probes:
        return [each for took in probes.map(again_and_again, range(PROBES)) for each in took]


async def watch_own_lag(seen: Seen, until: float) -> None:
    while time.monotonic() < until:
        began = time.perf_counter()
        await asyncio.sleep(0.05)
        seen.client_lag_s.append(time.perf_counter() - began - 0.05)


async def watch_memory(process: int, seen: Seen, until: float) -> None:
    while time.monotonic() < until:
        seen.memory_mb.append(await asyncio.to_thread(resident_mb, process))
        await asyncio.sleep(1)


def resident_mb(process: int, *, with_children: bool = True) -> float:
    """Of the process, and of all that it started."""
    processes = (process, *descendants(process)) if with_children else (process,)
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in processes) * PAGE_MB


def connections(url: str, clients: int, *, shared_pool: bool) -> Iterator[httpx.AsyncClient]:
    """For each client one of its own, or the same for all."""
    # The service closes a connection that was idle for 5 s; whoever uses one in that moment loses a request.
    context, own = ssl.create_default_context(), httpx.Limits(keepalive_expiry=4)
    pool = httpx.Limits(max_connections=clients, max_keepalive_connections=clients, keepalive_expiry=4)
    shared = httpx.AsyncClient(base_url=url, timeout=300, limits=pool, trust_env=False) if shared_pool else None
    for _ in range(clients):
        # The context is never used, and making one for each of hundreds takes seconds.
        yield shared or httpx.AsyncClient(base_url=url, timeout=300, verify=context, limits=own, trust_env=False)


async def load(url: str, process: int, seconds: float, clients: int, *, shared_pool: bool = False) -> Seen:
    seen = Seen()
    async with AsyncExitStack() as opened:
        every = list(connections(url, clients, shared_pool=shared_pool))
        for number in range(100):
            body(number)
        until = time.monotonic() + seconds
        for each in {id(each): each for each in every}.values():
            await opened.enter_async_context(each)
        people = (client(each, seen, until, number * 37) for number, each in enumerate(every))
        watches = (watch_memory(process, seen, until), watch_own_lag(seen, until))
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
            watching = asyncio.get_running_loop().run_in_executor(apart, refused_apart, url, seconds, body(0))
            await asyncio.gather(*watches, *people)
            seen.refused_apart_s = await watching
    return seen


def refused_in_service(log_file: Path) -> list[float]:
    """Seconds that the service took for each refusal, from its own log."""
    lines = map(json.loads, (line for line in log_file.read_text(encoding="utf-8").splitlines() if line.startswith("{")))
    return [line["seconds"] for line in lines if line["event"] == "request" and line["status"] in REFUSED]


def percentile(values: list[float], share: float) -> float | None:
    return round(float(np.percentile(values, share)), 3) if values else None


def report(seen: Seen, seconds: float, clients: int) -> dict[str, Any]:
    fifth = max(1, len(seen.memory_mb) // 5)
    early, late = median(seen.memory_mb[fifth : 2 * fifth] or seen.memory_mb), median(seen.memory_mb[-fifth:])
    problems = {
        "accepted requests that failed": len(seen.failed),
        "refusals without Retry-After": seen.without_retry_after,
        "refusals slower than a second (p99)": int((percentile(seen.refused_apart_s, 99) or 0) > REFUSAL_LIMIT_S),
        "memory grew": int(late > early * GROWTH_LIMIT),
        "nobody was refused": int(not seen.refused_apart_s),
    }
    return {
        "benchmark": "overload",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {platform.python_version()}",
        "seconds": seconds,
        "clients": clients,
        "accepted": len(seen.accepted_s),
        "accepted_per_s": round(len(seen.accepted_s) / seconds, 2),
        "accepted_p50_s": percentile(seen.accepted_s, 50),
        "accepted_p95_s": percentile(seen.accepted_s, 95),
        "refused": len(seen.refused_s),
        "refused_p50_s": percentile(seen.refused_s, 50),
        "refused_p99_s": percentile(seen.refused_s, 99),
        "refused_in_service_p99_s": percentile(seen.refused_in_service_s, 99),
        "refused_apart": len(seen.refused_apart_s),
        "refused_apart_p50_s": percentile(seen.refused_apart_s, 50),
        "refused_apart_p99_s": percentile(seen.refused_apart_s, 99),
        "client_lag_p99_s": percentile(seen.client_lag_s, 99),
        "statuses": dict(sorted(seen.statuses.items())),
        "memory_early_mb": round(early),
        "memory_late_mb": round(late),
        "memory_most_mb": round(max(seen.memory_mb)),
        "memory_mb": [round(memory) for memory in seen.memory_mb[:: max(1, len(seen.memory_mb) // 20)]],
        "failures": dict(Counter(seen.failed).most_common(5)),
        "problems": {name: count for name, count in problems.items() if count},
    }


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    environment = {"VOXIFY_MODEL": asked.model, "VOXIFY_DTYPE": "auto", "OMP_NUM_THREADS": str(physical_cores())}
    busy = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="voxify-overload-") as folder,
        inference_process(Path(folder), **environment) as (url, process, log_file),
    ):
        seen = asyncio.run(load(url, process.pid, asked.seconds, asked.clients, shared_pool=asked.shared_pool))
        seen.refused_in_service_s = refused_in_service(log_file)
    told = {"model": asked.model, "shared_pool": asked.shared_pool, "load_average_before": round(busy, 1)}
    return told | report(seen, asked.seconds, asked.clients)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=400)
    parser.add_argument("--model", default="smoke", help="the voice that speaks")
    parser.add_argument("--shared-pool", action="store_true", help="all clients share one pool of connections")
    parser.add_argument("--output", type=Path, default=RESULTS / "overload-cpu.json")
    asked = parser.parse_args()
    measured = measure(asked)
    for name, value in measured.items():
        print(f"{name:26} {value}")
    asked.output.parent.mkdir(exist_ok=True)
    asked.output.write_text(json.dumps(measured, indent=2) + "\n")
    return 1 if measured["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
