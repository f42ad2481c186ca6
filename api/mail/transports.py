"""Where mail goes: to an SMTP server, or without one into a folder."""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol

import structlog

from settings import Settings
from store.clock import utcnow

log = structlog.get_logger(__name__)


class MailFailedError(Exception):
    """A mail was not taken. The message never names whom it was for."""

    code = "MAIL_FAILED"

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        """`is_final`: it will not be taken later either."""
        super().__init__(reason)
        self.is_final = is_final


class MailTransport(Protocol):
    async def send(self, message: EmailMessage) -> None:
        """Deliver one message.

        Raises:
            MailFailedError: it was not taken.
        """


def sign_in(settings: Settings) -> dict[str, Any]:
    """Where the mail server is and how it is signed in to, as arguments of aiosmtplib."""
    return {
        "hostname": settings.smtp_host,
        "port": settings.smtp_port,
        "use_tls": settings.smtp_tls == "tls",
        "start_tls": settings.smtp_tls == "starttls",
        "username": settings.smtp_user or None,
        "password": settings.smtp_password.get_secret_value() if settings.smtp_user else None,
    }


class Smtp:
    """A mail server, asked anew for each message: there are few. `tls_context` trusts what Python trusts unless given."""

    def __init__(self, settings: Settings, tls_context: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._tls_context = tls_context

    async def send(self, message: EmailMessage) -> None:
        import aiosmtplib

        settings = self._settings
        try:
            await aiosmtplib.send(message, **sign_in(settings), timeout=settings.smtp_timeout_s, tls_context=self._tls_context)
        except (aiosmtplib.SMTPException, OSError, ValueError) as failed:
            # Neither the sentence nor the cause is kept: both quote the address.
            refused = failed.recipients[0] if isinstance(failed, aiosmtplib.SMTPRecipientsRefused) and failed.recipients else failed
            status = getattr(refused, "code", None)
            # Of this mail, and not of who we are, which its operator may mend.
            about_mail = isinstance(refused, aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPSenderRefused | aiosmtplib.SMTPDataError)
            is_final = about_mail and isinstance(status, int) and status >= 500
            reason = f"{type(failed).__name__}{f' {status}' if isinstance(status, int) else ''}"
            raise MailFailedError(reason, is_final=is_final) from None


class Outbox:
    """A folder of `.eml` files, for machines without a mail server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, message: EmailMessage) -> None:
        try:
            path = await asyncio.to_thread(self._write, message.as_bytes(policy=policy.SMTPUTF8))
        except OSError as failed:
            raise MailFailedError(f"{type(failed).__name__} {failed.errno}") from None
        log.info("mail written to the outbox; set VOXIFY_SMTP_HOST to have it sent", path=str(path))

    def _write(self, content: bytes) -> Path:
        # Whoever reads a mail may use the token in it.
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{utcnow():%Y%m%dT%H%M%S}-{secrets.token_hex(6)}.eml"
        part = path.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        return part.rename(path)


def transport(settings: Settings) -> MailTransport:
    return Smtp(settings) if settings.smtp_host else Outbox(settings.outbox_dir)
