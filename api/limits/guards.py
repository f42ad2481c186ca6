"""What is looked at before the body of a request is read."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from api.auth.principal import Principal
from api.limits.quotas import Quotas


def upload_guard(overhead_bytes: int) -> Guard:
    """A Litestar guard for routes that take a file: whether the person may upload another one, and one of this size.

    Args:
        overhead_bytes: how much of the announced body may be other than the file.

    Raises, when it guards:
        QuotaExceededError: before anything is read.
    """

    async def guard(connection: ASGIConnection[Any, Principal, Any, Any], _handler: BaseRouteHandler) -> None:
        quotas: Quotas = connection.app.state.quotas
        announced = connection.headers.get("content-length", "")
        size = max(0, int(announced) - overhead_bytes) if announced.isdecimal() else 0
        await quotas.before_upload(connection.user.user_id, size)

    return guard
