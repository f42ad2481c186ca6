"""How long a job will take: the arithmetic, and beside a queue that is worked off."""

from __future__ import annotations

import heapq
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.jobs.estimates import Standing, free_in_s, pace, remaining_s, waiting
from store.clock import utcnow
from store.repositories.order import Place, Spent

NOW = utcnow()
SECONDS = st.floats(0, 1000)


def spent(size: float, seconds: float, progress: float = 0, *, done: bool = False) -> Spent:
    began = NOW - timedelta(seconds=seconds)
    return Spent(size, began, progress, NOW if done else None)


def test_the_pace_is_that_of_all_the_work_together() -> None:
    done = [spent(100, 10, done=True), spent(300, 20, done=True)]
    assert pace(done, [], NOW) == pytest.approx(30 / 400)
    assert pace(done, [spent(200, 90, 50)], NOW) == pytest.approx(120 / 500), "what runs tells how it is now"
    assert pace(done, [spent(200, 90, 5)], NOW) == pytest.approx(30 / 400), "once it is under way"
    assert pace([], [], NOW) is None
    assert pace([], [spent(100, 10)], NOW) is None


def test_what_is_left_of_a_running_job() -> None:
    assert remaining_s(spent(100, 4), 0.1, NOW) == pytest.approx(6)
    assert remaining_s(spent(100, 500), 0.1, NOW) == pytest.approx(1), "longer than expected: soon"
    assert remaining_s(spent(100, 30, 75), 0.1, NOW) == pytest.approx(10), "its own progress says more"
    assert remaining_s(spent(100, 30, 75), None, NOW) == pytest.approx(10)
    assert remaining_s(spent(100, 3, 5), None, NOW) is None


@given(st.lists(SECONDS, max_size=5), st.integers(0, 5), SECONDS)
def test_the_slots_do_the_work_ahead_until_one_is_free(remaining: list[float], more: int, ahead: float) -> None:
    slots = max(1, len(remaining) + more)
    at = free_in_s(remaining, slots, ahead)
    free = [*remaining, *([0.0] * (slots - len(remaining)))]
    assert sum(max(0.0, at - each) for each in free) == pytest.approx(ahead, abs=1e-6)
    assert at >= min(free)


@given(st.integers(1, 4), st.lists(st.floats(1, 100), min_size=5, max_size=40), st.lists(st.floats(1, 100), max_size=4))
def test_the_estimate_is_that_of_slots_that_take_jobs_in_turn(slots: int, sizes: list[float], under_way: list[float]) -> None:
    """Beside the exact schedule, in which jobs cannot be parted: apart by no more than the longest job."""
    running = [spent(size, 0) for size in under_way[:slots]]
    free = [job.size for job in running] + [0.0] * (slots - len(running))
    heapq.heapify(free)
    for position, size in enumerate(sizes, start=1):
        begins = heapq.heappop(free)
        heapq.heappush(free, begins + size)
        standing = waiting(Place(position, sum(sizes[: position - 1]), size), running, 1.0, slots, NOW)
        assert standing.queue_position == position
        assert standing.eta_seconds is not None
        assert abs(standing.eta_seconds - (begins + size)) <= max(sizes + under_way) + 0.1


def test_nothing_is_said_before_anything_was_measured() -> None:
    assert waiting(Place(3, 100, 50), [spent(10, 1)], None, 2, NOW) == Standing(3, None)
