"""Which part of a list is wanted, read from the query, and where that part stands."""

# No postponed annotations here: the signature that Litestar reads is made when `paging` is called.
from collections.abc import Collection
from typing import Annotated

from litestar.di import NamedDependency, Provide
from litestar.params import Parameter

from api.envelope import Pagination
from api.errors import ValidationFailedError
from store.repositories.base import Window

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
# Keeps what reaches the database within its integers.
MAX_OFFSET = 1_000_000_000
MAX_PAGE = MAX_OFFSET // MAX_LIMIT

Limit = Annotated[int | None, Parameter(ge=1, le=MAX_LIMIT, description=f"how many to answer; {DEFAULT_LIMIT} unless given")]
Offset = Annotated[int | None, Parameter(ge=0, le=MAX_OFFSET, schema_extra={"minimum": 0}, description="how many to pass over")]
Page = Annotated[int | None, Parameter(ge=1, le=MAX_PAGE, description="instead of `offset`: the page, from 1")]
PageSize = Annotated[int | None, Parameter(ge=1, le=MAX_LIMIT, description=f"instead of `limit`; {DEFAULT_LIMIT} unless given")]
SortOrder = Annotated[
    str | None, Parameter(schema_extra={"enum": ["asc", "desc"]}, description="`asc` or `desc`; the newest, or largest, first unless given")
]

AskedWindow = NamedDependency[Window]
"""How a route asks for its window: with ``dependencies={"window": paging(...)}``."""


def window(
    *,
    limit: int | None = None,
    offset: int | None = None,
    page: int | None = None,
    page_size: int | None = None,
    sort_by: str | None = None,
    sort_order: str | None = None,
    sortable: Collection[str],
    default_sort: str = "created_at",
) -> Window:
    """The window that is asked for, by `limit` (1 to 100) and `offset` (from 0), or by `page` (from 1) and `page_size` (1 to 100).

    Raises:
        ValidationFailedError: a value is out of its range, `sort_by` is not in `sortable`, or both ways are mixed.
    """
    wrong: dict[str, str] = {}
    ranges = {
        "limit": (limit, 1, MAX_LIMIT),
        "offset": (offset, 0, MAX_OFFSET),
        "page": (page, 1, MAX_PAGE),
        "page_size": (page_size, 1, MAX_LIMIT),
    }
    for name, (value, low, high) in ranges.items():
        if value is not None and not low <= value <= high:
            wrong[name] = f"must be between {low} and {high}"
    by_offset, by_page = _given(limit=limit, offset=offset), _given(page=page, page_size=page_size)
    if by_offset and by_page:
        wrong.update(dict.fromkeys(by_page, f"cannot be used together with {' and '.join(by_offset)}"))
    if sort_by is not None and sort_by not in sortable:
        wrong["sort_by"] = f"must be one of {', '.join(sorted(sortable))}"
    if sort_order not in {None, "asc", "desc"}:
        wrong["sort_order"] = "must be asc or desc"
    if wrong:
        raise ValidationFailedError(wrong)
    size = limit or page_size or DEFAULT_LIMIT
    return Window(
        limit=size,
        offset=((page or 1) - 1) * size if by_page else offset or 0,
        sort_by=sort_by or default_sort,
        sort_order="asc" if sort_order == "asc" else "desc",
    )


def _given(**values: int | None) -> list[str]:
    return [name for name, value in values.items() if value is not None]


def paging(sortable: Collection[str], default_sort: str = "created_at") -> Provide:
    """A Litestar dependency: the :class:`Window` of the query, with its parameters in the OpenAPI document.

    Args:
        sortable: the column names that `sort_by` may name; `default_sort` is one of them.
    """
    names = {"enum": sorted(sortable)}
    sort_keys = Annotated[
        str | None, Parameter(schema_extra=names, description=f"one of {', '.join(sorted(sortable))}; {default_sort} unless given")
    ]

    def provide(
        limit: Limit = None,
        offset: Offset = None,
        page: Page = None,
        page_size: PageSize = None,
        sort_by: sort_keys = None,
        sort_order: SortOrder = None,
    ) -> Window:
        return window(
            limit=limit,
            offset=offset,
            page=page,
            page_size=page_size,
            sort_by=sort_by,
            sort_order=sort_order,
            sortable=sortable,
            default_sort=default_sort,
        )

    return Provide(provide, sync_to_thread=False)


def pagination(asked: Window, total: int) -> Pagination:
    """Where `asked` stands in a list of `total` items, for `meta.pagination`. An empty list has 0 pages."""
    more = asked.offset + asked.limit < total
    return Pagination(
        total_count=total,
        limit=asked.limit,
        offset=asked.offset,
        has_more=more,
        page=asked.offset // asked.limit + 1,
        page_size=asked.limit,
        total_pages=-(-total // asked.limit),
        has_next=more,
        has_prev=asked.offset > 0,
    )
