"""Passwords: what is asked of them, and argon2id."""

from __future__ import annotations

import asyncio
import os
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH, MAX_LENGTH = 8, 128
SYMBOLS = '!@#$%^&*(),.?":{}|<>'


def shortcomings(password: str) -> list[str]:
    """What the password lacks, as it follows "must have"; empty for a good one."""
    rules = {
        f"at least {MIN_LENGTH} characters": len(password) >= MIN_LENGTH,
        f"at most {MAX_LENGTH} characters": len(password) <= MAX_LENGTH,
        "an upper-case letter": any(character.isupper() for character in password),
        "a lower-case letter": any(character.islower() for character in password),
        "a digit": any(character.isdecimal() for character in password),
        f"one of {SYMBOLS}": any(character in SYMBOLS for character in password),
    }
    return [rule for rule, kept in rules.items() if not kept]


class Passwords:
    """Hashes and verifies in threads, as many at once as there are cores: each takes 64 MiB while it runs."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._slots = asyncio.Semaphore(os.cpu_count() or 1)
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is right. For nobody (None) it is not, after the same work: time must not tell who has an account."""
        async with self._slots:
            right = await asyncio.to_thread(self._matches, password_hash or self._nobodys, password)
        return right and password_hash is not None

    def outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than new ones are."""
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            # An account without a password holds something that is no hash.
            return False
