"""Who may wait: a bound on the requests in flight, judged before a body is parsed.

BentoML's queue has no bound of its own that a client is told of in time: under more load than the device can carry every request would
wait longer and longer, and in the end all would miss their deadlines. Past the bound a request is refused at once, with the time after
which a place should be free. There are so many places, and fewer on a device that would take too long to serve as many.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

MIN_RETRY_S, MAX_RETRY_S = 1, 30
WINDOW = 64
"""So many answers tell how fast the device is: some batches, since those of one batch come all at once."""
OF_JOBS = 0.75
"""The share of the places, and of the time to wait, that what is not live may take."""
ALWAYS = 2
"""So many are let in however slow the device was: without a second one there would be nothing to learn from."""


class Admission:
    """Counts requests from their arrival to their answer. Used from one event loop.

    A quarter, of four places or more, is kept for live requests, which come into the batches first: where jobs have filled the rest,
    whoever listens is let in.

    Args:
        limit: how many may be in flight.
        patience_s: how long the last of them may have to wait, as far as the answers before tell.
        clock: seconds, monotonic.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic, *, patience_s: float = math.inf) -> None:
        self.limit = limit
        self.patience_s = patience_s
        self.in_flight = 0
        self._jobs = 0
        self._clock = clock
        # Only while others wait does the time between two answers tell how fast the device is: a clock that runs only then.
        self._crowded_s = 0.0
        self._crowded_since: float | None = None
        self._answers: deque[float] = deque([0.0], maxlen=WINDOW + 1)

    def enter(self, *, live: bool = False) -> bool:
        """Take a place; False when there is none."""
        if self.in_flight >= self.limit or (self.in_flight >= ALWAYS and self.expected_wait_s >= self.patience_s):
            return False
        if not live:
            # Of the jobs alone, or enough live requests would keep them out for good.
            wait_s = self.expected_wait_s * self._jobs / max(1, self.in_flight)
            if self._jobs >= self.limit * OF_JOBS or (self.in_flight >= ALWAYS and wait_s >= self.patience_s * OF_JOBS):
                return False
            self._jobs += 1
        self.in_flight += 1
        if self.in_flight > 1 and self._crowded_since is None:
            self._crowded_since = self._clock()
        return True

    def leave(self, *, live: bool = False) -> None:
        """Give the place back, the request having been answered."""
        self._jobs -= not live
        if self.in_flight > 1:
            self._answers.append(self._crowded())
        self.in_flight -= 1
        if self.in_flight <= 1:
            self._crowded_s, self._crowded_since = self._crowded(), None

    @property
    def expected_wait_s(self) -> float:
        """Seconds until all that is in flight has been answered, at the pace of the last answers; 0 where there is none to go by."""
        if len(self._answers) < 2:
            return 0.0
        # To now and not to the last answer, so that a device that has come to a stop looks slower and slower.
        return self.in_flight * (self._crowded() - self._answers[0]) / (len(self._answers) - 1)

    @property
    def retry_after_s(self) -> int:
        """Seconds until half of what waits has been answered: 1 to 30. Those who come back then find room."""
        return min(MAX_RETRY_S, max(MIN_RETRY_S, math.ceil(self.expected_wait_s / 2)))

    def _crowded(self) -> float:
        return self._crowded_s + (self._clock() - self._crowded_since if self._crowded_since is not None else 0.0)
