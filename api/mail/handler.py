"""Mail as a job: it survives a restart, is sent from whichever process has a slot for it, and tried again while the server refuses it."""

from __future__ import annotations

import secrets
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import structlog
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth.api_keys import hash_of
from api.mail import messages
from api.mail.transports import MailFailedError, MailTransport
from settings import Settings
from store.clock import utcnow
from store.database import Database
from store.ids import new_id
from store.models import Job, PasswordReset
from store.models.job import MAIL
from store.models.user import SERVICE
from store.repositories.users import PasswordResetRepository, UserRepository
from worker.errors import JobFailedError, NotYetError
from worker.handlers.base import Outcome, Report

FIRST_PAUSE_S = 5.0
MAX_PAUSE_S = 600.0
GIVE_UP_S = 3600.0
"""Mail that nobody took for so long is given up: what it says is no longer news, and a token can be asked for again."""

RESET, CHANGED = "password_reset", "account_changed"

log = structlog.get_logger(__name__)


def reset_mail(user_id: str) -> Job:
    """The job that mails a new reset token. The token is made when it is sent: no row holds it."""
    return _mail(user_id, {"about": RESET})


def changed_mail(user_id: str, to: str, what: str) -> Job:
    """The job that tells the owner of `to`, an address which may no longer be the account's, that `what` was changed."""
    return _mail(user_id, {"about": CHANGED, "to": to, "what": what})


class MailHandler:
    def __init__(self, database: Database, settings: Settings, transport: MailTransport) -> None:
        self.database = database
        self.settings = settings
        self.transport = transport

    async def run(self, job: Job, report: Report) -> Outcome:  # noqa: ARG002 - there is no progress in one mail
        message = await self._message(job)
        if message is not None:
            await self._send(job, message)
        return Outcome({"config": _kept(job)})

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:
        log.error("mail given up", about=job.config.get("about"), code=code, reason=message)
        await session.execute(update(Job).where(Job.id == job.id).values(config=_kept(job)))

    async def _send(self, job: Job, message: EmailMessage) -> None:
        try:
            await self.transport.send(message)
        except MailFailedError as failed:
            age_s = (utcnow() - job.created_at).total_seconds()
            if failed.is_final or age_s > GIVE_UP_S:
                raise JobFailedError(failed.code, str(failed)) from failed
            log.warning("mail failed", about=job.config.get("about"), reason=str(failed))
            raise NotYetError("Waiting to be tried again", max(FIRST_PAUSE_S, min(age_s, MAX_PAUSE_S))) from failed

    async def _message(self, job: Job) -> EmailMessage | None:
        """What is to be sent, or None where there is nobody to send it to any more."""
        sender = self.settings.mail_from
        if job.config["about"] == CHANGED:
            return messages.account_changed(sender, job.config["to"], job.config["what"])
        token, ttl_s = secrets.token_urlsafe(32), self.settings.reset_token_ttl_s
        async with self.database.write() as session:
            user = await UserRepository(session).get(job.user_id)
            if user is None or not user.is_active or user.role == SERVICE:
                return None
            expires_at = utcnow() + timedelta(seconds=ttl_s)
            await PasswordResetRepository(session).forget_expired(user.id, utcnow())
            PasswordResetRepository(session).add(PasswordReset(token_hash=hash_of(token), user_id=user.id, expires_at=expires_at))
        return messages.password_reset(sender, user.email, token, ttl_s, self.settings.password_reset_url)


def _mail(user_id: str, config: dict[str, Any]) -> Job:
    return Job(id=new_id("job"), user_id=user_id, kind=MAIL, config=config, available_at=utcnow())


def _kept(job: Job) -> dict[str, Any]:
    """What is left in the row of a mail that is done with: no address."""
    return {name: value for name, value in job.config.items() if name != "to"}
