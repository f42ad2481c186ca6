"""How long the inference service takes from the start of its process until it is ready.

    python -m benchmarks.start --rounds 5

Starts the service with the smoke voice again and again, one at a time, and quotes medians, in seconds of the clock and of the processors
(user and system, of the process and all that it started): where other processes share the machine, the second says more. `--against`
names another checkout, which takes turns with this one; ratios are then those of each round. Writes JSON under benchmarks/results/.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.inference import device_name, table
from tests.servers import descendants, free_port, stop, wait_until_ready

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


def processor_seconds(process: int) -> float:
    """User and system time of a process, of its ended children, and of all that it started and that still runs."""
    ticks = 0
    for pid in (process, *descendants(process)):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def start(checkout: Path, model: str) -> dict[str, float]:
    """Start the service of a checkout once: seconds of the clock and of the processors until it was ready, and its processes then."""
    with tempfile.TemporaryDirectory(prefix="voxify-start-") as name:
        folder, port = Path(name), free_port()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("VOXIFY_")}
        environment |= {"VOXIFY_DATA_DIR": str(folder / "data"), "VOXIFY_INFERENCE_PORT": str(port), "VOXIFY_MODEL": model}
        environment |= {"BENTOML_HOME": str(folder / "bentoml"), "HF_HUB_OFFLINE": "1"}
        log_file = folder / "log"
        with log_file.open("wb") as log:
            began = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "inference"], cwd=checkout, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log_file)
            took = time.perf_counter() - began
            return {"clock_s": took, "processor_s": processor_seconds(process.pid), "processes": 1 + len(descendants(process.pid))}
        finally:
            stop(process)


def summary(name: str, runs: Sequence[dict[str, float]], beside: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Medians; ratios are those of each round to what was started beside it."""
    ratios = [mine["processor_s"] / theirs["processor_s"] for mine, theirs in zip(runs, beside, strict=True)]
    return {
        "service": name,
        "processes": int(max(run["processes"] for run in runs)),
        "clock_s": round(median(run["clock_s"] for run in runs), 2),
        "clock_best_s": round(min(run["clock_s"] for run in runs), 2),
        "processor_s": round(median(run["processor_s"] for run in runs), 2),
        "ratio_of_processor_time": round(median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="smoke")
    parser.add_argument("--against", type=Path, help="another checkout, the one that ratios are taken to")
    asked = parser.parse_args()
    checkouts = {"this": ROOT} | ({"against": asked.against} if asked.against else {})
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    loads = []
    for number in range(asked.rounds):
        for name, checkout in checkouts.items():
            loads.append(os.getloadavg()[0])
            runs[name].append(start(checkout, asked.model))
            print(f"round {number + 1}, {name}: {runs[name][-1]}", file=sys.stderr)
    rows = [summary(name, of, runs.get("against", of)) for name, of in runs.items()]
    print(table(rows))
    result = {
        "benchmark": "start",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": device_name("cpu"),
        "load_average": round(median(loads), 1),
        "model": asked.model,
        "rounds": asked.rounds,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "start-cpu.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
