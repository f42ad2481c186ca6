"""Who does the jobs that the API takes, and how they hear of one: `VOXIFY_QUEUE`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

import structlog

from settings import Settings
from worker.worker import Worker

if TYPE_CHECKING:
    from worker.celery_bell import CeleryBell

log = structlog.get_logger(__name__)


class Bell(Protocol):
    """Rung after the commit that made a job due. A ring neither waits nor fails, and may be lost: who does jobs looks now and then."""

    def ring(self, kinds: Collection[str] | None = None) -> None: ...

    def start(self) -> None: ...

    async def stop(self, grace_s: float) -> None: ...

    @property
    def alive(self) -> bool: ...


def bell_of(settings: Settings, worker: Worker) -> Bell:
    """As the settings say; `worker` has the slots of this process, for where it does the jobs itself."""
    if settings.queue == "embedded":
        return worker
    if settings.queue == "workers":
        return Nobody()
    from worker.celery_bell import CeleryBell

    if not settings.redis_url.get_secret_value():
        log.warning("no VOXIFY_REDIS_URL", effect="progress in event streams is some seconds old")
    return Distant(CeleryBell(settings.broker_url.get_secret_value()))


class Nobody:
    """Processes of their own do the jobs, and look for them."""

    alive = True

    def ring(self, kinds: Collection[str] | None = None) -> None:
        """Nobody listens."""

    def start(self) -> None:
        """There is nothing to start."""

    async def stop(self, grace_s: float) -> None:
        """Nor to stop."""


class Distant:
    """Celery workers do the jobs. While the broker is away, people are not: jobs are taken, and done when it is back."""

    alive = True

    def __init__(self, bell: CeleryBell) -> None:
        self.bell = bell
        self.ring = bell.ring
        self.start = bell.start

    async def stop(self, grace_s: float) -> None:  # noqa: ARG002 - as the protocol has it
        """Send what is left to send, for a few seconds at most."""
        await asyncio.to_thread(self.bell.close)
