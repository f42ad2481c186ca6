"""The name of a request: what the client called it, or what we did. It goes into the answer and into every log line."""

from __future__ import annotations

import re
from typing import Any

from store.ids import new_id

HEADER = "X-Request-ID"
_RAW_HEADER = b"x-request-id"
# What may go into a header and a log line as it is.
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def sane(given: str) -> bool:
    """Whether a client's id may be used: 1 to 128 letters, digits and ``. _ : -``."""
    return _SANE.fullmatch(given) is not None


def request_id_of(scope: Any) -> str:
    """The id of the request with this ASGI scope; the first call decides it."""
    state: dict[str, Any] = scope.setdefault("state", {})
    if "request_id" not in state:
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == _RAW_HEADER), "")
        state["request_id"] = given if sane(given) else new_id("req")
    found: str = state["request_id"]
    return found
