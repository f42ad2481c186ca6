"""What admin routes take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import ConfigDict, Field, field_validator, model_validator

from api.auth.schemas import UserView
from api.body import RequestModel, names_one
from api.fields import JsonObject
from api.limits.quotas import Usage
from api.limits.schemas import QuotaView
from store.models import AuditEntry, User

Count = Annotated[int, Field(ge=0, le=10**9, strict=True)]
Rate = Annotated[int, Field(ge=1, le=10**9, strict=True)]
Bytes = Annotated[int, Field(ge=0, le=2**60, strict=True)]


class LimitsChange(RequestModel):
    """Limits of one account. What is left out stays; `null` takes the account's own limit away, so that the settings hold again."""

    model_config = ConfigDict(extra="forbid")

    requests_per_minute: Rate | None = None
    samples_per_day: Count | None = None
    jobs_per_day: Count | None = None
    storage_bytes: Bytes | None = None


class UserChange(RequestModel):
    """What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=names_one())

    is_active: Annotated[bool, Field(strict=True)] | None = None
    role: Literal["user", "admin"] | None = None
    limits: LimitsChange | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must name at least one of " + ", ".join(type(self).model_fields))
        return self

    @field_validator("*", mode="after")
    @classmethod
    def _no_null(cls, value: Any) -> Any:
        # Only what was sent is checked: a field that is left out is not null.
        if value is None:
            raise ValueError("may not be null; leave it out to keep it as it is")
        return value


class OwnLimitsView(msgspec.Struct, frozen=True, kw_only=True):
    """What was set for this account alone; null: what the settings say."""

    requests_per_minute: int | None
    samples_per_day: int | None
    jobs_per_day: int | None
    storage_bytes: int | None

    @classmethod
    def of(cls, user: User) -> OwnLimitsView:
        return cls(**{name: getattr(user, f"limit_{name}") for name in cls.__struct_fields__})


class AccountView(UserView, frozen=True, kw_only=True):
    limits: OwnLimitsView

    @classmethod
    def of(cls, user: User) -> AccountView:
        return cls(**msgspec.structs.asdict(UserView.of(user)), limits=OwnLimitsView.of(user))


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    """`samples` and `jobs` of this day, `storage` in bytes."""

    samples: QuotaView
    jobs: QuotaView
    storage: QuotaView

    @classmethod
    def of(cls, usage: Usage) -> UsageView:
        return cls(samples=QuotaView.of(usage.samples), jobs=QuotaView.of(usage.jobs), storage=QuotaView.of(usage.storage))


class AccountData(msgspec.Struct, frozen=True, kw_only=True):
    user: AccountView
    usage: UsageView


class UserStatistics(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    active: int
    by_role: dict[str, int]


class JobStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """`by_status`: of what is spoken; `background`: of all other work, by its kind and status."""

    total: int
    by_status: dict[str, int]
    background: dict[str, dict[str, int]]


class QueueStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """`depth`: jobs of every kind that wait; `due` of them could begin now, the first since `oldest_age_s` seconds."""

    depth: int
    due: int
    running: int
    oldest_age_s: float | None


class StorageStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, as the rows say."""

    total: int
    samples: int
    clones: int
    speech: int


class InferenceStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """`status`: ``ready`` or ``unavailable``."""

    status: str


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    users: UserStatistics
    samples: dict[str, int]
    clones: dict[str, int]
    jobs: JobStatistics
    queue: QueueStatistics
    storage: StorageStatistics
    inference: InferenceStatistics


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """`default` is what the environment says; `changed_by` is the id of the admin who set another value."""

    name: str
    value: Any
    default: Any
    is_changed: bool
    changed_at: datetime | None
    changed_by: str | None
    description: str | None
    schema: JsonObject


class ConfigData(msgspec.Struct, frozen=True, kw_only=True):
    """`config` has the form that `PUT` takes."""

    config: JsonObject
    settings: list[SettingView]


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """`before` and `after` hold what changed; a limit or a setting that is null is the general one."""

    id: str
    actor_id: str
    action: str
    subject: str
    before: JsonObject
    after: JsonObject
    request_id: str | None
    created_at: datetime

    @classmethod
    def of(cls, row: AuditEntry) -> AuditView:
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})
