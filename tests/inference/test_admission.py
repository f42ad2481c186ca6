from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.admission import OF_JOBS, Admission


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_places_are_limited_and_given_back() -> None:
    gate = Admission(2)
    assert [gate.enter(live=True), gate.enter(live=True), gate.enter(live=True)] == [True, True, False]
    gate.leave(live=True)
    assert gate.enter(live=True)
    assert gate.in_flight == 2


def test_the_time_to_come_back_follows_the_speed_of_the_device() -> None:
    clock = Clock()
    gate = Admission(20, clock)
    assert gate.retry_after_s == 1
    for _ in range(20):
        gate.enter(live=True)
    for _ in range(200):  # an answer every second, and somebody new takes its place
        clock.now += 1
        gate.leave(live=True)
        gate.enter(live=True)
    assert gate.retry_after_s == 10, "half of the twenty that wait, a second each"


def test_a_quiet_night_does_not_make_the_device_look_slow() -> None:
    clock = Clock()
    gate = Admission(20, clock)
    for _ in range(5):
        gate.enter(live=True)
        clock.now += 3600
        gate.leave(live=True)
    for _ in range(20):
        gate.enter(live=True)
    assert gate.retry_after_s == 1


def test_answers_that_come_in_batches_do_not_make_the_device_look_fast() -> None:
    clock = Clock()
    gate = Admission(64, clock)
    for _ in range(64):
        gate.enter(live=True)
    for _ in range(20):  # sixteen every eight seconds
        clock.now += 8
        for _ in range(16):
            gate.leave(live=True)
            gate.enter(live=True)
        assert gate.retry_after_s == 16, "half of the 32 s"
    clock.now += 7
    assert gate.retry_after_s in range(16, 21)


def slow(clock: Clock, seconds: float, patience_s: float, *, limit: int = 64, live: bool = True) -> Admission:
    """One whose device has needed so long for every answer of many."""
    gate = Admission(limit, clock, patience_s=patience_s)
    for _ in range(2):
        gate.enter(live=live)
    for _ in range(80):
        clock.now += seconds
        gate.leave(live=live)
        gate.enter(live=live)
    return gate


def places(gate: Admission) -> int:
    while gate.enter(live=True):
        continue
    return gate.in_flight


def test_a_slow_device_has_fewer_places() -> None:
    assert places(slow(Clock(), 0.1, 30)) == 64
    assert places(slow(Clock(), 3, 30)) == 10, "of three seconds each, so that the last waits for thirty"
    assert places(slow(Clock(), 100, 30)) == 2, "it never closes, or it could not learn"


def test_a_device_that_has_become_fast_is_believed() -> None:
    clock = Clock()
    gate = slow(clock, 100, 30)
    assert places(gate) == 2
    for _ in range(70):
        clock.now += 0.1
        gate.leave(live=True)
        gate.enter(live=True)
    assert places(gate) == 64


def test_a_device_that_stands_still_gets_nothing_more() -> None:
    clock = Clock()
    gate = slow(clock, 0.1, 30)
    for _ in range(18):
        gate.enter(live=True)
    clock.now += 3600
    assert not gate.enter(live=True)
    assert gate.retry_after_s == 30


def test_jobs_leave_room_for_who_listens() -> None:
    gate = Admission(16)
    assert [gate.enter() for _ in range(13)] == [True] * 12 + [False]
    assert [gate.enter(live=True) for _ in range(5)] == [True] * 4 + [False]


def test_jobs_leave_time_for_who_listens() -> None:
    gate = slow(Clock(), 3, 30, live=False)
    while gate.enter():
        continue
    assert gate.in_flight == 8, "those that fit into three quarters of the thirty seconds"
    assert places(gate) == 10


@pytest.mark.parametrize(("limit", "seconds"), [(16, 0.1), (64, 3)], ids=["places", "time"])
def test_who_listens_does_not_keep_jobs_out(limit: int, seconds: float) -> None:
    """Live requests hold all there is, and for each that goes another and a job come."""
    clock = Clock()
    gate = slow(clock, seconds, 30, limit=limit)
    places(gate)
    let_in = 0
    for _ in range(20):
        clock.now += seconds
        gate.leave(live=True)
        let_in += gate.enter()
        gate.enter(live=True)
    assert let_in > 0


@pytest.mark.parametrize("live", [True, False])
def test_there_is_a_place_for_anybody(live: bool) -> None:
    gate = Admission(1)
    assert [gate.enter(live=live), gate.enter(live=live)] == [True, False]


@given(st.lists(st.sampled_from(["job", "live", "answer"]), max_size=200), st.integers(1, 8))
def test_never_more_than_the_limit(events: list[str], limit: int) -> None:
    gate, inside = Admission(limit), list[bool]()
    for event in events:
        if event != "answer":
            inside += [event == "live"] * gate.enter(live=event == "live")
        elif inside:
            gate.leave(live=inside.pop(0))
        assert gate.in_flight == len(inside) <= limit
        assert inside.count(False) < limit * OF_JOBS + 1
        assert 1 <= gate.retry_after_s <= 30
