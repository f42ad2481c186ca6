"""How much of their limits people have used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import TextClause, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from store.models import Clone, Counter, Job, Sample, User


@dataclass(frozen=True, slots=True)
class Count:
    """How often something has happened in the window that ends at `ends_at_ms`, milliseconds of Unix time."""

    count: int
    ends_at_ms: int


def end_of_day_ms(now_ms: int) -> int:
    """The next midnight in UTC, after which the quotas of a day are whole again."""
    midnight = datetime.fromtimestamp(now_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return int(midnight.timestamp()) * 1000


@lru_cache(maxsize=64)
def _adding(rows: int) -> TextClause:
    # Text, the same on both databases: this is run for every request, and SQLAlchemy never keeps what it makes of an upsert.
    listed = ", ".join(f"(:key{number}, CAST(:amount{number} AS INTEGER), CAST(:ends AS BIGINT))" for number in range(rows))
    return text(f"""
        INSERT INTO counters (key, count, ends_at_ms) VALUES {listed}
        ON CONFLICT (key) DO UPDATE SET
            count = CASE WHEN counters.ends_at_ms <= :now THEN excluded.count ELSE counters.count + excluded.count END,
            ends_at_ms = CASE WHEN counters.ends_at_ms <= :now THEN excluded.ends_at_ms ELSE counters.ends_at_ms END
        RETURNING key, count, ends_at_ms
    """)  # noqa: S608 - made of numbers alone


def counting(amounts: Mapping[str, int], now_ms: int, ends_at_ms: int) -> tuple[TextClause, dict[str, Any]]:
    """The statement that adds to counters, and its values; it returns each key, its count and its end. See `CounterRepository.add`."""
    # In one order in every transaction, so that two never wait for one another.
    ordered = sorted(amounts.items())
    values: dict[str, Any] = {"now": now_ms, "ends": ends_at_ms}
    for number, (key, amount) in enumerate(ordered):
        values |= {f"key{number}": key, f"amount{number}": amount}
    return _adding(len(ordered)), values


class CounterRepository:
    """Counters that begin anew when their window has ended. Each change is one statement, atomic whatever the number of processes."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def add(self, amounts: Mapping[str, int], now_ms: int, ends_at_ms: int) -> dict[str, Count]:
        """Add to counters, all in one statement, and what they are then.

        `ends_at_ms`: where the window of a counter ends that has none now. What exceeds a limit is counted too: the window ends
        all the same.
        """
        added = await self.session.execute(*counting(amounts, now_ms, ends_at_ms))
        return {key: Count(count, ends) for key, count, ends in added}

    async def give_back(self, key: str, now_ms: int) -> None:
        """Take one off, if the window in which it was counted still runs."""
        await self.session.execute(
            update(Counter).where(Counter.key == key, Counter.ends_at_ms > now_ms, Counter.count > 0).values(count=Counter.count - 1)
        )

    async def look(self, key: str, now_ms: int) -> int:
        """How often it has happened in the window that runs now."""
        return await self.session.scalar(select(Counter.count).where(Counter.key == key, Counter.ends_at_ms > now_ms)) or 0

    async def sweep(self, now_ms: int) -> None:
        """Remove the counters whose window has ended. One that somebody is just writing is left for another time."""
        over = select(Counter.key).where(Counter.ends_at_ms <= now_ms).with_for_update(skip_locked=True)
        await self.session.execute(delete(Counter).where(Counter.key.in_(over)))


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """What was set for one account; None: what the settings say for everybody."""

    samples_per_day: int | None = None
    jobs_per_day: int | None = None
    storage_bytes: int | None = None


class UsageRepository:
    """What people have stored: the sum over the rows that name it, so that it is right whoever writes and deletes them."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def lock(self, user_id: str) -> OwnLimits:
        """The account's own limits; until the transaction ends, nobody else takes from them.

        On SQLite every writing transaction has the database for itself anyway.
        """
        limits = select(User.limit_samples_per_day, User.limit_jobs_per_day, User.limit_storage_bytes).where(User.id == user_id)
        # Not FOR UPDATE, which would make everybody wait who stores a row of this user's.
        row = (await self.session.execute(limits.with_for_update(key_share=True))).first()
        return OwnLimits(*row) if row is not None else OwnLimits()

    async def stored_bytes(self, user_id: str) -> int:
        """Bytes of the person's recordings in both forms, of the references of their clones and of what their jobs have spoken."""
        jobs = select(func.sum(Job.output_size)).where(Job.user_id == user_id, Job.output_size.is_not(None))
        samples = select(func.sum(Sample.size + func.coalesce(Sample.prepared_size, 0))).where(Sample.user_id == user_id)
        clones = select(func.sum(Clone.reference_size)).where(Clone.user_id == user_id)
        parts = (await self.session.execute(select(jobs.scalar_subquery(), samples.scalar_subquery(), clones.scalar_subquery()))).one()
        return sum(int(part or 0) for part in parts)

    async def overfull(self, user_id: str, default_bytes: int) -> bool:
        """Whether the person has more than they may, with what this transaction has written.

        Whoever asks after the rows are written, and rolls back when it is so, keeps the limit exactly: of two at once, the second
        waits for the first here and sees what it wrote.
        """
        own = await self.lock(user_id)
        limit = default_bytes if own.storage_bytes is None else own.storage_bytes
        return await self.stored_bytes(user_id) > limit
