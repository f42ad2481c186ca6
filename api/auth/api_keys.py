"""API keys: long-lived credentials for programs, shown once, stored as a hash."""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth.principal import Principal, Scope
from api.auth.service import active
from api.auth.tokens import invalid_token
from api.errors import NotFoundError, UnauthorizedError
from store.clock import utcnow
from store.database import Database
from store.ids import new_id
from store.models import ApiKey, User
from store.repositories.base import Window
from store.repositories.users import ApiKeyRepository, UserRepository

log = structlog.get_logger(__name__)

PREFIX = "vx_"
RANDOM_LENGTH = 40
SHOWN_LENGTH = len(PREFIX) + 6
USE_NOTED_EVERY = timedelta(minutes=1)

_LETTERS = string.ascii_letters + string.digits


def new_key() -> str:
    """``vx_`` and 40 random letters and digits: 238 bits."""
    return PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(RANDOM_LENGTH))


def hash_of(secret: str) -> str:
    """SHA-256, hexadecimal. Enough for what is random and long: nobody can try all of them, so nothing slow is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiKeyService:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: str, name: str, scopes: Sequence[Scope], expires_at: datetime | None) -> tuple[ApiKey, str]:
        """A new key and its secret, which is not kept."""
        secret = new_key()
        row = ApiKey(
            id=new_id("key"),
            user_id=user_id,
            name=name,
            key_hash=hash_of(secret),
            prefix=secret[:SHOWN_LENGTH],
            scopes=sorted(set(scopes)),
            expires_at=expires_at,
        )
        async with self._database.write() as session:
            ApiKeyRepository(session).add(row)
        log.info("api key made", user_id=user_id, key_id=row.id)
        return row, secret

    async def list(self, user_id: str, window: Window) -> tuple[Sequence[ApiKey], int]:
        """The keys of this person in the window, expired ones too, and how many there are in all."""
        async with self._database.read() as session:
            return await ApiKeyRepository(session).list(user_id, window)

    async def revoke(self, user_id: str, key_id: str) -> None:
        """End the key at once.

        Raises:
            NotFoundError: ``API_KEY_NOT_FOUND``, also when it is somebody else's.
        """
        async with self._database.write() as session:
            if not await ApiKeyRepository(session).remove(user_id, key_id):
                raise NotFoundError("API key")
        log.info("api key revoked", user_id=user_id, key_id=key_id)

    async def authenticate(self, key: str) -> Principal:
        """Whose key this is: of an active account.

        Raises:
            UnauthorizedError: ``INVALID_TOKEN``, ``TOKEN_EXPIRED`` or ``USER_NOT_FOUND``.
            ForbiddenError: ``ACCOUNT_DISABLED``.
        """
        now = utcnow()

        async def look(session: AsyncSession) -> tuple[ApiKey, User]:
            row = await ApiKeyRepository(session).by_hash(hash_of(key))
            if row is None:
                raise invalid_token()
            if row.expires_at is not None and row.expires_at <= now:
                raise UnauthorizedError("The API key has expired", code="TOKEN_EXPIRED")
            return row, active(await UserRepository(session).get(row.user_id))

        row, user = await self._database.glance(look)
        if row.last_used_at is None or row.last_used_at <= now - USE_NOTED_EVERY:
            async with self._database.write() as session:
                await ApiKeyRepository(session).used(row.id, now, USE_NOTED_EVERY)
        scopes = frozenset(_known(row.scopes))
        return Principal(user.id, user.role, session_id=None, scopes=scopes, requests_per_minute=user.limit_requests_per_minute)


def _known(scopes: Sequence[str]) -> list[Scope]:
    return [scope for scope in ("read", "write") if scope in scopes]
