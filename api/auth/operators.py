"""What an operator does from a shell: accounts, the first admin, and tokens for services of our own."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sqlalchemy.exc import IntegrityError

from api.auth.passwords import Passwords
from api.auth.tokens import SERVICE as SERVICE_AUDIENCE
from api.auth.tokens import Tokens
from store.database import Database
from store.ids import new_id
from store.models import RefreshToken, User
from store.models.user import ADMIN, SERVICE
from store.repositories.users import ApiKeyRepository, PasswordResetRepository, RefreshTokenRepository, UserRepository

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# No hash: no password matches it.
_NO_PASSWORD = "!"  # noqa: S105


class OperatorError(Exception):
    """What an operator asked for cannot be done; the message says why."""

    code = "OPERATOR_ERROR"


async def make_user(database: Database, passwords: Passwords, email: str, password: str) -> User:
    """An account with this address (normalised) and password, also while the registration is closed.

    Raises:
        OperatorError: there is one already.
    """
    user = User(id=new_id("user"), email=email, password_hash=await passwords.hash(password))
    try:
        async with database.write() as session:
            UserRepository(session).add(user)
    except IntegrityError:
        raise OperatorError(f"There is an account {email} already") from None
    return user


async def make_admin(database: Database, passwords: Passwords, email: str, password: str) -> tuple[User, bool]:
    """An active admin with this address (normalised) and password, and whether the account is new.

    An account that is there already is promoted. Its sessions, API keys and reset tokens end and the password is replaced: nobody
    has proved that the address is theirs, so whoever registered it first must not become the admin.
    """
    password_hash = await passwords.hash(password)
    async with database.write() as session:
        user = await UserRepository(session).by_email(email)
        if user is None:
            user = User(id=new_id("user"), email=email, password_hash=password_hash, role=ADMIN)
            UserRepository(session).add(user)
            return user, True
        user.role, user.is_active, user.password_hash = ADMIN, True, password_hash
        await RefreshTokenRepository(session).end_all(user.id)
        await ApiKeyRepository(session).remove_all(user.id)
        await PasswordResetRepository(session).forget(user.id)
        return user, False


def account_of(name: str) -> str:
    """What the account of a service has in place of an e-mail address. Nobody can register it.

    Raises:
        OperatorError: the name is not 1 to 63 of ``a-z``, ``0-9`` and ``-``.
    """
    if not _NAME.fullmatch(name):
        raise OperatorError("The name of a service is made of a-z, 0-9 and -, 63 at most, and begins with a letter or a digit")
    return f"service:{name}"


async def issue_service_token(database: Database, tokens: Tokens, name: str, days: int) -> str:
    """A token for the service `name`, good for `days` days; its account is made the first time.

    Raises:
        OperatorError: the name is no name, or the account is disabled.
    """
    email = account_of(name)
    async with database.write() as session:
        user = await UserRepository(session).by_email(email)
        if user is None:
            user = User(id=new_id("user"), email=email, password_hash=_NO_PASSWORD, first_name=name, role=SERVICE)
            UserRepository(session).add(user)
            await session.flush()
        elif not user.is_active:
            raise OperatorError(f"The account of the service {name} is disabled")
        token_id = new_id("tok")
        token, claims = tokens.make(SERVICE_AUDIENCE, user.id, token_id, token_id, ttl_s=days * 86400)
        expires_at = datetime.fromtimestamp(claims.expires_at, UTC)
        RefreshTokenRepository(session).add(RefreshToken(id=token_id, family_id=token_id, user_id=user.id, expires_at=expires_at))
    return token


async def revoke_service_tokens(database: Database, name: str) -> None:
    """End all tokens of the service; new ones may be made.

    Raises:
        OperatorError: there is no such service.
    """
    email = account_of(name)
    async with database.write() as session:
        user = await UserRepository(session).by_email(email)
        if user is None:
            raise OperatorError(f"There is no service {name}")
        await RefreshTokenRepository(session).end_all(user.id)
