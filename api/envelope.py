"""The one form of every successful answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from store.clock import utcnow

T = TypeVar("T")


class Pagination(msgspec.Struct, frozen=True, kw_only=True):
    """Where a list stands, counted both ways that clients know: by offset and by page (the first page is 1)."""

    total_count: int
    limit: int
    offset: int
    has_more: bool
    page: int
    page_size: int
    total_pages: int
    has_next: bool
    has_prev: bool


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said about the data; a part that does not apply is left out."""

    pagination: Pagination | None = None
    filters: dict[str, Any] | None = None
    capabilities: dict[str, Any] | None = None


class Envelope(msgspec.Struct, Generic[T], frozen=True, kw_only=True, omit_defaults=True):
    """`{"success": true, "data": …, "message": …, "meta": {…}?, "timestamp": "…Z"}`."""

    success: bool
    data: T
    message: str
    timestamp: datetime
    meta: Meta | None = None


def ok(data: T, message: str = "OK", meta: Meta | None = None) -> Envelope[T]:
    """Wrap `data`. Aware UTC datetimes anywhere in it are written as ISO 8601 with `Z`; a `meta` of None is left out."""
    return Envelope(success=True, data=data, message=message, timestamp=utcnow(), meta=meta)
