"""How long a job will take: the arithmetic, and beside a queue that is worked off."""

from __future__ import annotations

import heapq
from datetime import timedelta

import pytest
from hypothesis import given, settings
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


@settings(deadline=None)
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


def of_user(user_id: str, size: float) -> Spent:
    return Spent(size, NOW, 0, None, user_id)


def eta(place: Place, running: list[Spent], **bounds: int) -> float:
    found = waiting(place, running, 1.0, 4, NOW, **bounds).eta_seconds
    assert found is not None
    return found


def test_ones_own_jobs_hold_one_up_below_the_bound_of_one_user() -> None:
    """Ten jobs of size 10 before this one, all one's own; four slots."""
    place = Place(11, 100, 10, "me", 11, own=100, idle=1)
    assert eta(place, []) == 35
    assert eta(place, [], per_user=2) == 60
    assert eta(place, [], per_user=1) == 110
    assert eta(place, [], per_user=8) == 35, "a bound that the slots never reach"
    assert eta(Place(11, 100, 10, "me", 11, own=100), [of_user("me", 30)], per_user=1) == 140
    # What is said at once runs beside the bound, and counts: nobody's job begins until all but none have ended.
    assert eta(Place(1, 0, 10, "me", 3), [of_user("me", 5), of_user("me", 40)], per_user=1) == 50


def test_where_the_slots_are_enough_for_all_users_nobody_waits_for_another() -> None:
    """Before this job: one of one's own, and a hundred of somebody who may run one at once, as anybody."""
    others = [of_user("you", 50)]
    assert eta(Place(80, 5000, 10, "me", 2, own=10, idle=1), others, per_user=1) == 20
    assert eta(Place(80, 5000, 10, "me", 2, own=10, idle=4), others, per_user=1) > 1000, "five users and four slots"


def test_the_bound_of_a_lane_is_as_having_fewer_slots() -> None:
    place = Place(11, 100, 10)
    assert eta(place, [], at_once=1) == 110
    assert eta(place, [], at_once=9) == 35
    # Two run where one may: when the shorter one ends, there is no room yet.
    assert eta(Place(1, 0, 10), [of_user("me", 5), of_user("you", 40)], at_once=1) == 50


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.lists(st.integers(0, 12), min_size=1, max_size=5))
def test_the_estimate_is_that_of_slots_with_a_bound(slots: int, per_user: int, counts: list[int]) -> None:
    """Beside jobs of one size that are taken as `claim` does: within a factor of two and one job."""
    size = 10.0
    order = [(level, user) for level in range(1, max(counts) + 1) for user, count in enumerate(counts) if count >= level]
    queues = {user: [n for n, (_, each) in enumerate(order) if each == user] for user in range(len(counts))}
    ends, running, now = list[tuple[float, int]](), dict.fromkeys(queues, 0), 0.0
    begins: dict[int, float] = {}
    while any(queues.values()) or ends:
        able = [user for user, queue in queues.items() if queue and running[user] < per_user]
        if able and len(ends) < slots:
            user = min(able, key=lambda user: (running[user], queues[user][0]))
            begins[queues[user].pop(0)] = now
            running[user] += 1
            heapq.heappush(ends, (now + size, user))
        else:
            now, user = heapq.heappop(ends)
            running[user] -= 1
    idle = sum(count > 0 for count in counts)
    for number, (level, user) in enumerate(order):
        place = Place(number + 1, number * size, size, str(user), level, (level - 1) * size, idle)
        promised = waiting(place, [], 1.0, slots, NOW, per_user=per_user).eta_seconds
        assert promised is not None
        took = begins[number] + size
        assert took / 2 - size <= promised <= 2 * took + size
