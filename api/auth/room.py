"""What the auth routes work with, made once when the process starts."""

from __future__ import annotations

from dataclasses import dataclass

from api.auth.account import AccountService
from api.auth.api_keys import ApiKeyService
from api.auth.passwords import Passwords
from api.auth.service import AuthService
from api.auth.throttle import PasswordCheck, Throttle
from api.auth.tokens import Tokens
from api.mail.background import Background
from settings import Settings
from store.database import Database
from worker.beat import Ring


@dataclass(frozen=True, slots=True)
class AuthRoom:
    auth: AuthService
    accounts: AccountService
    api_keys: ApiKeyService
    background: Background

    @classmethod
    def build(
        cls,
        settings: Settings,
        database: Database,
        *,
        secret: str,
        tokens: Tokens,
        passwords: Passwords,
        ring: Ring,
    ) -> AuthRoom:
        """`ring` is called when there is mail to send."""
        background = Background()
        throttle = Throttle(database, settings, secret)
        check = PasswordCheck(passwords, throttle)
        return cls(
            auth=AuthService(database, tokens, passwords, check, registration=settings.registration),
            accounts=AccountService(database, passwords, check, throttle, ring, background),
            api_keys=ApiKeyService(database),
            background=background,
        )

    def apply(self, settings: Settings) -> None:
        """Take over settings that have changed while the platform runs."""
        self.auth.registration = settings.registration
