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


def waiting(
    place: Place,
    running: Sequence[Spent],
    seconds_a_unit: float | None,
    slots: int,
    now: datetime,
    *,
    per_user: int = 0,
    at_once: int = 0,
) -> Standing:
    """Of a job that waits: it begins once a slot is free for it and, where there are bounds, there is room below them.

    Args:
        slots: how many jobs are worked on at once.
        per_user: and of one user, whose own jobs then hold it up however many slots are free; 0: no bound.
        at_once: and whatever the slots; 0: no bound.
    """
    if seconds_a_unit is None:
        return Standing(place.position)
    slots = min(slots, at_once or slots)
    left = [(job.user_id, remaining_s(job, seconds_a_unit, now) or 0.0) for job in running]
    begins = 0.0
    if per_user:
        own = [each for user_id, each in left if user_id == place.user_id]
        begins = _room_in_s(own, per_user, per_user, place.own * seconds_a_unit)
    users = place.idle + len({user_id for user_id, _ in left})
    if not per_user or users * per_user > slots:  # else nobody is in anybody's way
        begins = max(begins, _room_in_s([each for _, each in left], slots, at_once, place.ahead * seconds_a_unit))
    return Standing(place.position, round(begins + place.size * seconds_a_unit, 1))


def _room_in_s(remaining: list[float], slots: int, bound: int, ahead_s: float) -> float:
    """As `free_in_s`. More may run than slots and bounds would have, for nobody holds up who speaks at once: they are slots of their own,
    unless the `bound` counts them, where the first ones to end make no room."""
    if bound:
        remaining = sorted(remaining)[-bound:]
    return free_in_s(remaining, max(1, slots, len(remaining)), ahead_s)
