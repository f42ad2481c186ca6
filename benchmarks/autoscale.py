"""A day of traffic against the rules by which the chart scales: ``python -m benchmarks.autoscale``.

A simulation, no measurement: jobs come as `autoscale_traffic` says, replicas are as fast as `autoscale_model` has fitted to a committed
measurement, and workers and replicas come and go by the rules in `deploy/kubernetes` (`autoscale_scaler`). Told are the hours of replicas,
how long jobs waited, and what slow starts cost. `--faster 20` is a device that is assumed to be twenty times as fast, with as many times
more jobs. The same seed gives the same numbers. Writes benchmarks/results/autoscale.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.autoscale_model import RESULTS, ServiceTime, fitted
from benchmarks.autoscale_scaler import Rule, rule_of
from benchmarks.autoscale_simulation import Outcome, Plant, Simulation
from benchmarks.autoscale_traffic import Arrival, Burst, Traffic, arrivals
from benchmarks.inference import table

WORKERS, REPLICAS = "voxify-worker-speech", "voxify-inference"
STARTS_S = (5.0, 60.0, 300.0)
"""From the wish for a replica until it works: about what the process alone needs, with an image and models that are there, and without."""


def scenarios(service: ServiceTime) -> dict[str, Plant]:
    """What is compared: fixed numbers, the chart with slow and fast starts, and the chart with one rule changed."""
    workers, replicas = rule_of(WORKERS), rule_of(REPLICAS)
    chart = Plant(workers, replicas, service)
    plants = {
        "always the most": replace(chart, workers=Rule.fixed(workers.maximum), replicas=Rule.fixed(replicas.maximum)),
        "always half": replace(chart, workers=Rule.fixed(workers.maximum), replicas=Rule.fixed(max(1, replicas.maximum // 2))),
    }
    plants |= {f"chart, start {start:g} s": replace(chart, replica_start_s=start) for start in STARTS_S}
    plants["chart, always the most workers"] = replace(chart, workers=Rule.fixed(workers.maximum))
    plants["chart, five workers at least"] = replace(chart, workers=replace(workers, minimum=5))
    plants["chart, two replicas at least"] = replace(chart, replicas=replace(replicas, minimum=2))
    plants["chart, 4 requests a replica"] = replace(chart, replicas=replace(replicas, target=4))
    return plants


def summary(name: str, outcome: Outcome) -> dict[str, Any]:
    """One row of the table; seconds unless the name says hours."""

    def share(values: Sequence[float], percent: float) -> float | None:
        return round(float(np.percentile(values, percent)), 1) if values else None

    return {
        "scenario": name,
        "replica_hours": round(outcome.replica_s / 3600, 1),
        "worker_hours": round(outcome.worker_s / 3600, 1),
        "busy": round(outcome.busy_s / outcome.replica_s, 3) if outcome.replica_s else None,
        "most_replicas": outcome.most_replicas,
        "most_workers": outcome.most_workers,
        "replicas_started": outcome.started,
        "queue_age_p95_s": share(outcome.queue_age, 95),
        "queue_age_most_s": share(outcome.queue_age, 100),
        "waited_p95_s": share(outcome.waited, 95),
        "turnaround_p50_s": share(outcome.turnaround, 50),
        "turnaround_p95_s": share(outcome.turnaround, 95),
        "turnaround_p99_s": share(outcome.turnaround, 99),
        "refused_chunks": outcome.refused,
        "jobs": outcome.arrived,
        "unfinished": outcome.unfinished,
    }


def simulate(plants: dict[str, Plant], jobs: Sequence[Arrival]) -> list[dict[str, Any]]:
    return [summary(name, Simulation(plant).run(jobs)) for name, plant in plants.items()]


def traffic_for(jobs: float, faster: float) -> Traffic:
    """The default day with so many jobs, for a device that is so many times as fast."""
    day = Traffic()
    factor = faster * jobs / day.jobs
    return replace(day, jobs=day.jobs * factor, bursts=[Burst(b.at_s, b.seconds, b.jobs * factor) for b in day.bursts])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscale", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=float, default=Traffic().jobs, help="expected in the day, for the device that was measured")
    parser.add_argument("--faster", type=float, default=1.0, help="assume a device so many times as fast, and as many times more jobs")
    parser.add_argument("--output", type=Path, default=RESULTS / "autoscale.json")
    asked = parser.parse_args()
    began = time.monotonic()
    service, traffic = fitted().faster(asked.faster), traffic_for(asked.jobs, asked.faster)
    jobs = arrivals(traffic, asked.seed)
    sound_s = sum(sum(job.chunks) for job in jobs)
    rows = simulate(scenarios(service), jobs)
    columns = ["scenario", "replica_hours", "worker_hours", "busy", "queue_age_p95_s", "queue_age_most_s", "turnaround_p50_s"]
    columns += ["turnaround_p95_s", "refused_chunks", "unfinished"]
    print(table([{column: row[column] for column in columns} for row in rows]))
    result = {
        "benchmark": "autoscale, a simulation",
        "seed": asked.seed,
        "jobs": len(jobs),
        "sound_hours": round(sound_s / 3600, 1),
        "device_hours": round(sound_s * service.a_second_s / 3600, 1),
        "batch_s": round(service.a_batch_s, 4),
        "second_of_sound_s": round(service.a_second_s, 4),
        "service_time_of": service.source,
        "rows": rows,
    }
    asked.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"\n{len(jobs)} jobs, {result['sound_hours']} hours of sound, simulated in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
