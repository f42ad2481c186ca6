"""Download addresses that are good for a while without a token: for players, browsers and people one trusts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Sequence

from api.errors import ForbiddenError

MAX_TTL_S = 3600

_SIGNATURE = re.compile(r"(\d{1,12})\.([A-Za-z0-9_-]{43})", re.ASCII)


def derived_key(secret: str, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose alone: HKDF with SHA-256 and no salt (RFC 5869), of one block.

    What is signed for one purpose then says nothing for another, although there is one secret.
    """
    extracted = hmac.digest(bytes(32), secret.encode(), hashlib.sha256)
    return hmac.digest(extracted, purpose.encode() + b"\x01", hashlib.sha256)


class FileLinks:
    """Signs and checks ``{expires}.{mac}``: the end in Unix seconds, and HMAC-SHA-256 over the file's id and that end."""

    def __init__(self, secret: str, *, ttl_s: int, previous: Sequence[str] = ()) -> None:
        """`ttl_s` is how long a link is good unless its maker says otherwise, in seconds, at most `MAX_TTL_S`.

        What was signed with one of the secrets in `previous` is good too.
        """
        self._keys = [derived_key(each, "voxify:file-links") for each in (secret, *previous)]
        self.ttl_s = min(ttl_s, MAX_TTL_S)

    def sign(self, file_id: str, ttl_s: int | None = None) -> tuple[str, int]:
        """The signature and when it ends, in Unix seconds. It is never good for more than `MAX_TTL_S`."""
        expires_at = int(time.time()) + min(self.ttl_s if ttl_s is None else ttl_s, MAX_TTL_S)
        return f"{expires_at}.{_mac(self._keys[0], file_id, str(expires_at))}", expires_at

    def check(self, file_id: str, signature: str) -> None:
        """Raises ForbiddenError: ``INVALID_LINK`` when it is not ours or for another file, ``LINK_EXPIRED`` when its time is over."""
        match = _SIGNATURE.fullmatch(signature)
        if match is None or not any(hmac.compare_digest(match.group(2), _mac(key, file_id, match.group(1))) for key in self._keys):
            raise ForbiddenError("This download address is not valid", code="INVALID_LINK")
        if int(match.group(1)) <= time.time():
            raise ForbiddenError("This download address has expired; ask for another", code="LINK_EXPIRED")


def _mac(key: bytes, file_id: str, expires_at: str) -> str:
    # The end has digits alone, so that no two pairs of end and id are written alike.
    mac = hmac.digest(key, f"{expires_at}:{file_id}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
