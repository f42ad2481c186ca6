"""Opaque, prefixed identifiers that sort by the time they were made."""

from __future__ import annotations

import secrets
import time


def new_id(prefix: str) -> str:
    """``{prefix}_`` and 28 hex digits: 12 of Unix milliseconds, so that index pages fill in order, and 16 random ones."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"
