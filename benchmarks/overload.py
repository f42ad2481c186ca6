"""More requests than the inference service can take, for minutes: who is refused, how fast, and what memory does.

    python -m benchmarks.overload --seconds 600 --clients 400

Starts a service of its own on a free port with the smoke voice, keeps `--clients` requests in flight, and writes a table and
JSON under benchmarks/results/. Exit status 1 when an accepted request failed, a refusal was slow or lacked `Retry-After`,
or memory grew.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import platform
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np

from tests.servers import descendants, inference_process

RESULTS = Path(__file__).parent / "results"
REFUSED = (429, 503)
REFUSAL_LIMIT_S = 1.0
GROWTH_LIMIT = 1.10  # of the median of the last fifth over that of the second: the first fifth fills caches
PAGE_MB = 4096 / 1024**2
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


async def client(http: httpx.AsyncClient, seen: Seen, until: float, number: int) -> None:
    """Ask again and again; after a refusal wait as told, as a good client does."""
    while time.monotonic() < until:
        began = time.perf_counter()
        try:
            answer = await http.post("/synthesize", json={"items": [item(number)]})
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


async def watch_memory(process: int, seen: Seen, until: float) -> None:
    while time.monotonic() < until:
        seen.memory_mb.append(await asyncio.to_thread(resident_mb, process))
        await asyncio.sleep(1)


def resident_mb(process: int) -> float:
    """Of the process and all that it started."""
    pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in (process, *descendants(process)))
    return sum(pages) * PAGE_MB


async def load(url: str, process: int, seconds: float, clients: int) -> Seen:
    seen, until = Seen(), time.monotonic() + seconds
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits, trust_env=False) as http:
        people = (client(http, seen, until, number * 1000) for number in range(clients))
        await asyncio.gather(watch_memory(process, seen, until), *people)
    return seen


def percentile(values: list[float], share: float) -> float | None:
    return round(float(np.percentile(values, share)), 3) if values else None


def report(seen: Seen, seconds: float, clients: int) -> dict[str, Any]:
    fifth = max(1, len(seen.memory_mb) // 5)
    early, late = median(seen.memory_mb[fifth : 2 * fifth] or seen.memory_mb), median(seen.memory_mb[-fifth:])
    problems = {
        "accepted requests that failed": len(seen.failed),
        "refusals without Retry-After": seen.without_retry_after,
        "refusals slower than a second (p99)": int((percentile(seen.refused_s, 99) or 0) > REFUSAL_LIMIT_S),
        "memory grew": int(late > early * GROWTH_LIMIT),
        "nobody was refused": int(not seen.refused_s),
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
        "statuses": dict(sorted(seen.statuses.items())),
        "memory_early_mb": round(early),
        "memory_late_mb": round(late),
        "failures": dict(Counter(seen.failed).most_common(5)),
        "problems": {name: count for name, count in problems.items() if count},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=400)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="voxify-overload-") as folder,
        inference_process(Path(folder)) as (url, process, _),
    ):
        measured = report(asyncio.run(load(url, process.pid, asked.seconds, asked.clients)), asked.seconds, asked.clients)
    for name, value in measured.items():
        print(f"{name:20} {value}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "overload-cpu.json").write_text(json.dumps(measured, indent=2) + "\n")
    return 1 if measured["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
