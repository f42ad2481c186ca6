from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from store.models import Job

Report = Callable[[float, str], Awaitable[None]]
"""Progress in percent and what is being done, for a person. Raises LeaseLostError."""


async def _nothing(_session: AsyncSession) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job: columns of its row, and what else is to be written in the same fenced commit."""

    columns: dict[str, Any] = field(default_factory=dict)
    also: Callable[[AsyncSession], Awaitable[None]] = _nothing
    wakes: tuple[str, ...] = ()  # samples and clones whose waiting work may go on
    stored: tuple[str, ...] = ()  # objects of this attempt alone, which nothing names unless the commit is made
    obsolete: tuple[str | None, ...] = ()  # objects that nothing names after the commit


class Handler(Protocol):
    """The work of one kind of job. It may be cancelled at any await, and may be run again after it was half done."""

    async def run(self, job: Job, report: Report) -> Outcome: ...

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:
        """Write what a final failure means for what the job worked on, in the commit that fails it."""
