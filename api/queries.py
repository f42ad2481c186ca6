"""What Litestar would pass over in a query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from litestar import Request
from litestar.params import QueryParameter
from litestar.typing import FieldDefinition

from api.errors import ValidationFailedError

NULL = "null"


def check_query(request: Request[Any, Any, Any]) -> None:
    """Refuse what is given twice, and `null` for what is no text.

    No parameter of ours takes several values, and to pick one of them would be a guess. And `null` is taken for not given at all by
    what reads numbers, truths and choices, so that a client with a fault in it would not learn of that.

    Raises:
        ValidationFailedError: names them.
    """
    given = list(request.query_params.multi_items())
    wrong = {name: "may be given once only" for name, count in Counter(name for name, _ in given).items() if count > 1}
    nulls = {name for name, value in given if value == NULL}
    if nulls:
        wrong |= {
            name: "may not be null; leave it out instead" for name, field in _parameters(request) if name in nulls and not _text(field)
        }
    if wrong:
        raise ValidationFailedError(wrong)


def _parameters(request: Request[Any, Any, Any]) -> Iterator[tuple[str, FieldDefinition]]:
    """The parameters of the route and of what it depends on, by the names that they have in a query."""
    handler = request.route_handler
    signatures = [handler.parsed_fn_signature, *(dependency.parsed_fn_signature for dependency in handler.resolve_dependencies().values())]
    for signature in signatures:
        for field in signature.parameters.values():
            known = field.kwarg_definition
            # `type` and `format` are parameters that functions call otherwise.
            yield (known.name or field.name if isinstance(known, QueryParameter) else field.name), field


def _text(field: FieldDefinition) -> bool:
    return str in {inner.annotation for inner in (field, *field.inner_types)}
