"""A day of jobs: a busy afternoon, a quiet night, and bursts; within each minute a Poisson process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

MINUTE_S = 60.0
DAY_S = 86_400.0
FIRST_CHUNK_S = 3.0
CHUNK_S = 6.0
"""Chunks are planned about so long, the first one shorter (`docs/architecture.md`)."""
LONGEST_S = 600.0  # what 10,000 characters say


@dataclass(frozen=True)
class Burst:
    """So many more jobs, spread evenly over so many seconds from `at_s` on."""

    at_s: float
    seconds: float
    jobs: float


@dataclass(frozen=True)
class Traffic:
    """What comes in a day.

    Attributes:
        jobs: expected number, bursts aside.
        night: rate of the quietest moment over that of the busiest, 0 to 1; 1 is the same all day.
        busiest_s: when it is busiest, seconds after midnight.
        median_s: median seconds of sound of a job.
        spread: standard deviation of its logarithm; 0: all jobs are the same.
    """

    jobs: float = 30_000
    night: float = 0.1
    busiest_s: float = 15 * 3600
    seconds: float = DAY_S
    median_s: float = 8.0
    spread: float = 1.0
    bursts: Sequence[Burst] = field(default=(Burst(9 * 3600, 600, 900), Burst(20.5 * 3600, 120, 400)))

    def rate(self, at_s: float) -> float:
        """Expected jobs a second at a moment."""
        middle, swing = (1 + self.night) / 2, (1 - self.night) / 2
        daily = (middle + swing * math.cos(2 * math.pi * (at_s - self.busiest_s) / DAY_S)) / middle
        extra = sum(burst.jobs / burst.seconds for burst in self.bursts if burst.at_s <= at_s < burst.at_s + burst.seconds)
        return self.jobs / self.seconds * daily + extra


@dataclass(frozen=True)
class Arrival:
    """A job: when it comes, and how long the sound of each of its chunks will be, in seconds."""

    at_s: float
    chunks: tuple[float, ...]


def arrivals(traffic: Traffic, seed: int) -> list[Arrival]:
    """The jobs of the day in order. The same seed gives the same day."""
    random = np.random.default_rng(seed)
    minutes = np.arange(0, traffic.seconds, MINUTE_S)
    counts = random.poisson([traffic.rate(float(minute)) * MINUTE_S for minute in minutes])
    times = np.sort(np.repeat(minutes, counts) + random.uniform(0, MINUTE_S, counts.sum()))
    lengths = np.minimum(LONGEST_S, traffic.median_s * np.exp(traffic.spread * random.standard_normal(len(times))))
    return [Arrival(float(at), chunks(float(length))) for at, length in zip(times, lengths, strict=True)]


def chunks(sound_s: float) -> tuple[float, ...]:
    """Lengths of the chunks of a job: a short first one, the rest in equal parts."""
    first = min(sound_s, FIRST_CHUNK_S)
    rest = sound_s - first
    parts = math.ceil(rest / CHUNK_S)
    return (first, *(rest / parts for _ in range(parts)))
