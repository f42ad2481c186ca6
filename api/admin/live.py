"""The settings that an admin may change while the platform runs.

What is changed lies in the database and wins over the environment. Every process reads it again each second, and at once when another
process tells it to (:mod:`api.notices`), so that a change is in effect everywhere soon after, without a restart, and is kept over restarts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import structlog
from pydantic import ConfigDict, TypeAdapter, ValidationError

from api.body import RequestModel
from settings import Settings
from store.database import Database
from store.faults import database_away
from store.models import SettingOverride
from store.repositories.admin import OverrideRepository

POLL_S = 1.0

# What `AuthRoom.apply`, `LimitsRoom.apply` and `Rooms.apply` hand on. Nothing that is secret, and nothing that two fields have to agree on.
CHANGEABLE = (
    "registration",
    "requests_per_minute",
    "anonymous_requests_per_minute",
    "samples_per_day",
    "jobs_per_day",
    "storage_bytes",
    "max_text_length",
    "similarity_threshold",
    "file_link_ttl_s",
    "speech_cache",
    "require_consent",
    "user_concurrency",
    "speech_concurrency",
    "job_keep_days",
)


def _check(name: str) -> TypeAdapter[Any]:
    field = Settings.model_fields[name]
    annotated: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotated)


_CHECKS = {name: _check(name) for name in CHANGEABLE}

log = structlog.get_logger(__name__)


def why_not(name: str, value: Any) -> str | None:
    """What keeps a setting from having this value, as its own field says; None when nothing does."""
    if name not in _CHECKS:
        return "is not a setting that can be changed while the platform runs"
    try:
        _CHECKS[name].validate_python(value, strict=True)
    except ValidationError as invalid:
        return "; ".join(problem["msg"] for problem in invalid.errors(include_url=False, include_input=False))
    return None


def schema(name: str) -> dict[str, Any]:
    """The JSON schema of a setting's values."""
    return {key: value for key, value in _CHECKS[name].json_schema().items() if key not in {"default", "description", "title"}}


def _settings(body: dict[str, Any]) -> None:
    body["properties"] = {name: {"anyOf": [schema(name), {"type": "null"}]} for name in CHANGEABLE}
    body["minProperties"] = 1


class SettingsChange(RequestModel):
    """Settings by name; what is left out stays, null goes back to what the environment says."""

    # For the document alone; what is sent is checked by `why_not`.
    model_config = ConfigDict(extra="forbid", json_schema_extra=_settings)


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that has another value than the environment's, since when, and through whom."""

    value: Any
    updated_at: datetime
    updated_by: str


class LiveSettings:
    """The settings as they are now, and whom to tell when they change: `apply` is called with all of them."""

    def __init__(self, database: Database, base: Settings, apply: Callable[[Settings], None], *, poll_s: float = POLL_S) -> None:
        self.base = base
        self.current = base
        self.changes: dict[str, Change] = {}
        self.on_change: Callable[[], None] = _nobody
        self._database = database
        self._apply = apply
        self._poll_s = poll_s
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what was changed before, and from now on what is changed anywhere."""
        await self.refresh()
        self._polling = asyncio.create_task(self._poll())

    async def close(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)

    async def changed(self) -> None:
        """Put in effect what this process has just changed, and tell the others."""
        await self.refresh()
        self.on_change()

    async def refresh(self) -> None:
        """Read the changed settings and put them in effect here."""
        async with self._database.read() as session:
            rows = await OverrideRepository(session).all()
        changes = _usable(rows)
        if changes != self.changes:
            values = {name: change.value for name, change in changes.items()}
            self.changes, self.current = changes, self.base.model_copy(update=values)
            self._apply(self.current)
            log.info("settings changed", names=sorted(values))

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self.refresh()
            except Exception as failure:
                # The database may be away for a while, which it says itself; what was read last stays in effect.
                if not database_away(failure):
                    log.warning("settings could not be read", exc_info=True)


def _nobody() -> None:
    """Nobody needs to be told."""


def _usable(rows: Sequence[SettingOverride]) -> dict[str, Change]:
    """Those that are still settings with such values: another version may have written them."""
    return {row.name: Change(row.value, row.updated_at, row.updated_by) for row in rows if why_not(row.name, row.value) is None}
