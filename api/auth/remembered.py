"""Who was let in a moment ago, so that a client which asks again and again does not have its account looked up every time."""

from __future__ import annotations

import hashlib
import time

from api.auth.principal import Principal
from store.database import Database

REMEMBERED_S = 1.0
"""How long a session that another process has ended, or an account that it has disabled, may still be taken here."""
MOST = 10_000


class Remembered:
    """What the database said of sessions, up to `REMEMBERED_S` seconds ago; refusals are not kept.

    What this process changes itself is forgotten in the moment in which it is committed (see
    :attr:`~store.database.Database.account_changes`). Of a token that has been read its hash is kept, and when it ends.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: dict[bytes, tuple[float, int, Principal]] = {}
        self._changes = database.account_changes

    def get(self, token: str) -> Principal | None:
        self._forget_changed()
        until, expires_at, principal = self._found.get(_hash(token), (0.0, 0, None))
        return principal if time.monotonic() < until and time.time() < expires_at else None

    def put(self, token: str, expires_at: int, principal: Principal, changes: int) -> None:
        """Keep whose token this is, which ends at `expires_at`, Unix seconds.

        `changes`: `account_changes` before the database was asked; when there has been one since, the answer may be out of date.
        """
        self._forget_changed()
        if changes != self._changes:
            return
        if len(self._found) >= MOST:
            self._found.clear()
        self._found[_hash(token)] = (time.monotonic() + REMEMBERED_S, expires_at, principal)

    def _forget_changed(self) -> None:
        if self._changes != self._database.account_changes:
            self._changes = self._database.account_changes
            self._found.clear()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
