"""What came of a storm: as JSON to be kept, and as a page to be read."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from tests.chaos.checks import CHECKS, SYNTHESIS, recoveries
from tests.chaos.house import LEASE_S
from tests.chaos.storm import Aftermath

RECOVERY_TARGET_S = LEASE_S + 10


def summary(after: Aftermath) -> dict[str, Any]:
    """Everything that the report says, ready for JSON. Times are in seconds."""
    ledger, seen = after.ledger, after.evidence
    jobs = {row.id: row for row in seen.rows.values() if row.kind == SYNTHESIS}
    times = [recovery for steps in seen.steps.values() for recovery in recoveries(steps, LEASE_S)]
    lost = {job_id for job_id, steps in seen.steps.items() if any(step.lease_ran_out for step in steps)}
    others = [heard.nearest_other for heard in seen.heard.values() if heard.nearest_other is not None]
    down: dict[str, list[float]] = defaultdict(list)
    for struck in after.struck:
        down[f"{struck.fault.victim} {struck.fault.blow}"].append(struck.down_s)
    return {
        "seed": after.storm.seed,
        "topology": after.topology,
        "lease_s": LEASE_S,
        "storm_s": round(after.storm_s, 1),
        "settle_s": round(after.settle_s, 1),
        "kills": _count(after, "kill"),
        "stops": _count(after, "stop"),
        "cuts": _count(after, "cut"),
        "down_s": {name: _spread(of) for name, of in sorted(down.items())},
        "starts_that_failed": after.failed_starts,
        "jobs": {
            "wanted": len(ledger.wishes),
            "accepted": sum(wish.job_id is not None for wish in ledger.wishes),
            "posts": sum(wish.posts for wish in ledger.wishes),
            **Counter(row.status for row in jobs.values()),
            "deleted": sum(steps[-1].became is None for steps in seen.steps.values()),
            "tried again by their owners": sum(wish.retries.granted for wish in ledger.wishes),
            "cancelled by their owners": sum(wish.cancels.granted for wish in ledger.wishes),
            "errors": dict(Counter(row.error_code for row in seen.rows.values() if row.error_code)),
        },
        "recovered": {
            "leases that ran out": len(times),
            "jobs": len(lost),
            "jobs completed after all": sum(job_id in jobs and jobs[job_id].status == "completed" for job_id in lost),
            "taken_back_s": _spread([time.taken_back for time in times]),
            "time_s": _spread([time.begun for time in times]),
            "target_p99_s": RECOVERY_TARGET_S,
        },
        "voices made meanwhile": dict(Counter(wish.status or "not accepted" for wish in ledger.voices)),
        "streams": {"followed": sum(wish.streams for wish in ledger.wishes), "ended": sum(wish.streams_ended for wish in ledger.wishes)},
        "downloads": sum(len(wish.downloads) for wish in ledger.wishes),
        "sounds": {
            "compared": len(seen.heard),
            "largest difference": max((heard.difference for heard in seen.heard.values()), default=0.0),
            "compared with another person's voice": len(others),
            "smallest difference to that": min(others, default=None),
        },
        "orphans removed": after.orphans,
        "answers": dict(sorted(ledger.answers.items())),
        "processes": {
            each.name: {"files": each.files, "at start": each.files_at_start, "faults since": each.faults_survived}
            for each in seen.survivors
        },
        "checks": [check.__name__ for check in CHECKS],
        "problems": [str(problem) for problem in after.problems],
    }


def page(found: dict[str, Any]) -> str:
    """The summary in Markdown."""
    jobs, recovered, sounds = found["jobs"], found["recovered"], found["sounds"]
    times = recovered["time_s"]
    verdict = "Nothing was lost." if not found["problems"] else f"{len(found['problems'])} problems."
    lines = [
        f"# Faults, seed {found['seed']}",
        "",
        f"**{verdict}** {found['topology']}; lease {found['lease_s']:g} s; {found['storm_s']:.0f} s of faults.",
        "",
        "| what befell it | times |",
        "|---|---|",
        *(f"| {name} killed (SIGKILL) and started again | {times_} |" for name, times_ in found["kills"].items()),
        *(f"| {name} stopped (SIGSTOP) for a while | {times_} |" for name, times_ in found["stops"].items()),
        *(f"| {name} cut off | {times_} |" for name, times_ in found["cuts"].items()),
        f"| **kills in all** | **{sum(found['kills'].values())}** |",
        "",
        "| jobs | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in jobs.items() if name != "errors"),
        *(f"| failed or waiting with {code} | {times_} |" for code, times_ in jobs["errors"].items()),
        "",
        "| recovery | |",
        "|---|---|",
        f"| leases that ran out and were taken back | {recovered['leases that ran out']} |",
        f"| jobs that this befell | {recovered['jobs']} |",
        f"| of these completed after all | {recovered['jobs completed after all']} |",
        f"| from the last sign of life until it was taken back: p50, p99, most | {_said(recovered['taken_back_s'])} |",
        f"| and until it was begun again: p50, p99, most | {_said(times)} |",
        f"| wanted: p99 | at most {recovered['target_p99_s']:g} s |",
        "",
        "| sound | |",
        "|---|---|",
        f"| files held against an undisturbed synthesis of the same text, voice and seed | {sounds['compared']} |",
        f"| largest difference (of full scale) | {sounds['largest difference']:.2g} |",
        f"| the same text and seed in somebody else's voice: smallest difference | {_number(sounds['smallest difference to that'])} |",
        "",
        f"Event streams: {found['streams']['followed']} followed, {found['streams']['ended']} came to their end. "
        f"Voices cloned meanwhile: {found['voices made meanwhile']}. Orphaned objects swept: {found['orphans removed']}.",
        "",
        "| out of service, by fault | times | p50, p99, most |",
        "|---|---|---|",
        *(f"| {name} | {of['count']} | {_said(of)} |" for name, of in found["down_s"].items()),
        "",
        "| process | files at its start | files now | faults since |",
        "|---|---|---|---|",
        *(f"| {name} | {of['at start']} | {of['files']} | {of['faults since']} |" for name, of in found["processes"].items()),
        "",
        "What clients were answered: " + ", ".join(f"{answer} × {times_}" for answer, times_ in found["answers"].items()) + ".",
    ]
    if found["problems"]:
        lines += ["", "## Problems", "", *(f"- {problem}" for problem in found["problems"])]
    return "\n".join(lines) + "\n"


def _count(after: Aftermath, blow: str) -> dict[str, int]:
    return dict(sorted(Counter(struck.fault.victim for struck in after.struck if struck.fault.blow == blow).items()))


def _spread(values: list[float]) -> dict[str, float | int | None]:
    if not values:
        return {"count": 0, "p50": None, "p99": None, "max": None}
    p50, p99 = (round(float(np.percentile(values, at)), 2) for at in (50, 99))
    return {"count": len(values), "p50": p50, "p99": p99, "max": round(max(values), 2)}


def _said(spread: dict[str, Any]) -> str:
    return ", ".join(f"{spread[name]:.1f} s" if spread[name] is not None else "none" for name in ("p50", "p99", "max"))


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2g}"
