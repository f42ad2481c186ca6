"""How long jobs still take, reckoned from what the newest ones took. Pure functions; sizes are those of `store.repositories.order`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from store.repositories.order import Place, Spent

TELLING_PROGRESS = 10.0
"""From this percentage on, a job's own pace says more than that of the others."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What can be said of a job that has not ended: its place in the queue, if it waits, and the seconds until it is done."""

    queue_position: int | None = None
    eta_seconds: float | None = None


ENDED = Standing()
"""There is nothing to be said of a job that has ended."""


def pace(recent: Sequence[Spent], running: Sequence[Spent], now: datetime) -> float | None:
    """Seconds of work for a unit of size; None while nothing has been measured.

    What runs counts by the part of it that is done: jobs that share a processor are slower together than the last ones were alone.
    """
    worked = [(job.size, (job.ended - job.began).total_seconds()) for job in recent if job.ended is not None]
    worked += [(job.size * job.progress / 100, (now - job.began).total_seconds()) for job in running if job.progress >= TELLING_PROGRESS]
    size = sum(size for size, _ in worked)
    return sum(seconds for _, seconds in worked) / size if size > 0 else None


def remaining_s(job: Spent, seconds_a_unit: float | None, now: datetime) -> float | None:
    """Seconds that a job under way still takes; None where nothing is known."""
    elapsed = max(0.0, (now - job.began).total_seconds())
    if job.progress >= TELLING_PROGRESS:
        return elapsed * (100 - job.progress) / job.progress
    if seconds_a_unit is None:
        return None
    expected = seconds_a_unit * job.size
    return max(expected - elapsed, expected / 10)


def free_in_s(remaining: Sequence[float], slots: int, ahead_s: float) -> float:
    """When a slot begins with a job before which `ahead_s` seconds of work wait: the time T by which the slots, each from when it is
    free, can have done that work, the sum over the slots of max(0, T - free) = ahead_s.

    Args:
        remaining: seconds until each slot that works is free; the others are free now.
        slots: how many there are, at least 1 and at least as many as work.
    """
    free = sorted([*remaining, *([0.0] * (slots - len(remaining)))])
    total = 0.0
    for count, at in enumerate(free, start=1):
        total += at
        level = (ahead_s + total) / count
        if count == len(free) or level <= free[count]:
            return level
    raise ValueError("there must be a slot")


def waiting(place: Place, running: Sequence[Spent], seconds_a_unit: float | None, slots: int, now: datetime) -> Standing:
    """Of a job that waits. `slots` is how many jobs are worked on at once."""
    if seconds_a_unit is None:
        return Standing(place.position)
    left = [remaining_s(job, seconds_a_unit, now) or 0.0 for job in running]
    begins = free_in_s(left, max(1, slots, len(left)), place.ahead * seconds_a_unit)
    return Standing(place.position, round(begins + place.size * seconds_a_unit, 1))
