"""Who may wait: a bound on the requests in flight, judged before a body is parsed.

BentoML's queue has no bound of its own that a client is told of in time: under more load than the device can carry every request would
wait longer and longer, and in the end all would miss their deadlines. Past the bound a request is refused at once, with the time after
which a place should be free.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

MIN_RETRY_S, MAX_RETRY_S = 1, 30
SMOOTHING = 0.1
"""Weight of the newest interval between two answers in their moving average."""


class Admission:
    """Counts requests from their arrival to their answer. Used from one event loop.

    Args:
        limit: how many may be in flight.
        clock: seconds, monotonic.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.in_flight = 0
        self._clock = clock
        self._interval_s = 0.0
        self._last_answer: float | None = None

    def enter(self) -> bool:
        """Take a place; False when there is none."""
        if self.in_flight >= self.limit:
            return False
        self.in_flight += 1
        return True

    def leave(self) -> None:
        """Give the place back, the request having been answered."""
        now = self._clock()
        if self._last_answer is not None and self.in_flight > 1:
            # Only while others wait does the time between two answers tell how fast the device is.
            self._interval_s += SMOOTHING * (now - self._last_answer - self._interval_s)
        self._last_answer = now
        self.in_flight -= 1

    @property
    def retry_after_s(self) -> int:
        """Seconds until half of what waits has been answered: 1 to 30. Those who come back then find room."""
        return min(MAX_RETRY_S, max(MIN_RETRY_S, math.ceil(self.in_flight * self._interval_s / 2)))
