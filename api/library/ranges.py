"""What the requests of other rooms accept, read from their own types, so that it is written down once."""

from __future__ import annotations

from typing import Any, get_args

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo


def bounds(annotated: Any) -> tuple[float, float]:
    """The least and the greatest value that an annotated number may have. Raises TypeError for one without both bounds."""
    limits = [limit for each in get_args(annotated)[1:] if isinstance(each, FieldInfo) for limit in each.metadata]
    least = [float(limit.ge) for limit in limits if isinstance(limit, Ge)]  # type: ignore[arg-type] # numbers, by the types above
    greatest = [float(limit.le) for limit in limits if isinstance(limit, Le)]  # type: ignore[arg-type]
    if len(least) != 1 or len(greatest) != 1:
        raise TypeError(f"{annotated} has not both bounds")
    return least[0], greatest[0]
