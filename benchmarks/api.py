"""How fast the API tier is: reading and making jobs, on a small table and on one of a million rows.

    python -m benchmarks.api                      # SQLite, and PostgreSQL where Debian's postgresql-15 and asyncpg are installed
    python -m benchmarks.api --compare ../before  # beside another checkout, in turns

Each table has an API process of its own, with a stub for the inference service and limits that refuse nobody; the load comes from another
process. Tables take turns, round after round, and medians are told. A machine that does other things at the same time makes requests a
second a rough measure; `cpu_ms` depends on that less: processor time of the API process for one request, beyond what it takes when nobody
asks, of which `per_core_s` is the inverse, the requests a second that one free core would answer. Writes benchmarks/results/api-*.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.api_plans import query_plans
from benchmarks.api_servers import (
    DONE,
    JOBS_EACH,
    POSTGRES,
    SMALLEST,
    TEXT,
    WAITING,
    WAITING_JOBS,
    Server,
    api_server,
    fill,
    job_id,
    migrate,
    postgres,
    silent_inference,
    token_of,
)
from tests.servers import ROOT

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Scenario:
    """Requests that are asked in turn, and the status of their answers."""

    name: str
    requests: list[str]
    status: int = 200


def scenarios() -> list[Scenario]:
    """Making jobs comes last, as it makes the queue longer."""
    body = json.dumps({"text_content": TEXT, "voice_model_id": "default_voice_001"})
    ended, waiting = (range(0, JOBS_EACH, 7), range(JOBS_EACH, JOBS_EACH + WAITING_JOBS))
    return [
        Scenario("GET /job?limit=20", [_request("GET", "/job?limit=20", DONE)]),
        Scenario("GET /job?limit=20, all wait", [_request("GET", "/job?limit=20", WAITING)]),
        Scenario("GET /job/{id}", [_request("GET", f"/job/{job_id(number)}", DONE) for number in ended]),
        Scenario("GET /job/{id}, waits", [_request("GET", f"/job/{job_id(number)}", WAITING) for number in waiting]),
        Scenario("POST /job", [_request("POST", "/job", DONE, body)], status=201),
    ]


def _request(method: str, path: str, user_id: str, body: str = "") -> str:
    content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    token = token_of(user_id)
    return f"{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{content}\r\n{body}"


def measure(server: Server, scenario: Scenario, connections: int, seconds: float, idle: float = 0.0) -> dict[str, Any]:
    """One run of the load, and what it cost the API process beyond what it takes anyway (see `idle_of`)."""
    asked = {
        "port": server.port,
        "requests": scenario.requests,
        "connections": connections,
        "seconds": seconds,
        "expected": scenario.status,
    }
    began, before = time.monotonic(), server.cpu_s()
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.api_load"], input=json.dumps(asked).encode(), cwd=ROOT, capture_output=True, check=True
    )
    seen: dict[str, Any] = json.loads(ran.stdout)
    own = idle * (time.monotonic() - began)
    return seen | {"cpu_ms": (server.cpu_s() - before - own) / seen["requests"] * 1000}


def idle_of(server: Server, seconds: float = 3.0) -> float:
    """Processor seconds that the API process takes in a second when nobody asks it anything: it polls settings and its queue."""
    began, before = time.monotonic(), server.cpu_s()
    time.sleep(seconds)
    return (server.cpu_s() - before) / (time.monotonic() - began)


def run_all(servers: list[Server], connections: list[int], seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Medians of all rounds, for each scenario, number of connections and server."""
    measured = []
    idle = {server.name: idle_of(server) for server in servers}
    for scenario in scenarios():
        for server in servers:
            measure(server, scenario, 4, 0.5)  # fills caches, opens connections
        for count in connections:
            runs: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
            for number in range(rounds):
                for server in servers if number % 2 == 0 else reversed(servers):
                    runs[server.name].append(measure(server, scenario, count, seconds, idle[server.name]))
            for server in servers:
                row = {"server": server.name, "request": scenario.name, "connections": count, **_medians(runs[server.name])}
                row["rss_mb"] = round(server.resident_mb())
                measured.append(row)
                print(_line(row), flush=True)
    return measured


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    middle = {name: median(run[name] for run in runs) for name in ("per_s", "p50_ms", "p99_ms", "cpu_ms")}
    told: dict[str, Any] = {name: round(value, 3) for name, value in middle.items()}
    told["per_core_s"] = round(1000 / middle["cpu_ms"])
    told["requests"] = sum(run["requests"] for run in runs)
    told["wrong"] = sum(run["wrong_count"] for run in runs)
    if told["wrong"]:
        told["wrong_first"] = next(run["wrong"] for run in runs if run["wrong"])
    return told


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['request']:28} {row['server']:24} {row['connections']:3} conn  {row['per_s']:7.0f}/s  p50 {row['p50_ms']:7.2f}  "
        f"p99 {row['p99_ms']:7.2f} ms  cpu {row['cpu_ms']:.3f} ms ({row['per_core_s']}/s a core)  {row['rss_mb']} MB  wrong {row['wrong']}"
    )


@contextlib.contextmanager
def databases(folder: Path, kept: Path, dialects: list[str], rows: list[int], copies: list[str]) -> Any:
    """The address of a filled database for each dialect, number of rows and copy."""
    made: dict[tuple[str, int, str], str] = {}
    with contextlib.ExitStack() as stack:
        if "sqlite" in dialects:
            for count in rows:
                original = kept / f"sqlite_{count}"
                if not (original / "voxify.db").exists():
                    print(f"filling SQLite with {count} jobs", flush=True)
                    url = f"sqlite+aiosqlite:///{original / 'voxify.db'}"
                    migrate(url, original)
                    fill(url, "sqlite", count)
                for copy in copies:
                    path = folder / f"sqlite_{count}_{copy}.db"
                    shutil.copy(original / "voxify.db", path)
                    made["sqlite", count, copy] = f"sqlite+aiosqlite:///{path}"
        if "postgresql" in dialects:
            address = stack.enter_context(postgres(folder / "postgres"))
            for count in rows:
                for copy in copies:
                    print(f"filling PostgreSQL with {count} jobs", flush=True)
                    url = address + f"jobs_{count}_{copy}"
                    asyncio.run(_create_database(address, f"jobs_{count}_{copy}"))
                    migrate(url, folder / "migration")
                    fill(url, "postgresql", count)
                    made["postgresql", count, copy] = url
        yield made


async def _create_database(address: str, name: str) -> None:
    import asyncpg  # type: ignore[import-untyped]

    connection = await asyncpg.connect(address.replace("+asyncpg", "") + "postgres")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()


def benchmark(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    codes = {"": ROOT} | ({"before": asked.compare.resolve()} if asked.compare else {})
    load_before = os.getloadavg()
    with contextlib.ExitStack() as stack:
        inference = stack.enter_context(silent_inference())
        urls = stack.enter_context(databases(folder, asked.keep or folder, asked.dialects, asked.rows, list(codes)))
        for (_, _, copy), url in urls.items():
            if not copy:
                migrate(url, folder / "migration")  # what was kept may be of an older revision
        plans = {f"{dialect} {rows}": asyncio.run(query_plans(url)) for (dialect, rows, copy), url in urls.items() if not copy}
        servers = [
            stack.enter_context(
                api_server(
                    f"{dialect} {rows} {copy}".strip(), dialect, rows, folder / f"{dialect}_{rows}_{copy}", url, inference, codes[copy]
                )
            )
            for (dialect, rows, copy), url in urls.items()
        ]
        started_mb = {server.name: round(server.resident_mb()) for server in servers}
        measured = run_all(servers, asked.connections, asked.seconds, asked.rounds)
    return {
        "benchmark": "api",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "seconds": asked.seconds,
        "rounds": asked.rounds,
        "rss_at_start_mb": started_mb,
        "measured": measured,
        "plans": plans,
    }


def main() -> int:
    there = ["sqlite"] + (["postgresql"] if (POSTGRES / "postgres").exists() else [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialects", nargs="+", choices=["sqlite", "postgresql"], default=there)
    parser.add_argument("--rows", nargs="+", type=int, default=[SMALLEST, 1_000_000], help=f"sizes of the table, {SMALLEST} or more")
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=2.0, help="of one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compare", type=Path, help="another checkout, measured in turns with this one")
    parser.add_argument("--keep", type=Path, help="a folder for the filled SQLite files, which are then there the next time")
    parser.add_argument("--name", default="cpu", help="the result is api-NAME.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="voxify-api-") as folder:
        result = benchmark(asked, Path(folder))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"api-{asked.name}.json").write_text(json.dumps(result, indent=2) + "\n")
    return 1 if any(row["wrong"] for row in result["measured"]) else 0


if __name__ == "__main__":
    sys.exit(main())
