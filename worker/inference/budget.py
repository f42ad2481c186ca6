"""How much of what a process asks of the inference service may be repeats."""

from __future__ import annotations

CAPACITY, SHARE = 20.0, 0.2
"""So many repeats in a burst, and over time one for every five requests."""


class RetryBudget:
    """A token bucket that requests fill and repeats empty.

    Where every request fails, three repeats of each would make four times the load of a tier that already has too much.
    """

    def __init__(self, capacity: float = CAPACITY, share: float = SHARE) -> None:
        self._capacity, self._share = capacity, share
        self._tokens = capacity

    def earn(self) -> None:
        """A request is made for the first time."""
        self._tokens = min(self._capacity, self._tokens + self._share)

    def spend(self) -> bool:
        """Take the token of one repeat; False where there is none."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
