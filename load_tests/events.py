"""What happened during a run: one line for each request, each time that was taken and each round, in a file that outlives its writer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

Outcome = Literal["ok", "failed", "refused"]

ROUND = "round"
"""The name under which a journey that was walked to its end is told."""
WHY_LENGTH = 300


@dataclass(frozen=True)
class Event:
    """One thing that was measured.

    Attributes:
        at: when it ended, seconds since the epoch.
        name: a request, such as `POST /job`; a time that a person waits for, such as `job`; or `ROUND`.
        ms: how long it took.
        outcome: `refused` is 429 or 503 with `Retry-After`, which is asked again after that time.
        why: of a failure.
        users: people at that time.
    """

    at: float
    journey: str
    name: str
    ms: float
    outcome: Outcome = "ok"
    why: str = ""
    users: int = 0


class EventLog:
    """Appends events to a file, each line at once."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", encoding="utf-8", buffering=1)

    def add(self, event: Event) -> None:
        self._file.write(json.dumps(asdict(event)) + "\n")


def read(path: Path) -> list[Event]:
    """All events of a file; none where there is no file. A last line that was cut off is left out."""
    lines: Iterable[str] = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else ()
    return [Event(**json.loads(line)) for line in lines if line.endswith("\n")]


def refusal_s(status: int, retry_after: str | None) -> float | None:
    """After how many seconds to ask again, where an answer is a refusal; None where it is anything else.

    A refusal that does not say when to come back is a failure: the contract promises that it does.
    """
    if status not in (429, 503) or retry_after is None or not retry_after.isdecimal():
        return None
    return float(retry_after)
