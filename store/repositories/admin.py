"""What admins see and change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from store.models import AuditEntry, Clone, Job, Sample, SettingOverride, User
from store.models.job import PENDING, PROCESSING
from store.models.user import ADMIN
from store.repositories.base import Repository, Window


class AccountRepository(Repository[User]):
    """All accounts, whoever asks."""

    model = User

    async def list(
        self, window: Window, *, role: str | None = None, is_active: bool | None = None, search: str | None = None
    ) -> tuple[Sequence[User], int]:
        """`search` is looked for in the address and the names."""
        statement = select(User)
        if role is not None:
            statement = statement.where(User.role == role)
        if is_active is not None:
            statement = statement.where(User.is_active.is_(is_active))
        if search:
            columns = (User.email, User.first_name, User.last_name)
            statement = statement.where(or_(*(column.icontains(search, autoescape=True) for column in columns)))
        return await self._window(statement, window)

    async def lock_active_admins(self) -> set[str]:
        """The ids of all admins who can sign in; until the transaction ends, nobody else makes one of them less."""
        admins = select(User.id).where(User.role == ADMIN, User.is_active.is_(True)).order_by(User.id)
        return set(await self.session.scalars(admins.with_for_update(key_share=True)))


class AuditRepository(Repository[AuditEntry]):
    model = AuditEntry

    async def list(
        self, window: Window, *, actor_id: str | None = None, action: str | None = None, subject: str | None = None
    ) -> tuple[Sequence[AuditEntry], int]:
        statement = select(AuditEntry)
        for column, wanted in ((AuditEntry.actor_id, actor_id), (AuditEntry.action, action), (AuditEntry.subject, subject)):
            if wanted is not None:
                statement = statement.where(column == wanted)
        return await self._window(statement, window)


class OverrideRepository:
    """Settings that were changed while the platform ran."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def all(self) -> Sequence[SettingOverride]:
        return (await self.session.scalars(select(SettingOverride).order_by(SettingOverride.name))).all()

    async def put(self, values: Mapping[str, Any], actor_id: str) -> None:
        """Keep these values; None takes a setting away."""
        await self.session.execute(delete(SettingOverride).where(SettingOverride.name.in_(list(values))))
        self.session.add_all(
            SettingOverride(name=name, value=value, updated_by=actor_id) for name, value in values.items() if value is not None
        )
        await self.session.flush()


@dataclass(frozen=True, slots=True)
class Waiting:
    """`due` of the `waiting` jobs could begin now; `oldest_due_at` is since when the first of them could."""

    waiting: int
    due: int
    oldest_due_at: datetime | None


class StatisticsRepository:
    """Numbers about everything there is. They read whole tables."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def users(self) -> dict[tuple[str, bool], int]:
        """How many accounts by role and by whether they are active."""
        rows = await self.session.execute(select(User.role, User.is_active, func.count()).group_by(User.role, User.is_active))
        return {(role, active): count for role, active, count in rows}

    async def jobs(self) -> dict[tuple[str, str], int]:
        """How many jobs by kind and status."""
        rows = await self.session.execute(select(Job.kind, Job.status, func.count()).group_by(Job.kind, Job.status))
        return {(kind, status): count for kind, status, count in rows}

    async def samples(self) -> dict[str, int]:
        return await self._by_status(Sample)

    async def clones(self) -> dict[str, int]:
        return await self._by_status(Clone)

    async def waiting(self, now: datetime) -> Waiting:
        pending = select(func.count(), func.min(Job.available_at)).where(Job.status == PENDING)
        all_of_them, _ = (await self.session.execute(pending)).one()
        due, oldest = (await self.session.execute(pending.where(Job.available_at <= now))).one()
        return Waiting(all_of_them, due, oldest)

    async def running(self) -> int:
        return await self.session.scalar(select(func.count()).where(Job.status == PROCESSING)) or 0

    async def stored_bytes(self) -> dict[str, int]:
        """Bytes in the object store by what they are, as the rows say."""
        sums: dict[str, Select[Any]] = {
            "samples": select(func.sum(Sample.size + func.coalesce(Sample.prepared_size, 0))),
            "clones": select(func.sum(Clone.reference_size)),
            "speech": select(func.sum(Job.output_size)),
        }
        return {name: int((await self.session.execute(each)).scalar() or 0) for name, each in sums.items()}

    async def _by_status(self, model: type[Sample] | type[Clone]) -> dict[str, int]:
        rows = await self.session.execute(select(model.status, func.count()).group_by(model.status))
        return {str(status): int(count) for status, count in rows}
