"""How a slot gets its next job and does it: the same in every process that works on jobs, whoever wakes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

from store.models import Turn
from store.repositories.queue import JobQueue
from worker.lanes import lane_of
from worker.run import JobRunner


class Claims:
    """`user_concurrency`: jobs of one user that run at once in each lane; `lane_concurrency`: of a lane, whoever's; 0 or absent: no bound.

    Both count what runs in all processes. They bound what is claimed, not what an API process does within a request of its own.
    """

    def __init__(self, runner: JobRunner, *, user_concurrency: int = 0, lane_concurrency: Mapping[str, int] | None = None) -> None:
        self.runner = runner
        self.user_concurrency = user_concurrency
        self.lane_concurrency = lane_concurrency or {}

    async def claim_and_run(self, kinds: Collection[str], claimed: Callable[[], None] = lambda: None) -> bool:
        """Do the next job of these kinds, all of one lane, if one is due and there is room for it. Whether there was.

        `claimed` is called when there is one, before it begins.
        """
        asked_at = asyncio.get_running_loop().time()
        at_once = max((self.lane_concurrency.get(lane_of(kind), 0) for kind in kinds), default=0)
        async with self.runner.stores.database.write() as session:
            job = await JobQueue(session).claim(
                self.runner.new_owner(), self.runner.lease_s, kinds, per_user=self.user_concurrency, at_once=at_once
            )
        if job is None:
            return False
        claimed()
        await self.runner.run(job, asked_at=asked_at, lane=Turn.key(kinds))
        return True
