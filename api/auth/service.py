"""Accounts and sessions: the story behind the auth routes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth.passwords import Passwords
from api.auth.principal import Principal
from api.auth.remembered import Remembered
from api.auth.throttle import PasswordCheck
from api.auth.tokens import ACCESS, REFRESH, SERVICE, Tokens, invalid_token
from api.errors import ConflictError, ForbiddenError, UnauthorizedError
from store.clock import utcnow
from store.database import Database
from store.ids import new_id
from store.models import RefreshToken, User
from store.repositories.users import RefreshTokenRepository, UserRepository

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Session:
    """A pair of tokens and whose they are."""

    user: User
    access_token: str
    refresh_token: str
    expires_in: int


class AuthService:
    """A session is a family of refresh tokens, named after its first one.

    The row of that first token stands for the whole session: as soon as it is revoked, no token of the family is taken any
    more, access tokens included. It must therefore live as long as any other row of its family.
    """

    def __init__(
        self, database: Database, tokens: Tokens, passwords: Passwords, check: PasswordCheck, *, registration: str = "open"
    ) -> None:
        self.registration = registration
        self._database = database
        self._tokens = tokens
        self._passwords = passwords
        self._check = check
        self._remembered = Remembered(database)

    async def register(self, email: str, password: str, first_name: str | None, last_name: str | None) -> User:
        """Make an account. `email` is normalised already.

        Raises:
            ForbiddenError: ``REGISTRATION_CLOSED``.
            ConflictError: ``EMAIL_EXISTS``, also for the slower of two who register one address at once.
        """
        if self.registration == "closed":
            # Before the address is looked for: strangers are not told who has an account.
            raise ForbiddenError("Nobody can sign up here; ask whoever runs this platform for an account", code="REGISTRATION_CLOSED")
        async with self._database.read() as session:
            if await UserRepository(session).by_email(email):
                raise email_exists()
        user = User(
            id=new_id("user"),
            email=email,
            password_hash=await self._passwords.hash(password),
            first_name=first_name,
            last_name=last_name,
        )
        try:
            async with self._database.write() as session:
                UserRepository(session).add(user)
        except IntegrityError:
            raise email_exists() from None
        log.info("user registered", user_id=user.id)
        return user

    async def login(self, email: str, password: str, address: str | None) -> Session:
        """Begin a session. `address`: where the request comes from, for the throttle.

        Raises:
            UnauthorizedError: ``INVALID_CREDENTIALS``, the same, after the same work, for an unknown address and a wrong password.
            ForbiddenError: ``ACCOUNT_DISABLED``, said only to who knows the password.
            RateLimitedError: too many wrong passwords.
        """
        email = email.strip()
        while True:
            async with self._database.read() as session:
                user = await UserRepository(session).by_email(email)
            seen_hash = user.password_hash if user else None
            if not await self._check.right(email, seen_hash, password, address) or user is None:
                raise UnauthorizedError("The e-mail address or the password is wrong", code="INVALID_CREDENTIALS")
            rehashed = await self._passwords.hash(password) if self._passwords.outdated(user.password_hash) else None
            async with self._database.write() as session:
                user = active(await UserRepository(session).get(user.id))
                if user.password_hash != seen_hash:
                    # Changed since it was checked, and with it all sessions ended: this one must not begin after that.
                    continue
                user.last_login_at = utcnow()
                if rehashed:
                    user.password_hash = rehashed
                return self._extend(session, user, family_id=None)

    async def refresh(self, token: str) -> Session:
        """A new pair for a refresh token, which is thereby used up. One that was used before ends its session.

        Raises:
            UnauthorizedError: ``INVALID_TOKEN``, ``TOKEN_EXPIRED`` or ``USER_NOT_FOUND``.
            ForbiddenError: ``ACCOUNT_DISABLED``.
        """
        claims = self._tokens.read(token, REFRESH)
        async with self._database.write() as session:
            renewed = await self._renew(session, claims.token_id, claims.session_id)
        # Raised only here: the end of the family must be committed.
        if renewed is None:
            raise invalid_token()
        return renewed

    async def logout(self, principal: Principal) -> None:
        """End the session of whoever asks: all its tokens."""
        if principal.session_id is not None:
            async with self._database.write() as session:
                await RefreshTokenRepository(session).end_family(principal.session_id)

    async def logout_everywhere(self, principal: Principal) -> None:
        """End all sessions of the account, this one too. API keys go on."""
        async with self._database.write() as session:
            await RefreshTokenRepository(session).end_all(principal.user_id)

    async def authenticate(self, token: str) -> Principal:
        """Whose access or service token this is: of an active account, in a session that has not ended.

        Raises:
            UnauthorizedError: ``INVALID_TOKEN``, ``TOKEN_EXPIRED`` or ``USER_NOT_FOUND``.
            ForbiddenError: ``ACCOUNT_DISABLED``.
        """
        if (known := self._remembered.get(token)) is not None:
            return known
        claims = self._tokens.read(token, ACCESS, SERVICE)
        changes = self._database.account_changes

        async def look(session: AsyncSession) -> User:
            user = active(await UserRepository(session).get(claims.user_id))
            if not await _is_open(session, claims.session_id):
                raise invalid_token()
            return user

        user = await self._database.glance(look)
        # The row of a service token is no session: nobody has signed in with a password.
        session_id = claims.session_id if claims.audience == ACCESS else None
        principal = Principal(user.id, user.role, session_id, requests_per_minute=user.limit_requests_per_minute)
        self._remembered.put(token, claims.expires_at, principal, changes)
        return principal

    async def profile(self, user_id: str) -> User:
        async with self._database.read() as session:
            return active(await UserRepository(session).get(user_id))

    async def _renew(self, session: AsyncSession, token_id: str, family_id: str) -> Session | None:
        tokens = RefreshTokenRepository(session)
        row = await tokens.get(token_id)
        if row is None or row.family_id != family_id:
            return None
        if not await tokens.use(token_id, utcnow()):
            await tokens.end_family(family_id)
            log.warning("refresh token used again, session ended", user_id=row.user_id, session_id=family_id)
            return None
        if not await _is_open(session, family_id):
            return None
        return self._extend(session, active(await UserRepository(session).get(row.user_id)), family_id)

    def _extend(self, session: AsyncSession, user: User, family_id: str | None) -> Session:
        """Add a pair to a session, or begin one."""
        token_id = new_id("tok")
        family_id = family_id or token_id
        refresh_token, claims = self._tokens.make(REFRESH, user.id, family_id, token_id)
        access_token, _ = self._tokens.make(ACCESS, user.id, family_id)
        expires_at = datetime.fromtimestamp(claims.expires_at, UTC)
        RefreshTokenRepository(session).add(RefreshToken(id=token_id, family_id=family_id, user_id=user.id, expires_at=expires_at))
        return Session(user, access_token, refresh_token, self._tokens.access_ttl_s)


async def _is_open(session: AsyncSession, family_id: str) -> bool:
    first = await RefreshTokenRepository(session).get(family_id)
    return first is not None and first.revoked_at is None


def active(user: User | None) -> User:
    if user is None:
        raise UnauthorizedError("There is no account for this token", code="USER_NOT_FOUND")
    if not user.is_active:
        raise ForbiddenError("This account is disabled", code="ACCOUNT_DISABLED")
    return user


def email_exists() -> ConflictError:
    return ConflictError("There is an account with this e-mail address", code="EMAIL_EXISTS")
