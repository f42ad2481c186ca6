"""How many people come when, and what must not be exceeded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from load_tests.events import ROUND

Measure = Literal["errors", "refusals", "p95_ms", "rounds", "memory"]


@dataclass(frozen=True)
class Limit:
    """A limit of one journey, or of one tier.

    Attributes:
        journey: or the tier, `API` or `inference`, that `memory` is of.
        measure: `errors` and `refusals` are shares of all that was measured, `p95_ms` the 95th percentile of the good answers of `name`,
            all three at most; `rounds` are at least so many journeys walked to their end; `memory` is how many times as much there is in
            the last fifth of the run as in the second, at most, where the servers are the test's own.
        name: the request or time that `p95_ms` is of.
    """

    journey: str
    measure: Measure
    value: float
    name: str = ""


@dataclass(frozen=True)
class Stage:
    """From the end of the stage before, so many people for so many seconds; `rate`: how many come or go in a second."""

    seconds: float
    users: int
    rate: float


@dataclass(frozen=True)
class Profile:
    """A run. `mix`: how many of each kind of person there are, in proportion; all kinds of `journeys.py` must be in it."""

    name: str
    stages: Sequence[Stage]
    limits: Sequence[Limit]
    mix: Mapping[str, int] = field(
        default_factory=lambda: {"Newcomer": 1, "JobUser": 2, "Streamer": 1, "Browser": 2, "Watcher": 1, "Uploader": 1}
    )

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    def at(self, second: float) -> Stage | None:
        """The stage at that time of the run; None after the last one."""
        for stage in self.stages:
            if second < stage.seconds:
                return stage
            second -= stage.seconds
        return None

    def lasting(self, seconds: float) -> Profile:
        """The same with all stages shorter or longer in proportion."""
        factor = seconds / self.seconds
        return replace(self, stages=[replace(stage, seconds=stage.seconds * factor) for stage in self.stages])

    def among(self, people: int) -> Profile:
        """The same with so many people where there are most, and elsewhere in proportion, but somebody of each kind at all times.

        Raises:
            ValueError: they are too few for that.
        """
        if people < (least := sum(self.mix.values())):
            raise ValueError(f"{people} people are not of all kinds: there must be at least {least}")
        factor = people / max(stage.users for stage in self.stages)
        # More come faster, or they would not all have come before their stage is over.
        stages = [
            replace(stage, users=max(least, round(stage.users * factor)), rate=stage.rate * max(1.0, factor)) for stage in self.stages
        ]
        return replace(self, stages=stages)


WAITS_MS = {
    ("Newcomer", "sample ready"): 15_000.0,
    ("Newcomer", "clone ready"): 20_000.0,
    ("Newcomer", "job"): 20_000.0,
    ("JobUser", "job"): 20_000.0,
    ("Streamer", "first sound"): 5_000.0,
    ("Watcher", "first event"): 2_000.0,
    ("Uploader", "sample ready"): 15_000.0,
}
"""What people wait for. On two quiet cores, with few people, all of it takes a fraction of this."""
REQUESTS_MS = {
    ("Newcomer", "POST /voice/samples"): 3_000.0,
    ("Newcomer", "POST /job"): 1_000.0,
    ("JobUser", "POST /job"): 1_000.0,
    ("JobUser", "GET /job"): 1_000.0,
    ("JobUser", "GET /file/synthesis/{id}"): 2_000.0,
    ("Browser", "GET /voice/models"): 1_000.0,
    ("Browser", "GET /voice/models/{id}"): 1_000.0,
    ("Uploader", "POST /voice/samples"): 3_000.0,
}


def limits(*, errors: float, refusals: float, rounds: int, slower: float = 1.0) -> list[Limit]:
    """For all journeys: shares of errors and refusals, the rounds that there must be, and the times above, so many times as long."""
    journeys = sorted({journey for journey, _ in WAITS_MS | REQUESTS_MS})
    told = [Limit(journey, "rounds", rounds, ROUND) for journey in journeys]
    told += [Limit(journey, "errors", errors) for journey in journeys]
    told += [Limit(journey, "refusals", refusals) for journey in journeys]
    return told + [Limit(journey, "p95_ms", ms * slower, name) for (journey, name), ms in (WAITS_MS | REQUESTS_MS).items()]


NO_LEAK = [Limit("API", "memory", 1.1), Limit("inference", "memory", 1.1)]
"""By then caches are full."""

PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", [Stage(60, 8, 4)], limits(errors=0, refusals=0.05, rounds=1)),
        Profile("steady", [Stage(60, 16, 1), Stage(540, 24, 1)], limits(errors=0.001, refusals=0.05, rounds=10) + NO_LEAK),
        # Three times as many at once: who is refused and told when to come back is served as promised.
        Profile(
            "spike",
            [Stage(120, 16, 1), Stage(60, 64, 16), Stage(180, 16, 8)],
            limits(errors=0.005, refusals=0.5, rounds=3, slower=6),
        ),
        Profile("soak", [Stage(4 * 3600, 12, 1)], limits(errors=0.001, refusals=0.05, rounds=100) + NO_LEAK),
    )
}
