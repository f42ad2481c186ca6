from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from litestar import Request
from litestar.di import NamedDependency

Scope = Literal["read", "write"]
READ: Scope = "read"
WRITE: Scope = "write"
ALL_SCOPES: frozenset[Scope] = frozenset({READ, WRITE})

# The opt of routes that only somebody who has signed in may use: a key that got lost must not be able to take an account over.
SESSION_ONLY = "session_only"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and what with.

    `session_id` is the family of refresh tokens that the login began; None for API keys and service tokens. `scopes` is what the
    credential may be used for: ``read`` for GET, HEAD and OPTIONS, ``write`` for every other method. `requests_per_minute` is what an
    admin set for this account; None for what the settings say.
    """

    user_id: str
    role: str
    session_id: str | None
    scopes: frozenset[Scope] = ALL_SCOPES
    requests_per_minute: int | None = None


def principal_of(request: Request[Any, Any, Any]) -> Principal:
    """The Litestar dependency `principal`, for routes that ask for authentication."""
    found: Principal = request.user
    return found


Caller = NamedDependency[Principal]
"""How a route asks for it."""
