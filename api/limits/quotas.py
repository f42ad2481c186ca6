"""How many recordings and jobs somebody may make in a day, and how much they may have stored.

A day is one of UTC. What is taken is taken in the transaction that writes the row, so that a request which fails takes nothing, and of
many at once no more pass than may. What is deleted does not give the day's quota back, only the storage.

What is stored is not kept as a number but summed over the rows (see :class:`~store.repositories.limits.UsageRepository`), so that it
cannot drift from them. Recordings, references and finished speech that would go beyond are refused; the prepared form of a recording
that was accepted is counted and never refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import QuotaExceededError
from api.limits.counters import now_ms
from settings import Settings
from store.database import Database
from store.models import User
from store.repositories.limits import CounterRepository, UsageRepository, end_of_day_ms
from store.repositories.users import UserRepository

SAMPLES, JOBS, STORAGE = "samples_per_day", "jobs_per_day", "storage_bytes"


@dataclass(frozen=True, slots=True)
class Quota:
    """`limit` of something and how much of it is `used`; `resets_at` is None for what does not come back with time."""

    limit: int
    used: int
    resets_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    samples: Quota
    jobs: Quota
    storage: Quota


class Quotas:
    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Take over settings that have changed."""
        self.samples_per_day = settings.samples_per_day
        self.jobs_per_day = settings.jobs_per_day
        self.storage_bytes = settings.storage_bytes

    async def take_sample(self, session: AsyncSession, user_id: str) -> None:
        """Take one recording, uploaded or processed again, of the day's.

        Raises:
            QuotaExceededError: there is none left.
        """
        own = await UsageRepository(session).lock(user_id)
        await self._take(session, SAMPLES, user_id, _or(own.samples_per_day, self.samples_per_day))

    async def take_job(self, session: AsyncSession, user_id: str) -> None:
        """Take one job of the day's, and look whether there is room for what it will speak.

        Raises:
            QuotaExceededError: there is none left, or the storage is full.
        """
        usage = UsageRepository(session)
        own = await usage.lock(user_id)
        await self._take(session, JOBS, user_id, _or(own.jobs_per_day, self.jobs_per_day))
        await self._require_some_room(usage, user_id, own.storage_bytes)

    async def give_back_job(self, session: AsyncSession, user_id: str) -> None:
        """Return a job that came to nothing, if its day is not over."""
        await CounterRepository(session).give_back(f"{JOBS}:{user_id}", now_ms())

    async def require_some_room(self, session: AsyncSession, user_id: str) -> None:
        """Raises QuotaExceededError when the storage is full, for what will need some of an unknown size."""
        usage = UsageRepository(session)
        own = await usage.lock(user_id)
        await self._require_some_room(usage, user_id, own.storage_bytes)

    async def require_fit(self, session: AsyncSession, user_id: str) -> None:
        """Raises QuotaExceededError when the person has more than they may, with what this transaction has written."""
        await session.flush()
        usage = UsageRepository(session)
        if await usage.overfull(user_id, self.storage_bytes):
            own = await usage.lock(user_id)
            raise storage_full(_or(own.storage_bytes, self.storage_bytes))

    async def before_upload(self, user_id: str, size: int) -> None:
        """Refuse an upload of `size` bytes before it is read, as far as can be told then.

        Raises:
            QuotaExceededError: the day has no recording left, or the storage no room for it.
        """
        usage = await self.look(user_id)
        if usage.samples.used >= usage.samples.limit:
            raise _used_up(SAMPLES, usage.samples)
        if usage.storage.used + size > usage.storage.limit or usage.storage.used >= usage.storage.limit:
            raise storage_full(usage.storage.limit)

    async def look(self, user_id: str) -> Usage:
        """What the person may do and has done."""
        now = now_ms()
        tomorrow = _time(end_of_day_ms(now))
        async with self._database.read() as session:
            user = await UserRepository(session).get(user_id)
            counters = CounterRepository(session)
            samples = await counters.look(f"{SAMPLES}:{user_id}", now)
            jobs = await counters.look(f"{JOBS}:{user_id}", now)
            stored = await UsageRepository(session).stored_bytes(user_id)
        limits = self.limits(user)
        return Usage(
            samples=Quota(limits[SAMPLES], samples, tomorrow),
            jobs=Quota(limits[JOBS], jobs, tomorrow),
            storage=Quota(limits[STORAGE], stored),
        )

    def limits(self, user: User | None) -> dict[str, int]:
        """The quotas that hold for an account."""
        return {
            SAMPLES: _or(user.limit_samples_per_day if user else None, self.samples_per_day),
            JOBS: _or(user.limit_jobs_per_day if user else None, self.jobs_per_day),
            STORAGE: _or(user.limit_storage_bytes if user else None, self.storage_bytes),
        }

    async def _take(self, session: AsyncSession, what: str, user_id: str, limit: int) -> None:
        now = now_ms()
        key = f"{what}:{user_id}"
        taken = (await CounterRepository(session).add({key: 1}, now, end_of_day_ms(now)))[key]
        if taken.count > limit:
            # Raised within the transaction, which is undone: what was refused is not counted.
            raise _used_up(what, Quota(limit, taken.count - 1, _time(taken.ends_at_ms)))

    async def _require_some_room(self, usage: UsageRepository, user_id: str, own_bytes: int | None) -> None:
        limit = _or(own_bytes, self.storage_bytes)
        if await usage.stored_bytes(user_id) >= limit:
            raise storage_full(limit)


def _or(own: int | None, general: int) -> int:
    return general if own is None else own


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _used_up(what: str, quota: Quota) -> QuotaExceededError:
    noun = "recordings" if what == SAMPLES else "jobs"
    assert quota.resets_at is not None
    details = {"quota": what, "limit": quota.limit, "used": quota.used, "resets_at": f"{quota.resets_at:%Y-%m-%dT%H:%M:%SZ}"}
    wait_s = (quota.resets_at - datetime.now(UTC)).total_seconds()
    return QuotaExceededError(f"The {quota.limit} {noun} of this day are used up", details=details, retry_after=wait_s)


def storage_full(limit: int | None = None) -> QuotaExceededError:
    """`limit`: in bytes, if it is known."""
    details = {"quota": STORAGE} | ({"limit": limit} if limit is not None else {})
    return QuotaExceededError("Your storage is full; delete recordings, clones or jobs", details=details, retry_after=120)
