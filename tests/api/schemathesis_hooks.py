"""What schemathesis loads before it tries the API; see `test_schemathesis.py`."""

from __future__ import annotations

from typing import Any

import schemathesis

ENOUGH = 10**6
RATES = ("requests_per_minute", "anonymous_requests_per_minute")


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, **kwargs: Any) -> None:
    """No setting that is accepted lets too few requests through for the rest of the run: there would be nothing but 429 to see."""
    body = case.body
    if case.operation.path.endswith("/admin/config") and isinstance(body, dict):
        case.body = {name: ENOUGH if name in RATES and _is_too_low(value) else value for name, value in body.items()}


def _is_too_low(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < ENOUGH
