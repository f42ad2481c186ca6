"""Writes down what admins change, in the transaction that changes it."""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from store.ids import new_id
from store.models import AuditEntry
from store.repositories.admin import AuditRepository

NEW_USER, USER, CONFIG = "user.create", "user.change", "config.change"
CONFIG_SUBJECT = "config"

log = structlog.get_logger(__name__)


def note(
    session: AsyncSession,
    actor_id: str,
    action: str,
    subject: str,
    *,
    before: dict[str, Any],
    after: dict[str, Any],
    request_id: str | None,
) -> None:
    """Keep what changed, `before` and `after` of the same keys. What did not change is left out; nothing is kept of no change.

    Neither may hold a secret or what describes a person.
    """
    changed = [key for key in after if before.get(key) != after[key]]
    if not changed:
        return
    AuditRepository(session).add(
        AuditEntry(
            id=new_id("audit"),
            actor_id=actor_id,
            action=action,
            subject=subject,
            before={key: before.get(key) for key in changed},
            after={key: after[key] for key in changed},
            request_id=request_id,
        )
    )
    log.info("changed by an admin", actor_id=actor_id, action=action, subject=subject, what=sorted(changed))
