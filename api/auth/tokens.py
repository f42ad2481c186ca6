"""Signed tokens, RFC 7519 with HS256, and the secret that signs them."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jwt

from api.errors import UnauthorizedError
from settings import Settings
from store.ids import new_id

ALGORITHM = "HS256"
ISSUER = "voxify"
ACCESS: Literal["voxify:access"] = "voxify:access"
REFRESH: Literal["voxify:refresh"] = "voxify:refresh"
SERVICE: Literal["voxify:service"] = "voxify:service"
Audience = Literal["voxify:access", "voxify:refresh", "voxify:service"]

SECRET_FILE = "jwt_secret"  # noqa: S105 - a name, not a secret
MIN_SECRET_LENGTH = 32
# Hosts' clocks differ a little; without this a token made on one is not yet valid on another.
LEEWAY_S = 5


class SecretMissingError(Exception):
    """There is nothing to sign tokens with; the process must not start."""

    code = "JWT_SECRET_MISSING"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: whose it is, of which session, its own id, when it ends (Unix seconds), and what it is for."""

    user_id: str
    session_id: str
    token_id: str
    expires_at: int
    audience: Audience


class Tokens:
    """Makes and reads tokens. `aud` tells access from refresh from service, and only the exact one is taken."""

    def __init__(self, secret: str, *, access_ttl_s: int, refresh_ttl_s: int, previous: Sequence[str] = ()) -> None:
        """`secret` signs. What one of `previous` has signed is taken too, so that the secret can be changed while people work."""
        self._secret = secret
        self._believed = (secret, *previous)
        self._ttl_s: dict[Audience, int] = {ACCESS: access_ttl_s, REFRESH: refresh_ttl_s}

    @property
    def access_ttl_s(self) -> int:
        return self._ttl_s[ACCESS]

    def make(
        self, audience: Audience, user_id: str, session_id: str, token_id: str | None = None, *, ttl_s: int | None = None
    ) -> tuple[str, Claims]:
        """A token that begins now, and its claims. A service token needs `ttl_s`; the others have theirs from the settings."""
        now = int(time.time())
        lives_s = self._ttl_s[audience] if ttl_s is None else ttl_s
        claims = Claims(user_id, session_id, token_id or new_id("tok"), now + lives_s, audience)
        payload = {
            "iss": ISSUER, "aud": audience, "sub": claims.user_id, "sid": claims.session_id,
            "jti": claims.token_id, "iat": now, "exp": claims.expires_at,
        }  # fmt: skip
        return jwt.encode(payload, self._secret, algorithm=ALGORITHM), claims

    def read(self, token: str, *audiences: Audience) -> Claims:
        """The claims of a token that is for one of these audiences.

        Raises:
            UnauthorizedError: ``TOKEN_EXPIRED``, or ``INVALID_TOKEN`` for whatever else is wrong with it.
        """
        try:
            payload = self._payload(token)
        except jwt.ExpiredSignatureError:
            raise UnauthorizedError("The token has expired", code="TOKEN_EXPIRED") from None
        except jwt.PyJWTError:
            raise invalid_token() from None
        audience = next((known for known in audiences if payload["aud"] == known), None)
        if audience is None or not isinstance(payload["sid"], str):
            raise invalid_token()
        return Claims(payload["sub"], payload["sid"], payload["jti"], payload["exp"], audience)

    def _payload(self, token: str) -> dict[str, Any]:
        for secret in self._believed:
            try:
                return jwt.decode(
                    token,
                    secret,
                    algorithms=[ALGORITHM],
                    issuer=ISSUER,
                    leeway=LEEWAY_S,
                    # The library takes a list where one of several is wanted, and a token must be for exactly one; compared by the caller.
                    options={"require": ["iss", "aud", "sub", "sid", "jti", "iat", "exp"], "verify_aud": False},
                )
            except jwt.InvalidSignatureError:
                continue
        raise jwt.InvalidSignatureError


def invalid_token() -> UnauthorizedError:
    return UnauthorizedError("The token is not valid", code="INVALID_TOKEN")


def signing_secret(settings: Settings) -> str:
    """The secret of the settings; with ``env=dev`` and none set, one that is made once and kept in the data folder.

    Raises:
        SecretMissingError: there is none and this is not ``dev``, or the kept one is damaged.
    """
    given = settings.jwt_secret.get_secret_value()
    if given:
        return given
    if settings.env != "dev":
        raise SecretMissingError(
            "VOXIFY_JWT_SECRET is not set. It signs the tokens of everybody who signs in: set it to a random text of at least "
            f"{MIN_SECRET_LENGTH} characters, the same for every API process, for example the output of `openssl rand -hex 32`. "
            "With VOXIFY_ENV=dev one is made and kept in the data folder."
        )
    return _kept_secret(settings.data_dir / SECRET_FILE)


def _kept_secret(path: Path) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            # A link appears whole and never replaces one that another process made in the meantime.
            os.link(made, path)
        except FileExistsError:
            pass
        finally:
            made.unlink(missing_ok=True)
    secret = path.read_text().strip()
    if len(secret) < MIN_SECRET_LENGTH:
        raise SecretMissingError(f"The signing secret in {path} is damaged; delete the file and everybody signs in again")
    return secret
