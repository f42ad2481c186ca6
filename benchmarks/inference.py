"""The engine against upstream's, side by side: ``python -m benchmarks.inference``.

Both have the same weights (seeded: the shapes are real, the sound is not speech), device and number of frames, and each the type that it
takes by itself (``--dtype`` for the engine's). Upstream speaks just before each turn of the engine, over several rounds, and the medians of
the ratios are quoted, so that whatever else the machine does hits both. Where other processes take turns on the cores, the ratio of CPU
time says more than the one of the clock. ``concurrency`` is the number of clients that each send their next chunk when the last one has
come back; as in the service, one batch is in flight and takes as many of the waiting chunks as the settings let it.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
LIBRARIES = ("torch", "torchaudio", "f5-tts", "vocos", "numpy")


MOST_STARTS = 8
"""With more clients than this, the time to the first sound is not measured: it takes as long as everything else together."""


@dataclass
class Row:
    """What was measured of one contender: one entry a round, latencies of all rounds together."""

    name: str
    concurrency: int
    contender: Any
    throughput: list[float] = field(default_factory=list)
    efficiency: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def measure(self, works: Sequence[Any]) -> None:
        """All the chunks, once."""
        gc.collect()
        reset_peak()
        seconds = sum(work.seconds for work in works)
        started, busy = time.perf_counter(), time.process_time()
        self.latencies += closed_loop(self.contender, works, self.concurrency)
        self.throughput.append(seconds / (time.perf_counter() - started))
        self.efficiency.append(seconds / (time.process_time() - busy))
        self.memory.append(peak_mib())

    def measure_first(self, *, steps: int) -> None:
        """First sounds, once; of several clients in the first round only."""
        if self.concurrency <= MOST_STARTS and (self.concurrency == 1 or not self.first):
            self.first += self.contender.start(self.concurrency, steps=steps)

    def summary(self, beside: Row) -> dict[str, Any]:
        """Medians over the rounds; ratios are those of each round to what ``beside`` did just before it."""
        ratios = [mine / theirs for mine, theirs in zip(self.throughput, beside.throughput, strict=True)]
        efficiency = [mine / theirs for mine, theirs in zip(self.efficiency, beside.efficiency, strict=True)]
        return {
            "contender": self.name,
            "concurrency": self.concurrency,
            "audio_s_per_s": round(statistics.median(self.throughput), 3),
            "audio_s_per_cpu_s": round(statistics.median(self.efficiency), 3),
            "ratio_to_upstream": round(statistics.median(ratios), 2),
            "ratio_of_cpu_time": round(statistics.median(efficiency), 2),
            "ratios": [round(ratio, 2) for ratio in ratios],
            "ratios_of_cpu_time": [round(ratio, 2) for ratio in efficiency],
            "latency_p50_s": round(statistics.median(self.latencies), 3),
            "latency_p95_s": round(percentile(self.latencies, 0.95), 3),
            "first_audio_s": round(statistics.median(self.first), 3) if self.first else None,
            "padding_share": round(getattr(self.contender, "padding", 0.0), 3),
            "peak_memory_mib": round(max(self.memory)),
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def closed_loop(contender: Any, works: Sequence[Any], clients: int) -> list[float]:
    """Latency of every chunk in seconds, for clients that wait for each answer before they ask again."""
    waiting = deque((work, time.perf_counter()) for work in works[:clients])
    coming = deque(works[clients:])
    latencies = []
    while waiting:
        batch = [waiting.popleft() for _ in range(min(contender.largest, len(waiting)))]
        contender.speak([work for work, _ in batch])
        now = time.perf_counter()
        latencies += [now - since for _, since in batch]
        for _ in range(min(len(batch), len(coming))):
            waiting.append((coming.popleft(), now))
    return latencies


def reset_peak() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mib() -> float:
    """Peak since ``reset_peak``: memory of tensors on a GPU, of the whole process on a CPU."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 2**20)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def device_name(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name())
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":", 1)[1].strip() for line in cpu.splitlines() if line.startswith("model name")), platform.machine())
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    columns = [key for key in rows[0] if not key.startswith("ratios")]
    lines = [columns, ["---"] * len(columns), *([str(row[key]) for key in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure, and describe what was measured and on what."""
    import torch

    from benchmarks import workload
    from benchmarks.contenders import Engine, Upstream
    from inference import threads
    from inference.loading import batch_size
    from settings import Settings

    device = options.device if options.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    together = Settings().max_batch_size or batch_size(device, threads.limit(options.threads))
    with tempfile.TemporaryDirectory() as folder:
        workload.write_model(Path(folder) / options.arch, workload.ARCHITECTURES[options.arch])
        synthesizer = workload.make_synthesizer(Path(folder) / options.arch, device, options.dtype)
        theirs = Upstream(synthesizer)
        pairs = [(Row("upstream", 1, theirs), Row("voxify", clients, Engine(synthesizer, together))) for clients in options.concurrency]
        for contender in (theirs, pairs[0][1].contender):
            contender.speak(workload.works(synthesizer, 4, steps=2))
        started = time.perf_counter()
        for number in range(options.rounds):
            spent = time.perf_counter() - started
            if number and spent * (number + 1) / number > 60 * options.minutes:
                break
            for i in range(len(pairs)):
                beside, row = pairs[(i + number) % len(pairs)]
                beside.measure(workload.works(synthesizer, len(workload.TEXTS), steps=options.steps))
                row.measure(workload.works(synthesizer, max(len(workload.TEXTS), row.concurrency), steps=options.steps))
                row.measure_first(steps=options.steps)
                print(f"round {number + 1}, {row.concurrency} clients: {row.throughput[-1] / beside.throughput[-1]:.2f}", file=sys.stderr)
            pairs[0][0].measure_first(steps=options.steps)
        upstream = Row("upstream", 1, theirs)
        for beside, _ in pairs:
            for name in ("throughput", "efficiency", "latencies", "first", "memory"):
                getattr(upstream, name).extend(getattr(beside, name))
    return {
        "device": device_name(device),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "architecture": options.arch,
        "type": str(synthesizer.pool.load(synthesizer.registry.default).sampler.dtype).removeprefix("torch."),
        "upstream_type": str(theirs.dtype).removeprefix("torch."),
        "steps": options.steps,
        "rounds": len(pairs[0][0].throughput),
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - started),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "rows": [upstream.summary(upstream), *(row.summary(beside) for beside, row in pairs)],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__)
    parser.add_argument("--arch", choices=("small", "base"), default="small")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto", help="of the engine")
    parser.add_argument("--steps", type=int, choices=(5, 7, 16, 32), default=16)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=5, help="no round is begun that would end later; the first always is")
    parser.add_argument("--threads", type=int, default=None, help="default: what the service takes")
    parser.add_argument("--quick", action="store_true", help="one round, two clients at most, 7 steps; nothing is written")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.concurrency, options.steps = 1, [1, 2], 7
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from inference import threads

    threads.configure_openmp()
    result = run(options)
    print(f"{result['device']}, {result['architecture']}, {result['steps']} steps, {result['rounds']} rounds, {result['seconds']} s")
    print(table(result["rows"]))
    if not options.quick:
        slug = "".join(c if c.isalnum() else "-" for c in result["device"].split(",")[0].lower())
        path = RESULTS / f"inference-{slug}-{options.arch}-{options.steps}-{result['type']}.json"
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
