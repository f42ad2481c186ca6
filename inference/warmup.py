"""What comes before the first request: imports without the garbage collector, and lessons for BentoML's dispatcher.

The dispatcher fits its latency model on its first calls: eight single items, then one call of one, of two and of three items. Until then
requests do not share batches. The calls go through the whole application, as requests do.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import structlog

SINGLES = 9
GROUPS = (2, 3)

log = structlog.get_logger()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Hold the garbage collector back while modules are imported.

    They make millions of objects that stay, and looking through them again and again is a fifth of the time to start. At the end all
    that is there is set aside for good, so that no later collection looks through it either.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


async def warm_up(service: Any, item: dict[str, Any]) -> None:
    """Send single items, then groups, through the service's own application.

    Args:
        service: the running instance.
        item: body of one item that the default model can speak.

    Raises:
        RuntimeError: an item was not spoken.
    """
    client = await _own_client(service)

    async def call() -> None:
        answers = await client.synthesize(items=[item])
        if not (answers and answers[0].ok):
            raise RuntimeError("The warm-up item was not spoken.")

    for _ in range(SINGLES):
        await call()
    for size in GROUPS:
        await asyncio.gather(*(call() for _ in range(size)))
    log.info("warmed_up", calls=SINGLES + sum(GROUPS))


async def _own_client(service: Any) -> Any:
    # BentoML sets its in-process client after the startup hooks and has no event for it.
    while not hasattr(service, "__self_proxy__"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return service.to_async
