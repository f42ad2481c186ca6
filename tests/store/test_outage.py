"""What the log says of a database that is away: neither nothing nor too much."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import TimeoutError as NoConnectionError
from structlog.testing import capture_logs

from store.faults import UnreachableError
from store.outage import Outage


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> Outage:
    return Outage(clock)


def fail(outage: Outage, failure: Exception, *, writing: bool = False) -> None:
    with pytest.raises(type(failure)), outage.watch(writing=writing):
        raise failure


def said(lines: Any) -> list[tuple[str, float | None]]:
    return [(line["event"], line.get("for_s", line.get("after_s"))) for line in lines]


def test_it_is_said_once_then_every_minute_and_when_it_is_over(outage: Outage, clock: Clock) -> None:
    with capture_logs() as lines:
        outage.answered()
        for _ in range(65):  # two seconds apart
            fail(outage, UnreachableError("refused"), writing=True)
            clock.now += 2
        outage.answered(writing=True)
        outage.answered(writing=True)
    assert said(lines) == [("database away", None), ("database still away", 60), ("database still away", 120), ("database back", 130.0)]
    assert lines[0]["reason"] == "UnreachableError('refused')"


def test_the_next_one_is_said_again(outage: Outage, clock: Clock) -> None:
    with capture_logs() as lines:
        for _ in range(2):
            fail(outage, NoConnectionError("no place in the pool"))
            clock.now += 1
            outage.answered()
    assert said(lines) == [("database away", None), ("database back", 1.0)] * 2


def test_a_database_that_can_only_be_read_is_not_back(outage: Outage, clock: Clock) -> None:
    with capture_logs() as lines:
        for _ in range(3):
            fail(outage, UnreachableError("full"), writing=True)
            clock.now += 1
            outage.answered()
        outage.answered(writing=True)
    assert said(lines) == [("database away", None), ("database back", 3.0)]


@pytest.mark.parametrize("failure", [ValueError("ours"), ConnectionResetError("of another server"), OSError(28, "disk full")])
def test_other_failures_say_nothing_of_the_database(outage: Outage, failure: Exception) -> None:
    with capture_logs() as lines:
        fail(outage, failure)
        outage.answered(writing=True)
    assert lines == []
