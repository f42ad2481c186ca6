"""Accounts, settings and numbers, as admins see and change them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from sqlalchemy.exc import IntegrityError

from api.admin import audit
from api.admin.live import CHANGEABLE, LiveSettings, schema, why_not
from api.admin.schemas import (
    ConfigData,
    InferenceStatistics,
    JobStatistics,
    QueueStatistics,
    SettingView,
    Statistics,
    StorageStatistics,
    UserChange,
    UserStatistics,
)
from api.auth.passwords import Passwords
from api.auth.schemas import RegisterRequest
from api.auth.service import email_exists
from api.errors import ConflictError, ValidationFailedError, found
from api.limits.quotas import Quotas, Usage
from settings import Settings
from store.clock import utcnow
from store.ids import new_id
from store.models import AuditEntry, User
from store.models.job import SYNTHESIS
from store.models.user import ADMIN, SERVICE
from store.repositories.admin import AccountRepository, AuditRepository, OverrideRepository, StatisticsRepository
from store.repositories.base import Window
from store.repositories.users import ApiKeyRepository, PasswordResetRepository, RefreshTokenRepository
from store.stores import Stores

log = structlog.get_logger(__name__)


class AdminService:
    def __init__(
        self, stores: Stores, live: LiveSettings, quotas: Quotas, passwords: Passwords, inference_ready: Callable[[], Awaitable[bool]]
    ) -> None:
        self.stores = stores
        self.live = live
        self.quotas = quotas
        self.passwords = passwords
        self.inference_ready = inference_ready

    async def users(self, window: Window, *, role: str | None, is_active: bool | None, search: str | None) -> tuple[Sequence[User], int]:
        async with self.stores.database.read() as session:
            return await AccountRepository(session).list(window, role=role, is_active=is_active, search=search)

    async def user(self, user_id: str) -> tuple[User, Usage]:
        """The account and what it has used."""
        async with self.stores.database.read() as session:
            user = found(await AccountRepository(session).get(user_id), "user")
        return user, await self.quotas.look(user_id)

    async def create_user(self, actor_id: str, wanted: RegisterRequest, request_id: str) -> tuple[User, Usage]:
        """Make an account for somebody, also while the registration is closed.

        Raises:
            ConflictError: ``EMAIL_EXISTS``.
        """
        password_hash = await self.passwords.hash(wanted.password)
        named = wanted.model_dump(include={"email", "first_name", "last_name"})
        user = User(id=new_id("user"), password_hash=password_hash, **named)
        try:
            async with self.stores.database.write() as session:
                accounts = AccountRepository(session)
                _still_admin(actor_id, await accounts.lock_active_admins())
                accounts.add(user)
                await session.flush()
                audit.note(session, actor_id, audit.NEW_USER, user.id, before={}, after=_state(user), request_id=request_id)
        except IntegrityError:
            raise email_exists() from None
        return user, await self.quotas.look(user.id)

    async def change_user(self, actor_id: str, user_id: str, wanted: UserChange, request_id: str) -> tuple[User, Usage]:
        """Change an account. One that is disabled loses its sessions, API keys and reset tokens, and they do not come back with it.

        Raises:
            NotFoundError: ``USER_NOT_FOUND``.
            ConflictError: ``OWN_ACCOUNT``, ``LAST_ADMIN``, or ``SERVICE_ACCOUNT`` for the role of a service.
        """
        async with self.stores.database.write() as session:
            accounts = AccountRepository(session)
            # Locked first: of two admins who take each other's role away at once, the second finds that they are none any more.
            admins = await accounts.lock_active_admins()
            _still_admin(actor_id, admins)
            user = found(await accounts.get(user_id), "user")
            before = _state(user)
            if wanted.role is not None and user.role == SERVICE:
                raise ConflictError("The role of a service cannot be changed", code="SERVICE_ACCOUNT")
            if wanted.is_active is not None:
                user.is_active = wanted.is_active
            if wanted.role is not None:
                user.role = wanted.role
            if wanted.limits is not None:
                for name in wanted.limits.model_fields_set:
                    setattr(user, f"limit_{name}", getattr(wanted.limits, name))
            if user_id in admins and not (user.role == ADMIN and user.is_active):
                _may_leave(actor_id, user_id, admins)
            if not user.is_active:
                await RefreshTokenRepository(session).end_all(user_id)
                await ApiKeyRepository(session).remove_all(user_id)
                await PasswordResetRepository(session).forget(user_id)
            audit.note(session, actor_id, audit.USER, user_id, before=before, after=_state(user), request_id=request_id)
        return user, await self.quotas.look(user_id)

    def config(self) -> ConfigData:
        """The settings that can be changed, as they are in effect here."""
        views = [self._view(name) for name in CHANGEABLE]
        return ConfigData(config={view.name: view.value for view in views}, settings=views)

    async def change_config(self, actor_id: str, values: dict[str, Any], request_id: str) -> ConfigData:
        """Change settings, all that are named or none; None takes a change back. In effect here at once, elsewhere within seconds.

        Raises:
            ValidationFailedError: a name is none of them, or a field does not take its value.
        """
        wrong = {name: why for name, value in values.items() if (why := _why_not(name, value)) is not None}
        if wrong or not values:
            raise ValidationFailedError(wrong or {"body": "must name at least one setting"})
        async with self.stores.database.write() as session:
            # As above: changes are made one after another, so that the log tells them in their order.
            _still_admin(actor_id, await AccountRepository(session).lock_active_admins())
            overrides = OverrideRepository(session)
            before = {row.name: row.value for row in await overrides.all()}
            changed = {name: value for name, value in values.items() if before.get(name) != value}
            await overrides.put(changed, actor_id)
            audit.note(session, actor_id, audit.CONFIG, audit.CONFIG_SUBJECT, before=before, after=changed, request_id=request_id)
        await self.live.changed()
        return self.config()

    async def audit(
        self, window: Window, *, actor_id: str | None, action: str | None, subject: str | None
    ) -> tuple[Sequence[AuditEntry], int]:
        async with self.stores.database.read() as session:
            return await AuditRepository(session).list(window, actor_id=actor_id, action=action, subject=subject)

    async def statistics(self) -> Statistics:
        now = utcnow()
        async with self.stores.database.read() as session:
            numbers = StatisticsRepository(session)
            users, jobs, waiting = await numbers.users(), await numbers.jobs(), await numbers.waiting(now)
            running, stored = await numbers.running(), await numbers.stored_bytes()
            samples, clones = await numbers.samples(), await numbers.clones()
        ready = await self.inference_ready()
        return Statistics(
            users=_user_statistics(users),
            samples=samples,
            clones=clones,
            jobs=_job_statistics(jobs),
            queue=QueueStatistics(
                depth=waiting.waiting,
                due=waiting.due,
                running=running,
                oldest_age_s=round((now - waiting.oldest_due_at).total_seconds(), 1) if waiting.oldest_due_at else None,
            ),
            storage=StorageStatistics(total=sum(stored.values()), **stored),
            inference=InferenceStatistics(status="ready" if ready else "unavailable"),
        )

    def _view(self, name: str) -> SettingView:
        change = self.live.changes.get(name)
        return SettingView(
            name=name,
            value=getattr(self.live.current, name),
            default=getattr(self.live.base, name),
            is_changed=change is not None,
            changed_at=change.updated_at if change else None,
            changed_by=change.updated_by if change else None,
            description=Settings.model_fields[name].description,
            schema=schema(name),
        )


def _why_not(name: str, value: Any) -> str | None:
    if value is None and name in CHANGEABLE:
        return None
    return why_not(name, value)


def _state(user: User) -> dict[str, Any]:
    """What admins may change of an account, and nothing that describes the person."""
    limits = ("limit_requests_per_minute", "limit_samples_per_day", "limit_jobs_per_day", "limit_storage_bytes")
    return {"is_active": user.is_active, "role": user.role} | {name: getattr(user, name) for name in limits}


def _still_admin(actor_id: str, admins: set[str]) -> None:
    # Whoever was an admin when the request came in may have been stopped by another one since.
    if actor_id not in admins:
        raise ConflictError("You are no longer an admin", code="NO_LONGER_ADMIN")


def _may_leave(actor_id: str, user_id: str, admins: set[str]) -> None:
    if user_id == actor_id:
        raise ConflictError("You cannot take your own role away or disable yourself; another admin can", code="OWN_ACCOUNT")
    if admins == {user_id}:
        raise ConflictError("This is the last admin", code="LAST_ADMIN")


def _user_statistics(counts: dict[tuple[str, bool], int]) -> UserStatistics:
    by_role: dict[str, int] = {}
    for (role, _), count in counts.items():
        by_role[role] = by_role.get(role, 0) + count
    active = sum(count for (_, is_active), count in counts.items() if is_active)
    return UserStatistics(total=sum(counts.values()), active=active, by_role=by_role)


def _job_statistics(counts: dict[tuple[str, str], int]) -> JobStatistics:
    by_kind: dict[str, dict[str, int]] = {}
    for (kind, status), count in counts.items():
        by_kind.setdefault(kind, {})[status] = count
    spoken = by_kind.pop(SYNTHESIS, {})
    return JobStatistics(total=sum(spoken.values()), by_status=spoken, background=by_kind)
