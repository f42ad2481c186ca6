"""The signatures of webhooks, after the Standard Webhooks specification 1.0, and the secrets that make them."""

from __future__ import annotations

import base64
import hashlib
import hmac

SECRET_PREFIX = "whsec_"  # noqa: S105 - a name, not a secret


def secret_of(key: bytes, webhook_id: str, salt: str) -> str:
    """The secret of a webhook: ``whsec_`` and 32 bytes in base64, told by the server's key, so that it is stored nowhere."""
    made = hmac.digest(key, f"voxify webhook secret\n{webhook_id}\n{salt}".encode(), "sha256")
    return SECRET_PREFIX + base64.b64encode(made).decode()


def hash_of(secret: str) -> str:
    """SHA-256, hexadecimal: by it a secret is known again."""
    return hashlib.sha256(secret.encode()).hexdigest()


def signature(secret: str, message_id: str, timestamp: int, body: str) -> str:
    """``v1,`` and the HMAC-SHA256 of ``{message_id}.{timestamp}.{body}`` in base64; `timestamp` in Unix seconds."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = hmac.digest(key, f"{message_id}.{timestamp}.{body}".encode(), "sha256")
    return f"v1,{base64.b64encode(signed).decode()}"
