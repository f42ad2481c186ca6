"""How often a password may be guessed.

Failures are counted in a sliding window, three ways: for one account from one address, for one account from everywhere, from one
address for whatever account. The first is the tight one, so that whoever guesses at an account from a few addresses does not shut its
owner out; the second bounds what many addresses can do together. Nobody is shut out for good: an attempt comes free again after
``login_window_s / limit`` seconds, sessions that are open go on, and a reset of the password by mail frees the account at once.

An attempt is counted before the password is looked at, and given back when it was right: any number of guesses at the same moment
count one by one.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from api.auth.passwords import Passwords
from api.errors import TooManyAttemptsError
from settings import Settings
from store.clock import utcnow
from store.database import Database
from store.repositories.users import ThrottleRepository

SWEEP_EVERY_MS = 3600 * 1000


def network(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one IPv6 household has."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


@dataclass(frozen=True, slots=True)
class Charge:
    """One attempt on one limit: `limit` of them pass in a window."""

    key: str
    limit: int


class Throttle:
    """Takes and gives back attempts. Accounts and addresses are stored as keyed hashes (HMAC-SHA256 with the signing secret)."""

    def __init__(self, database: Database, settings: Settings, secret: str) -> None:
        self._database = database
        self._settings = settings
        self._secret = secret.encode()
        self._window_ms = settings.login_window_s * 1000
        self._next_sweep_ms = 0

    def login(self, account: str, address: str | None) -> list[Charge]:
        """What a guess at `account` (the e-mail address, in any case) from `address` costs."""
        settings, account = self._settings, account.strip().lower()
        charges = [Charge(self._key("account", account), settings.login_failures_per_account)]
        if address is not None:
            place = network(address)
            # In this order in every transaction, and the tight one first: what it refuses costs the owner nothing.
            charges.insert(0, Charge(self._key("pair", account, place), settings.login_failures))
            charges.append(Charge(self._key("address", place), settings.login_failures_per_address))
        return charges

    def asking_for_mail(self, address: str | None) -> list[Charge]:
        """What asking for a mail from `address` costs, whomever it is to."""
        return [Charge(self._key("asking", network(address)), self._settings.login_failures_per_address)] if address is not None else []

    def mail_to(self, user_id: str) -> list[Charge]:
        """What a mail to this account costs."""
        return [Charge(self._key("mail", user_id), self._settings.reset_mails)]

    async def take(self, charges: Iterable[Charge]) -> None:
        """Spend all of them, or none.

        Raises:
            RateLimitedError: one has nothing left; says when it has again.
        """
        now_ms = int(utcnow().timestamp() * 1000)
        if now_ms >= self._next_sweep_ms:
            self._next_sweep_ms = now_ms + SWEEP_EVERY_MS
            async with self._database.write() as session:
                await ThrottleRepository(session).sweep(now_ms)
        async with self._database.write() as session:
            for charge in charges:
                # Raised within the transaction: what was spent before is not.
                if wait_ms := await ThrottleRepository(session).take(charge.key, now_ms, charge.limit, self._window_ms):
                    raise TooManyAttemptsError("Too many attempts; wait a little and try again", retry_after=wait_ms / 1000)

    async def give_back(self, charges: Iterable[Charge]) -> None:
        async with self._database.write() as session:
            for charge in charges:
                await ThrottleRepository(session).give_back(charge.key, charge.limit, self._window_ms)

    async def forget_account(self, account: str, address: str | None) -> None:
        """Forgive the failures at this account: all of them, and those of `address` at it."""
        async with self._database.write() as session:
            for charge in self.login(account, address)[:2]:  # not the last, which is about the address alone
                await ThrottleRepository(session).forget(charge.key)

    def _key(self, *parts: str) -> str:
        # The lengths keep ("a", "bc") apart from ("ab", "c").
        text = "".join(f"{len(part)}:{part}" for part in ("throttle", *parts))
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


class PasswordCheck:
    """Looks at a password that somebody typed, as often as the throttle allows."""

    def __init__(self, passwords: Passwords, throttle: Throttle) -> None:
        self._passwords = passwords
        self._throttle = throttle

    async def right(self, account: str, password_hash: str | None, password: str, address: str | None) -> bool:
        """Whether `password` is the one of `account`; `password_hash` is None when nobody has that account.

        Raises:
            RateLimitedError: it was guessed too often.
        """
        charges = self._throttle.login(account, address)
        await self._throttle.take(charges)
        right = await self._passwords.verify(password_hash, password)
        if right:
            await self._throttle.give_back(charges)
        return right
