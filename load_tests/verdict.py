"""Events to numbers, numbers and limits to a verdict."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from load_tests.events import ROUND, Event
from load_tests.profiles import Limit

LONG_ENOUGH_S = 500.0
"""Of looks at the servers, for memory to be judged: until then caches fill."""


@dataclass(frozen=True)
class Row:
    """All events of one name of one journey. Times are those of good answers; None where there was none."""

    journey: str
    name: str
    count: int
    failed: int
    refused: int
    p50_ms: float | None
    p95_ms: float | None
    most_ms: float | None


@dataclass(frozen=True)
class Verdict:
    """A limit and what was measured; None: nothing was, which is no pass."""

    limit: Limit
    measured: float | None
    allowed: float
    passed: bool


@dataclass(frozen=True)
class Server:
    """What the servers took at a moment: resident memory of both tiers' own processes, and shares of one core since the look before."""

    at: float
    api_mb: float
    inference_mb: float
    api_cores: float
    inference_cores: float
    load_average: float


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that `share` (0 to 1) of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def rows(events: Sequence[Event]) -> list[Row]:
    """For each journey and name, in alphabetical order."""
    grouped: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        grouped[event.journey, event.name].append(event)
    return [_row(journey, name, of) for (journey, name), of in sorted(grouped.items())]


def _row(journey: str, name: str, events: Sequence[Event]) -> Row:
    outcomes = Counter(event.outcome for event in events)
    good = [event.ms for event in events if event.outcome == "ok"]
    return Row(
        journey,
        name,
        len(events),
        outcomes["failed"],
        outcomes["refused"],
        percentile(good, 0.5),
        percentile(good, 0.95),
        max(good, default=None),
    )


def judge(limits: Sequence[Limit], events: Sequence[Event], servers: Sequence[Server] = (), *, patience: float = 1.0) -> list[Verdict]:
    """Each limit against what happened. `patience` multiplies the times, for a machine that is known to be slow or busy.

    Limits of memory are left out where the servers were not looked at for `LONG_ENOUGH_S`.
    """
    told = {(row.journey, row.name): row for row in rows(events)}
    memory = {"API": [each.api_mb for each in servers], "inference": [each.inference_mb for each in servers]}
    verdicts = []
    for limit in limits:
        if limit.measure != "memory":
            verdicts.append(_judged(limit, told, patience))
        elif servers and servers[-1].at - servers[0].at >= LONG_ENOUGH_S:
            ratio = growth(memory[limit.journey])
            verdicts.append(Verdict(limit, ratio, limit.value, ratio <= limit.value))
    return verdicts


def growth(values: Sequence[float]) -> float:
    """How many times the second fifth of at least five values the last one is, median by median."""
    fifth = len(values) // 5
    return statistics.median(values[-fifth:]) / statistics.median(values[fifth : 2 * fifth])


def _judged(limit: Limit, told: dict[tuple[str, str], Row], patience: float) -> Verdict:
    if limit.measure == "rounds":
        row = told.get((limit.journey, ROUND))
        walked = row.count - row.failed if row else 0
        return Verdict(limit, walked, limit.value, walked >= limit.value)
    if limit.measure == "p95_ms":
        row = told.get((limit.journey, limit.name))
        allowed = limit.value * patience
        return Verdict(limit, row.p95_ms if row else None, allowed, row is not None and row.p95_ms is not None and row.p95_ms <= allowed)
    mine = [row for (journey, _), row in told.items() if journey == limit.journey]
    bad = sum(row.failed if limit.measure == "errors" else row.refused for row in mine)
    asked = sum(row.count for row in mine)
    share = bad / asked if asked else None
    return Verdict(limit, share, limit.value, share is not None and share <= limit.value)


def failures(events: Sequence[Event], most: int = 10) -> list[tuple[str, int]]:
    """The reasons of failures, the most frequent first."""
    return Counter(f"{event.journey}: {event.name}: {event.why}" for event in events if event.outcome == "failed").most_common(most)
