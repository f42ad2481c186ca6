"""Throughput with one, two and three replicas: ``python -m benchmarks.autoscale_live``.

The workers' own client asks real processes of the inference service and chooses among them by itself, as it does among the addresses of a
headless service. Three networks do not fit on one small machine, so **nothing is computed**: each process sleeps for the time that a batch
was measured to take on a device of its own (`benchmarks.autoscale_standin`). What is measured is therefore the rest: whether admission,
batches and the choice of a replica let throughput grow with the replicas. `expected` is what the service time alone gives for batches of
that size. Writes benchmarks/results/autoscale-live-standin.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.autoscale_model import RESULTS, ServiceTime, fitted
from benchmarks.http import batches, voice
from benchmarks.inference import device_name, percentile, table
from tests.servers import ROOT, free_port, stop, wait_until_ready
from worker.inference import HOP_LENGTH, SAMPLE_RATE, InferenceClient, PlannedChunk, Sampling, SpeechPlan

SOUND_S = (1.0, 2.0)
"""Chunks of these lengths in turn: short ones, so that a run has many batches."""


@contextlib.contextmanager
def replicas(folder: Path, count: int) -> Iterator[list[tuple[str, Path]]]:
    """Address and log of so many stand-ins that are ready."""
    with contextlib.ExitStack() as opened:
        started = [opened.enter_context(_started(folder / str(number))) for number in range(count)]
        for url, process, log_file in started:
            wait_until_ready(url, process, log_file)
        yield [(url, log_file) for url, _, log_file in started]


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    folder.mkdir()
    port, log_file = free_port(), folder / "inference.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VOXIFY_")}
    environment |= {"VOXIFY_DATA_DIR": str(folder), "VOXIFY_INFERENCE_PORT": str(port), "VOXIFY_MODEL": "smoke", "HF_HUB_OFFLINE": "1"}
    environment |= {"BENTOML_HOME": str(folder / "bentoml"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.autoscale_standin"]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)  # noqa: S603 - our own
    try:
        yield f"http://127.0.0.1:{port}", process, log_file
    finally:
        stop(process)


async def ask(addresses: str, clients: int, chunks: int) -> tuple[float, list[float]]:
    """Seconds that it all took and those of each chunk, for clients that ask one chunk after another."""
    client, reference = InferenceClient(addresses, timeout_s=600), voice()
    frames = [round(sound_s * SAMPLE_RATE / HOP_LENGTH) + 1 for sound_s in SOUND_S]
    plan = SpeechPlan(model="smoke", language="en-US", support="native", speech=False, chunks=[])
    took: list[float] = []

    async def one_after_another(number: int) -> None:
        for turn in range(chunks):
            chunk = PlannedChunk(0, "Something to say.", 0, 17, frames[(number + turn) % len(frames)])
            asked = time.perf_counter()
            await client.synthesize(chunk, plan=plan, reference=reference, sampling=Sampling(seed=turn, nfe_step=16))
            took.append(time.perf_counter() - asked)

    began = time.perf_counter()
    try:
        await asyncio.gather(*(one_after_another(number) for number in range(clients)))
    finally:
        await client.close()
    return time.perf_counter() - began, took


def measure(service: ServiceTime, there: list[tuple[str, Path]], clients: int, chunks: int) -> dict[str, Any]:
    """One run with these replicas."""
    before = [len(batches(log_file)) for _, log_file in there]
    seconds, took = asyncio.run(ask(",".join(url for url, _ in there), clients, chunks))
    done = [batch for (_, log_file), so_far in zip(there, before, strict=True) for batch in batches(log_file)[so_far:]]
    mean_s = sum(SOUND_S) / len(SOUND_S)
    size = sum(batch["items"] for batch in done) / len(done)
    return {
        "replicas": len(there),
        "clients": clients,
        "chunks": len(took),
        "items_a_batch": round(size, 2),
        "sound_s_per_s": round(len(took) * mean_s / seconds, 3),
        "expected_sound_s_per_s": round(len(there) * size * mean_s / service.of([mean_s * size]), 3),
        "busy": round(sum(batch["seconds"] for batch in done) / seconds / len(there), 3),
        "chunk_p50_s": round(percentile(took, 0.5), 2),
        "chunk_p95_s": round(percentile(took, 0.95), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscale_live", description=__doc__)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--clients", type=int, default=12, help="the same for any number of replicas")
    parser.add_argument("--chunks", type=int, default=6, help="of each client, in each run")
    parser.add_argument("--output", type=Path, default=RESULTS / "autoscale-live-standin.json")
    asked = parser.parse_args()
    service, load = fitted(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="voxify-replicas-") as folder, replicas(Path(folder), asked.replicas) as there:
        rows = [measure(service, there[:count], asked.clients, asked.chunks) for count in range(1, asked.replicas + 1)]
    rows = [row | {"speed_up": round(row["sound_s_per_s"] / rows[0]["sound_s_per_s"], 2)} for row in rows]
    print(table(rows))
    result = {
        "benchmark": "replicas, with a stand-in that sleeps in place of the network",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": device_name("cpu"),
        "load_average": {"before": round(load, 1), "after": round(os.getloadavg()[0], 1)},
        "sleeps": {"a_batch_s": round(service.a_batch_s, 4), "a_second_of_sound_s": round(service.a_second_s, 4), "of": service.source},
        "rows": rows,
    }
    asked.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
