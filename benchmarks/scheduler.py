"""Does a batch that chunks join and leave between steps beat batch by batch? ``python -m benchmarks.scheduler``.

Passages of one to four chunks of `workload.TEXTS` come at random, at shares of what the engine carries batch by batch. The contenders
(`schedulers`) get the same arrivals and take turns, in one process, with the bundled voice:

- ``batch by batch``: as the service is, BentoML's batches of up to so many chunks, all answered when the last is ready;
- ``pass by pass``: what shares a forward pass is answered when that is done, and the next is chosen among all that wait;
- ``step by step``: the prototype of `step_level`, with so many frames in the running batch.

Computing is real, the waiting for the next arrival is skipped. With `--model` nothing is computed: step times fitted to the last
measurement give longer runs of the same device, and step times that are ASSUMED, and named so, those of a GPU, where a step costs the
same until it is full. Writes benchmarks/results/scheduler-cpu.json or scheduler-model.json.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import gc
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.inference import RESULTS, device_name, table
from benchmarks.scheduler_model import ModelDevice, ModelStepDevice, StepTime
from benchmarks.schedulers import BatchByBatch, Chunk, PassByPass, Scheduler, Service, StepByStep, arrivals, serve, side_by_side

MEASURED = RESULTS / "scheduler-cpu.json"
LOADS = (0.5, 0.8, 1.0, 1.3)
STEPS = (7, 16)
SEED = 1
WIDE = 8192
"""Frames of a pass in which a GPU may carry padding along."""
LENGTHS = ((491, 2.22), (772, 5.22), (362, 0.84), (774, 5.24))
"""Of a calculated device: frames with the reference of 3 s, and seconds of sound, of the workload's texts with the bundled voice."""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every contender at every load, really computing."""
    import torch

    from benchmarks.scheduler_engines import EngineDevice, PrototypeDevice, bundled, chunk, mixing, step_time
    from inference import threads

    threads.limit()
    synthesizer = bundled()
    budget = synthesizer.pool.load(synthesizer.registry.default).sampler.max_batch_frames
    kinds = {(n, s): chunk(synthesizer, n, s) for n in range(4) for s in STEPS}

    def make(number: int, steps: int) -> Chunk:
        return copy.copy(kinds[number % 4, steps])

    prototypes: list[PrototypeDevice] = []

    def prototype() -> PrototypeDevice:
        prototypes.append(PrototypeDevice(synthesizer))
        return prototypes[-1]

    contenders: dict[str, Callable[[], Scheduler]] = {
        "batch by batch, 16": lambda: BatchByBatch(EngineDevice(synthesizer), 16),
        "batch by batch, 2": lambda: BatchByBatch(EngineDevice(synthesizer), 2),
        f"step by step, {budget} frames": lambda: StepByStep(prototype(), budget),
    }
    warm = [make(number, steps) for number in range(4) for steps in STEPS]
    for contender in contenders.values():
        serve(contender(), [copy.copy(each) for each in warm])
    rows, capacities = [], []
    prototypes.clear()
    for load in options.loads:
        capacities.append(len(warm) / EngineDevice(synthesizer).run(warm))
        came = arrivals(make, options.chunks, chunks_a_s=load * capacities[-1], steps=STEPS, seed=SEED)
        services = {name: Service(contender(), [copy.copy(each) for each in came]) for name, contender in contenders.items()}
        gc.collect()
        quiet = os.getloadavg()[0]
        side_by_side(list(services.values()))
        for name, service in services.items():
            seen = service.told()
            sound_s = seen["sound_s_per_busy_s"] * service.busy
            row = {"contender": name, "load": load, **seen, "sound_s_per_processor_s": round(sound_s / service.processor, 3)}
            rows.append(row | {"load_average": round(quiet, 1)})
            print(json.dumps(rows[-1]), flush=True)
    return {
        "device": device_name("cpu"),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "voice": synthesizer.registry.default,
        "type": str(synthesizer.pool.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "steps": STEPS,
        "capacity_chunks_a_s": [round(capacity, 3) for capacity in capacities],
        "step_time": step_time(prototypes, budget, mixing(synthesizer)),
        "rows": rows,
    }


def h200(floor_s: float) -> StepTime:
    """ASSUMED, on no card measured: F5TTS_v1_Base at 1 GFLOP a frame and step with guidance, at 40 % of 790 TFLOP/s."""
    return StepTime(floor_s, 1e9 / (0.4 * 790e12), 0.002, 0.01, 1.05, 32_768, f"ASSUMED: H200, full size, {1000 * floor_s:g} ms a step")


def simulate(timing: StepTime, *, chunks: int, loads: Sequence[float] = LOADS) -> dict[str, Any]:
    """Every contender at every load, calculated."""

    def make(number: int, steps: int) -> Chunk:
        frames, sound_s = LENGTHS[number % 4]
        return Chunk(at=0.0, first=True, frames=frames, steps=steps, sound_s=sound_s)

    contenders: dict[str, Callable[[], Scheduler]] = {
        "batch by batch, 16": lambda: BatchByBatch(ModelDevice(timing), 16),
        "pass by pass": lambda: PassByPass(ModelDevice(timing), timing.budget),
        f"step by step, {timing.budget} frames": lambda: StepByStep(ModelStepDevice(timing), timing.budget),
    }
    if timing.budget < WIDE:
        contenders["batch by batch, 2"] = lambda: BatchByBatch(ModelDevice(timing), 2)
    else:
        contenders |= {
            "batch by batch, 64": lambda: BatchByBatch(ModelDevice(timing), 64),
            "batch by batch, 16, any padding": lambda: BatchByBatch(ModelDevice(timing, max_padding=1.0), 16),
            "pass by pass, any padding": lambda: PassByPass(ModelDevice(timing, max_padding=1.0), WIDE, max_padding=1.0),
            f"step by step, {WIDE} frames, any padding": lambda: StepByStep(ModelStepDevice(timing, max_padding=1.0), WIDE),
        }
    full = ModelDevice(timing)
    sixteen = [make(number, steps) for number in range(8) for steps in STEPS]
    capacity = len(sixteen) / full.run(sixteen)
    rows = []
    for load in loads:
        came = arrivals(make, chunks, chunks_a_s=load * capacity, steps=STEPS, seed=SEED)
        rows += [
            {"contender": name, "load": load, **serve(contender(), [copy.copy(each) for each in came])}
            for name, contender in contenders.items()
        ]
    return {"step_time": vars(timing), "capacity_chunks_a_s": round(capacity, 3), "rows": rows}


def model(options: argparse.Namespace) -> dict[str, Any]:
    """The device of the last measurement, and GPUs by assumption."""
    timings = [h200(floor_s) for floor_s in (0.002, 0.008, 0.03)]
    if options.measured.is_file():
        measured = json.loads(options.measured.read_text(encoding="utf-8"))
        timings.insert(0, StepTime(**measured["step_time"]))
    return {"chunks": options.chunks, "steps": STEPS, "devices": [simulate(timing, chunks=options.chunks) for timing in timings]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduler", description=__doc__)
    parser.add_argument("--model", action="store_true", help="calculate instead of computing")
    parser.add_argument("--chunks", type=int, default=None, help="of each run; default: 80, or 5000 with --model")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS)
    parser.add_argument("--measured", type=Path, default=MEASURED, help="the measurement that --model takes its step times from")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)
    options.chunks = options.chunks or (5000 if options.model else 80)
    output = options.output or (RESULTS / "scheduler-model.json" if options.model else MEASURED)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from inference import threads

    threads.configure_openmp()
    result = model(options) if options.model else measure(options)
    for device in result.get("devices", [result]):
        print(f"\n{device['step_time']['source']}: {device['capacity_chunks_a_s']} chunks a second\n{table(device['rows'])}")
    output.write_text(json.dumps({"benchmark": "scheduler", **result}, indent=2) + "\n", encoding="utf-8")
    print(f"written to {output}")


if __name__ == "__main__":
    main()
