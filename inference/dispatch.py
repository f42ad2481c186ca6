"""Whose chunks come into the next batch: those that somebody listens to before those of jobs.

BentoML's dispatcher takes requests as they came. With jobs under way, somebody who listens live would wait for all their chunks first.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from _bentoml_impl.server import app  # type: ignore[import-untyped]
from bentoml._internal.marshal.dispatcher import CorkDispatcher

HEAD_START_S = 5.0
"""A live request counts as if it had come so much earlier. What has waited longer than this is no longer overtaken, so that live requests,
however many there are, do not starve jobs."""
DEFAULT_URGENCY = 3

_URGENCY = re.compile(r"(?:^|[\s,])u=([0-7])(?=$|[\s,])")


def is_live(priority: str) -> bool:
    """Whether a ``Priority`` header (RFC 9218) asks to come before others: an urgency of 0 to 2, where 3 is everybody's."""
    urgency = _URGENCY.search(priority)
    return urgency is not None and int(urgency[1]) < DEFAULT_URGENCY


class LiveFirst(deque[Any]):
    """The queue of a dispatcher, sorted by arrival and head start. The `data` of its entries are items."""

    def append(self, entry: Any) -> None:
        place, due = len(self), _due(entry)
        while place and _due(self[place - 1]) > due:
            place -= 1
        self.insert(place, entry)


def _due(entry: Any) -> float:
    # Not by its `enqueue_time`: the clock of that may be set.
    return min(float(item.arrived) - HEAD_START_S * item.live for item in entry.data)


class Dispatcher(CorkDispatcher[Any, Any]):
    """BentoML's, with that queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._queue = LiveFirst()


def install() -> None:
    """Have BentoML dispatch so. It has no setting for it, so that its name for the class is given another one."""
    app.CorkDispatcher = Dispatcher
