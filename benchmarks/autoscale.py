"""Days of traffic against the rules by which the chart scales: ``python -m benchmarks.autoscale``.

A simulation, no measurement: jobs come as `autoscale_traffic` says, replicas are as fast as `autoscale_model` has fitted to a committed
measurement, and workers and replicas come and go by the rules in `deploy/kubernetes` (`autoscale_scaler`). Told are the hours of replicas,
how long jobs waited, and what slow starts cost: the median of several days, each another seed, and the worst of them. The rules were chosen
on the days 101 and 102, which are therefore not among those that are told. The same seeds give the same numbers. Writes
benchmarks/results/autoscale.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.autoscale_model import RESULTS, ServiceTime, fitted
from benchmarks.autoscale_scaler import AGE, REQUESTS, Rule, rule_of
from benchmarks.autoscale_simulation import Outcome, Plant, Simulation
from benchmarks.autoscale_traffic import Arrival, Burst, Traffic, arrivals
from benchmarks.inference import table

WORKERS, REPLICAS = "voxify-worker-speech", "voxify-inference"
STARTS_S = (5.0, 60.0, 300.0)
"""From the wish for a replica until it works: about what the process alone needs, with an image and models that are there, and without."""
BY_AGE = Rule(2, 20, {AGE: 30}, down_window_s=300)
BY_REQUESTS = Rule(1, 8, {REQUESTS: 8}, down_window_s=600)
"""Simpler rules, to see what each part of the chart's is good for: workers by the age of the oldest waiting job, replicas by requests."""
FASTER = 10.0

Days = Mapping[int, Sequence[Arrival]]


def scenarios(service: ServiceTime) -> dict[str, Plant]:
    """What is compared: fixed numbers, the chart with slow and fast starts, and the chart with one rule changed."""
    workers, replicas = rule_of(WORKERS), rule_of(REPLICAS)
    chart = Plant(workers, replicas, service)
    plants = {
        "always the most": replace(chart, workers=Rule.fixed(workers.maximum), replicas=Rule.fixed(replicas.maximum)),
        "always half": replace(chart, workers=Rule.fixed(workers.maximum), replicas=Rule.fixed(max(1, replicas.maximum // 2))),
    }
    plants |= {f"chart, start {start:g} s": replace(chart, replica_start_s=start) for start in STARTS_S}
    plants["workers by age"] = replace(chart, workers=BY_AGE)
    plants["replicas by requests"] = replace(chart, replicas=BY_REQUESTS)
    plants["both"] = replace(chart, workers=BY_AGE, replicas=BY_REQUESTS)
    plants["chart, always the most workers"] = replace(chart, workers=Rule.fixed(workers.maximum))
    return plants


def other_days(service: ServiceTime) -> dict[str, tuple[Traffic, ServiceTime]]:
    """Other traffic than that which the rules were chosen for."""
    day = Traffic()
    fewer = replace(day, bursts=[Burst(burst.at_s, burst.seconds, burst.jobs / 2) for burst in day.bursts])
    return {
        "without bursts": (replace(day, bursts=()), service),
        "a tenth of the jobs": (traffic_for(day.jobs / 10, 1.0), service),
        "half as large bursts": (fewer, service),
        "the same all day": (replace(day, night=1.0), service),
        f"device ASSUMED {FASTER:g} times as fast": (traffic_for(day.jobs, FASTER), service.faster(FASTER)),
    }


def summary(outcome: Outcome) -> dict[str, Any]:
    """What came of one day; seconds unless the name says hours."""

    def share(values: Sequence[float], percent: float) -> float:
        return round(float(np.percentile(values, percent)), 1)

    return {
        "replica_hours": round(outcome.replica_s / 3600, 1),
        "worker_hours": round(outcome.worker_s / 3600, 1),
        "busy": round(outcome.busy_s / outcome.replica_s, 3),
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
        "unfinished": outcome.unfinished,
    }


def simulate(plant: Plant, days: Days) -> dict[str, Any]:
    """The median of the days; of the times and the hours the worst day too."""
    told = [summary(Simulation(plant).run(jobs)) for jobs in days.values()]
    row: dict[str, Any] = {name: round(median(each[name] for each in told), 3) for name in told[0]}
    worst = ("replica_hours", "queue_age_p95_s", "waited_p95_s", "turnaround_p95_s")
    return row | {"worst_day": {name: max(each[name] for each in told) for name in worst}}


def traffic_for(jobs: float, faster: float) -> Traffic:
    """The default day with so many jobs, for a device that is so many times as fast."""
    day = Traffic()
    factor = faster * jobs / day.jobs
    return replace(day, jobs=day.jobs * factor, bursts=[Burst(b.at_s, b.seconds, b.jobs * factor) for b in day.bursts])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscale", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="a day each")
    parser.add_argument("--output", type=Path, default=RESULTS / "autoscale.json")
    asked = parser.parse_args()
    began = time.monotonic()
    service = fitted()
    days = {seed: arrivals(Traffic(), seed) for seed in asked.seeds}
    rows = [{"scenario": name} | simulate(plant, days) for name, plant in scenarios(service).items()]
    others = []
    for what, (traffic, fast) in other_days(service).items():
        # One day of ten times as many jobs tells as much as several days.
        seeds = asked.seeds if traffic.jobs <= Traffic().jobs else asked.seeds[:1]
        other = {seed: arrivals(traffic, seed) for seed in seeds}
        plants = scenarios(fast)
        others += [{"day": what, "scenario": name} | simulate(plants[name], other) for name in ("chart, start 60 s", "both")]
    columns = ["scenario", "replica_hours", "worker_hours", "busy", "replicas_started", "queue_age_p95_s", "waited_p95_s"]
    columns += ["turnaround_p50_s", "turnaround_p95_s", "refused_chunks", "unfinished"]
    print(table([{column: row[column] for column in columns} for row in rows]))
    print(table([{column: row[column] for column in ["day", *columns]} for row in others]))
    sound_s = median(sum(sum(job.chunks) for job in jobs) for jobs in days.values())
    result = {
        "benchmark": "autoscale, a simulation",
        "seeds": asked.seeds,
        "jobs": median(len(jobs) for jobs in days.values()),
        "sound_hours": round(sound_s / 3600, 1),
        "device_hours": round(sound_s * service.a_second_s / 3600, 1),
        "batch_s": round(service.a_batch_s, 4),
        "second_of_sound_s": round(service.a_second_s, 4),
        "service_time_of": service.source,
        "rows": rows,
        "other_days": others,
    }
    asked.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"\n{len(asked.seeds)} days of about {result['jobs']} jobs, simulated in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
