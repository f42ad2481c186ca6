"""What people change about their account, and the way back in when a password is forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from sqlalchemy.exc import IntegrityError

from api.auth.api_keys import hash_of
from api.auth.passwords import Passwords
from api.auth.principal import Principal
from api.auth.service import active, email_exists
from api.auth.throttle import PasswordCheck, Throttle
from api.errors import BadRequestError, ForbiddenError, RateLimitedError, ValidationFailedError
from api.mail.background import Background
from api.mail.handler import changed_mail, reset_mail
from store.clock import utcnow
from store.database import Database
from store.models import PasswordReset, User
from store.models.user import SERVICE
from store.repositories.users import PasswordResetRepository, RefreshTokenRepository, UserRepository
from worker.beat import Ring
from worker.lanes import LANES, MAIL

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Changes:
    """What to change: `values` of ``first_name``, ``last_name`` and ``email`` (normalised), and a new password."""

    values: dict[str, Any]
    password: str | None
    current_password: str | None

    def guarded(self, user: User) -> list[str]:
        """Those that only the password opens; an address that stays the same is none."""
        moved = self.values.get("email", user.email) != user.email
        return ["e-mail address"] * moved + ["password"] * (self.password is not None)


class AccountService:
    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        check: PasswordCheck,
        throttle: Throttle,
        ring: Ring,
        background: Background,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._check = check
        self._throttle = throttle
        self._ring = ring
        self._background = background

    async def change(self, principal: Principal, changes: Changes, address: str | None) -> User:
        """Change the account of whoever asks. A new password ends the other sessions.

        Raises:
            ValidationFailedError: ``MISSING_FIELDS``, the current password is needed and not there.
            ForbiddenError: ``INVALID_CREDENTIALS``, it is wrong; or ``ACCOUNT_DISABLED``.
            ConflictError: ``EMAIL_EXISTS``.
            RateLimitedError: it was wrong too often.
        """
        async with self._database.read() as session:
            seen = active(await UserRepository(session).get(principal.user_id))
        guarded = changes.guarded(seen)
        if guarded:
            await self._check_current(seen, changes.current_password, address)
        password_hash = await self._passwords.hash(changes.password) if changes.password is not None else None
        try:
            async with self._database.write() as session:
                user = active(await UserRepository(session).get(seen.id))
                if guarded and user.password_hash != seen.password_hash:
                    # Changed by somebody else since it was checked.
                    raise _wrong_password()
                for name, value in changes.values.items():
                    setattr(user, name, value)
                if password_hash is not None:
                    user.password_hash = password_hash
                    await RefreshTokenRepository(session).end_all(user.id, but=principal.session_id)
                session.add_all(changed_mail(user.id, seen.email, what) for what in guarded)
                if guarded:
                    # What lies in a mailbox that may no longer be theirs must not open the account.
                    await PasswordResetRepository(session).forget(user.id)
        except IntegrityError:
            raise email_exists() from None
        for what in guarded:
            log.info("account changed", user_id=user.id, what=what)
        if guarded:
            self._ring(LANES[MAIL])
        return user

    async def forgot(self, email: str, address: str | None) -> None:
        """Have a reset token mailed, if there is such an account. Nothing here depends on that, the time neither: it happens afterwards.

        Raises:
            RateLimitedError: asked too often from this address.
        """
        await self._throttle.take(self._throttle.asking_for_mail(address))
        self._background.start("password reset", partial(self._mail_reset, email))

    async def reset(self, token: str, password: str, address: str | None) -> None:
        """Set a new password with a mailed token, which is used up. All sessions end; the throttle forgives the account.

        Raises:
            BadRequestError: ``INVALID_TOKEN``, ``TOKEN_EXPIRED``.
            ForbiddenError: ``ACCOUNT_DISABLED``; the token stays.
        """
        token_hash = hash_of(token)
        async with self._database.read() as session:
            # Before the hash of the password, which is slow: anybody may ask.
            _usable(await PasswordResetRepository(session).get(token_hash))
        password_hash = await self._passwords.hash(password)
        async with self._database.write() as session:
            row = _usable(await PasswordResetRepository(session).use(token_hash))
            user = active(await UserRepository(session).get(row.user_id))
            user.password_hash = password_hash
            await PasswordResetRepository(session).forget(user.id)
            await RefreshTokenRepository(session).end_all(user.id)
            session.add(changed_mail(user.id, user.email, "password"))
        await self._throttle.forget_account(user.email, address)
        log.info("password reset", user_id=user.id)
        self._ring(LANES[MAIL])

    async def _mail_reset(self, email: str) -> None:
        async with self._database.read() as session:
            user = await UserRepository(session).by_email(email)
        if user is None or not user.is_active or user.role == SERVICE:
            return
        try:
            await self._throttle.take(self._throttle.mail_to(user.id))
        except RateLimitedError:
            log.warning("no mail: too many resets asked for", user_id=user.id)
            return
        async with self._database.write() as session:
            session.add(reset_mail(user.id))
        log.info("password reset asked for", user_id=user.id)
        self._ring(LANES[MAIL])

    async def _check_current(self, user: User, password: str | None, address: str | None) -> None:
        if password is None:
            raise ValidationFailedError({"current_password": "is missing"}, "This needs the current password", code="MISSING_FIELDS")
        if not await self._check.right(user.email, user.password_hash, password, address):
            raise _wrong_password()


def _usable(row: PasswordReset | None) -> PasswordReset:
    if row is None:
        raise BadRequestError("The reset token is not valid", code="INVALID_TOKEN", details={"token": "is not valid"})
    if row.expires_at <= utcnow():
        raise BadRequestError("The reset token has expired", code="TOKEN_EXPIRED", details={"token": "has expired"})
    return row


def _wrong_password() -> ForbiddenError:
    # Not 401: the caller is known, and clients take 401 for a session that has ended.
    return ForbiddenError("The current password is wrong", code="INVALID_CREDENTIALS", details={"current_password": "is wrong"})
