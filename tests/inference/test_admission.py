from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference.admission import Admission


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_places_are_limited_and_given_back() -> None:
    gate = Admission(2)
    assert [gate.enter(), gate.enter(), gate.enter()] == [True, True, False]
    gate.leave()
    assert gate.enter()
    assert gate.in_flight == 2


def test_the_time_to_come_back_follows_the_speed_of_the_device() -> None:
    clock = Clock()
    gate = Admission(20, clock)
    assert gate.retry_after_s == 1
    for _ in range(20):
        gate.enter()
    for _ in range(200):  # an answer every second, and somebody new takes its place
        clock.now += 1
        gate.leave()
        gate.enter()
    assert gate.retry_after_s == 10, "half of the twenty that wait, a second each"


def test_a_quiet_night_does_not_make_the_device_look_slow() -> None:
    clock = Clock()
    gate = Admission(20, clock)
    for _ in range(5):
        gate.enter()
        clock.now += 3600
        gate.leave()
    for _ in range(20):
        gate.enter()
    assert gate.retry_after_s == 1


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 8))
def test_never_more_than_the_limit(arrivals: list[bool], limit: int) -> None:
    gate, inside = Admission(limit), 0
    for arrives in arrivals:
        if arrives:
            inside += gate.enter()
        elif inside:
            gate.leave()
            inside -= 1
        assert gate.in_flight == inside <= limit
        assert 1 <= gate.retry_after_s <= 30
