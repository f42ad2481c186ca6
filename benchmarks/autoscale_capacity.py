"""How many jobs a minute so many replicas carry: ``python -m benchmarks.autoscale_capacity``.

A projection by `autoscale_simulation`, no measurement: the rate is sought at which 95 of 100 jobs have ended within `TURNAROUND_S` and the
replicas are busy for `BUSIEST` of the time at most, with jobs that come at random at the same rate all the time. Lengths are those of
`autoscale_traffic`, a median of 8 s of sound. The service times are measured where a row does not say that they are assumed. Writes
benchmarks/results/autoscale-capacity.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.autoscale_model import RESULTS, ServiceTime, fitted
from benchmarks.autoscale_scaler import Rule
from benchmarks.autoscale_simulation import Plant, Simulation
from benchmarks.autoscale_traffic import Traffic, arrivals
from benchmarks.inference import table

TURNAROUND_S = 30.0
BUSIEST = 0.9
"""Nearer to 1 a queue grows from any small surprise, later than a run of some thousand jobs shows."""
JOBS = 6000
"""Of one run: enough that the 95th percentile is known to a few per cent."""
STEPS = 6
BUNDLED = RESULTS / "voice-voxify-small-en.json"
JOBS_A_USER_MINUTE = 0.5
"""An active user has a job every two minutes: an assumption, to make users of jobs."""


def bundled(path: Path = BUNDLED) -> ServiceTime:
    """The bundled voice on two quiet cores, from its evaluation; what a batch costs is within the time of its sound there."""
    measured: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    (quiet,) = (run for run in measured["runs"] if run["machine"] == "quiet")
    return ServiceTime(0.0, quiet["real_time_factor"], f"{path.name}: {measured['voice']} on {measured['device']}, {quiet['steps']} steps")


def turnaround_p95_s(plant: Plant, jobs_a_minute: float, seed: int) -> float:
    """At this rate, the same all the time."""
    traffic = Traffic(jobs=JOBS, seconds=JOBS / jobs_a_minute * 60, night=1.0, bursts=())
    outcome = Simulation(plant).run(arrivals(traffic, seed))
    return float(np.percentile(outcome.turnaround, 95)) if not outcome.unfinished else float("inf")


def most_jobs_a_minute(plant: Plant, seed: int = 1) -> float:
    """The rate that the plant carries: between nothing and what keeps its replicas as busy as they may be, by bisection."""
    traffic = Traffic()
    sound_s = traffic.median_s * float(np.exp(traffic.spread**2 / 2))
    low, high = 0.0, BUSIEST * 60 * plant.replicas.minimum / (sound_s * plant.service.a_second_s)
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if turnaround_p95_s(plant, middle, seed) <= TURNAROUND_S else (low, middle)
    return low


def plants() -> dict[str, Plant]:
    """One machine as `make up` has it, and replicas with more workers than they need."""
    one = Plant(Rule.fixed(1), Rule.fixed(1), bundled(), slots=2)
    many = replace(one, workers=Rule.fixed(20), slots=4, service=fitted())
    told = {"one machine of 2 cores, bundled voice": one}
    told |= {f"{count} x 2 cores": replace(many, replicas=Rule.fixed(count)) for count in (1, 2, 4, 8)}
    fast = replace(many, service=fitted().faster(10))
    return told | {f"{count} x a device ASSUMED ten times as fast": replace(fast, replicas=Rule.fixed(count)) for count in (1, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscale_capacity", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS / "autoscale-capacity.json")
    asked = parser.parse_args()
    rows = []
    for name, plant in plants().items():
        carried = most_jobs_a_minute(plant)
        row = {"replicas": name, "jobs_a_minute": round(carried, 1), "active_users": int(carried / JOBS_A_USER_MINUTE)}
        rows.append(row | {"sound_s_per_s_at_best": round(plant.replicas.minimum / plant.service.a_second_s, 1)})
        print(rows[-1], flush=True)
    print(table(rows))
    sources = sorted({plant.service.source for plant in plants().values()})
    told = {"benchmark": "capacity, a projection", "turnaround_p95_s": TURNAROUND_S, "service_times_of": sources, "rows": rows}
    asked.output.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
