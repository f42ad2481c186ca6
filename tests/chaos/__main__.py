"""``make chaos SEED=… KILLS=… JOBS=…``: the long form, and the report of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

from tests.chaos.house import TOPOLOGIES
from tests.chaos.report import page, summary
from tests.chaos.storm import Storm, weather


def main() -> int:
    """Returns 1 where something was lost or leaked, or took longer to recover than it may."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--at-once", type=int, default=16, help="jobs that the clients have under way together")
    parser.add_argument("--topology", choices=sorted(TOPOLOGIES), default="workers")
    parser.add_argument("--replicas", type=int, default=2, help="of the inference service")
    parser.add_argument("--minutes", type=float, default=600, help="after which nothing more is begun")
    parser.add_argument("--report", type=Path, default=Path("benchmarks/results"), help="folder for chaos-TOPOLOGY-SEED.json and .md")
    parser.add_argument("--logs", type=Path, help="folder to keep the logs of all processes in")
    asked = parser.parse_args()
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:7.0f} s  {what}", flush=True)

    storm = Storm(
        seed=asked.seed,
        kills=asked.kills,
        jobs=asked.jobs,
        people=asked.people,
        at_once=asked.at_once,
        voices=max(4, asked.jobs // 100),
        topology=asked.topology,
        replicas=asked.replicas,
        minutes=asked.minutes,
    )
    found = summary(asyncio.run(weather(storm, tell, asked.logs)))
    asked.report.mkdir(parents=True, exist_ok=True)
    base = asked.report / f"chaos-{asked.topology}-{asked.seed}"
    base.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
    base.with_suffix(".md").write_text(page(found))
    tell(f"the report is in {base}.json and .md")
    print(page(found))
    p99 = found["recovered"]["time_s"]["p99"]
    return 1 if found["problems"] or (p99 is not None and p99 > found["recovered"]["target_p99_s"]) else 0


if __name__ == "__main__":
    raise SystemExit(main())
