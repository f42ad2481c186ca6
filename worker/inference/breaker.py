"""When to leave a replica of the inference service alone."""

from __future__ import annotations

import random
from collections.abc import Callable

FAILURES = 5
"""So many in a row open it: a lost connection or a slow chunk is no illness."""
REST_S, LONGEST_REST_S = 2.0, 30.0
"""The first rest and the longest; each that follows a failed probe is twice as long as the one before it."""


class Breaker:
    """A circuit breaker. Closed lets requests through; after `FAILURES` in a row it opens and lets none through; when it has rested, one
    request is let through as a probe, whose end closes it or opens it again.

    The rest is drawn between its half and its whole, so that many workers do not probe at the same moment.

    Args:
        clock: seconds, monotonic.
        uniform: a number between two; by default as `random` draws it.
    """

    def __init__(self, clock: Callable[[], float], uniform: Callable[[float, float], float] | None = None) -> None:
        self._clock, self._uniform = clock, uniform or random.uniform
        self._failures = 0
        self._openings = 0
        self._opens_at: float | None = None
        self._probing = False

    @property
    def closed(self) -> bool:
        return self._opens_at is None

    @property
    def admits(self) -> bool:
        """Whether a request may be sent now."""
        return self._opens_at is None or (self._clock() >= self._opens_at and not self._probing)

    @property
    def rest_s(self) -> float:
        """Seconds until a probe may be sent; 0 where one may, or is under way."""
        return 0.0 if self._opens_at is None else max(0.0, self._opens_at - self._clock())

    def begin(self) -> bool:
        """A request is sent; whether it is the probe."""
        self._probing = self._opens_at is not None
        return self._probing

    def abandon(self) -> None:
        """The probe has ended and told nothing, such as when its job was cancelled: the next request is one."""
        self._probing = False

    def succeed(self) -> None:
        """The replica has answered as one that works."""
        self._failures = self._openings = 0
        self._opens_at, self._probing = None, False

    def fail(self) -> None:
        """The replica has not answered, or answered as one that is broken."""
        self._failures += 1
        probed = self._probing and self.rest_s == 0
        # What was sent before it opened and fails behind that is no news.
        if probed or (self._opens_at is None and self._failures >= FAILURES):
            rest = min(LONGEST_REST_S, REST_S * 2**self._openings)
            self._opens_at = self._clock() + self._uniform(rest / 2, rest)
            self._openings += 1
            self._probing = False
