"""How JSON columns are written and read, for every engine."""

from __future__ import annotations

import json
from typing import Any

import msgspec


def _written(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _read(text: str | bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return json.loads(text)  # rows of before may hold NaN, which is none of JSON's words


# Several times as fast as the standard library's, and what is no number in JSON (NaN) is null instead of a text that PostgreSQL refuses.
CODEC: dict[str, Any] = {"json_serializer": _written, "json_deserializer": _read}
