"""What HTTP and serialising cost beside the computing: ``python -m benchmarks.http``.

Starts a service of its own on a free port, and lets the workers' own client ask for one chunk a request, with five seconds of reference,
1 and 8 requests at a time. The service logs what the engine took for each batch; all else is the cost of the way there and back: base64 and
JSON on both sides, validation, BentoML's dispatcher. Of the clock, that is the share of the run in which the engine computed nothing. Of
the processors, it is the time of both processes without the engine's, for one request at a time, where nothing else runs beside the
engine; other processes on the machine do not change it. ``smoke`` is the smallest voice there is, so that its shares are the largest;
``small`` has seeded weights in the shape of a small voice. Voices in ``inference/voices`` are measured too. Writes JSON under
``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.inference import device_name, percentile, table
from benchmarks.start import processor_seconds
from inference.threads import physical_cores
from tests.servers import inference_process
from worker.inference import SAMPLE_RATE, InferenceClient, PlannedChunk, Reference, Sampling

RESULTS = Path(__file__).parent / "results"
VOICES = Path(__file__).parents[1] / "inference" / "voices"
REFERENCE_S = 5.0
REFERENCE_TEXT = "The quick brown fox jumps over the lazy dog, and nobody saw it but the moon."
TEXT = "Nobody at the station could say when the last train for the coast would leave."
STEPS = 16
WARM_UP = 1


def voice() -> Reference:
    """Harmonics with a beat."""
    t = np.arange(round(REFERENCE_S * SAMPLE_RATE)) / SAMPLE_RATE
    sound = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 6)) * (1.2 + np.sin(2 * np.pi * 3 * t))
    return Reference.of((0.3 * sound / np.abs(sound).max()).astype(np.float32), REFERENCE_TEXT)


async def ask(url: str, requests: int, concurrency: int) -> list[float]:
    """Seconds of each request, from the samples of the reference to those of the answer."""
    client, reference = InferenceClient(url, timeout_s=600), voice()
    took: list[float] = []
    try:
        plan = await client.plan(TEXT, language="en-US", reference=reference)
        chunk: PlannedChunk = plan.chunks[0]
        numbers = iter(range(requests))

        async def one_after_another() -> None:
            for number in numbers:
                began = time.perf_counter()
                await client.synthesize(chunk, plan=plan, reference=reference, sampling=Sampling(seed=number, nfe_step=STEPS))
                took.append(time.perf_counter() - began)

        await asyncio.gather(*(one_after_another() for _ in range(concurrency)))
    finally:
        await client.close()
    return took


def batches(log_file: Path) -> list[dict[str, Any]]:
    """What the service has logged of its batches so far."""
    lines = (line for line in log_file.read_text(encoding="utf-8").splitlines() if line.startswith("{"))
    return [line for line in map(json.loads, lines) if line["event"] == "batch"]


def measure(url: str, process: int, log_file: Path, *, requests: int, concurrency: int) -> dict[str, Any]:
    """One run with so many requests at a time."""
    asyncio.run(ask(url, WARM_UP * concurrency, concurrency))
    before, service, own = len(batches(log_file)), processor_seconds(process), time.process_time()
    began = time.perf_counter()
    took = asyncio.run(ask(url, requests, concurrency))
    clock = time.perf_counter() - began
    service, own = processor_seconds(process) - service, time.process_time() - own
    engine = batches(log_file)[before:]
    if sum(batch["items"] for batch in engine) != requests:
        raise RuntimeError("The log does not hold the batches of all requests.")
    computed, computing = sum(batch["seconds"] for batch in engine), sum(batch["processor_seconds"] for batch in engine)
    return {
        "concurrency": concurrency,
        "requests": requests,
        "items_a_batch": round(requests / len(engine), 2),
        "request_p50_s": round(median(took), 4),
        "request_p95_s": round(percentile(took, 0.95), 4),
        "engine_a_batch_p50_s": round(median(batch["seconds"] for batch in engine), 4),
        "http_share_of_clock": round(1 - computed / clock, 3),
        "http_ms_of_processor": round(1000 * (service + own - computing) / requests, 2) if concurrency == 1 else None,
        "http_share_of_processor": round(1 - computing / (service + own), 3) if concurrency == 1 else None,
    }


def run(model: str, *, requests: int, concurrency: Sequence[int]) -> list[dict[str, Any]]:
    """Start the service with a voice and measure it."""
    with tempfile.TemporaryDirectory(prefix="voxify-http-") as name:
        folder, chosen = Path(name), model
        if model in {"small", "base"}:
            from benchmarks import workload

            workload.write_model(folder / model, workload.ARCHITECTURES[model])
            chosen = str(folder / model)
        environment = {"VOXIFY_MODEL": chosen, "VOXIFY_DTYPE": "auto", "OMP_NUM_THREADS": str(physical_cores())}
        # On a busy machine a request may take long, which is no reason to refuse it here.
        environment |= {"VOXIFY_MAX_BATCH_WAIT_MS": "600000", "VOXIFY_INFERENCE_TIMEOUT_S": "600"}
        with inference_process(folder, wait=True, **environment) as (url, process, log_file):
            rows = [measure(url, process.pid, log_file, requests=requests, concurrency=of) for of in concurrency]
    return [{"voice": model} | row for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    bundled = sorted(path.parent.name for path in VOICES.glob("*/vocab.txt"))
    parser.add_argument("--voices", nargs="+", default=["smoke", "small", *bundled])
    parser.add_argument("--requests", type=int, default=30, help="in each run")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8])
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    rows = []
    for name in asked.voices:
        rows += run(name, requests=asked.requests, concurrency=asked.concurrency)
        print(rows[-len(asked.concurrency) :], file=sys.stderr, flush=True)
    print(table(rows))
    result = {
        "benchmark": "http",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": device_name("cpu"),
        "load_average": round(load, 1),
        "reference_s": REFERENCE_S,
        "steps": STEPS,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "http-cpu.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
