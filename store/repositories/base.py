from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import ColumnElement, DateTime, Select, asc, desc, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from store.clock import utcnow
from store.models import Base

Row = TypeVar("Row", bound=Base)
Moment = datetime | ColumnElement[datetime]


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is wanted, and in what order. `sort_by` is a column name that the caller has checked."""

    limit: int = 20
    offset: int = 0
    sort_by: str = "created_at"
    sort_order: Literal["asc", "desc"] = "desc"


def insert(session: AsyncSession, model: Any) -> Any:
    """An INSERT of the dialect that is spoken, which can say ON CONFLICT."""
    return (postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert)(model)


class Repository(Generic[Row]):
    model: type[Row]

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    @property
    def _is_sqlite(self) -> bool:
        return self.session.get_bind().dialect.name == "sqlite"

    def _now(self) -> Moment:
        """By the clock of the database's server, on SQLite by that of the only machine there is."""
        # When the statement begins, and not its transaction: a claim may have waited for others in between.
        return utcnow() if self._is_sqlite else func.statement_timestamp(type_=DateTime(timezone=True))

    def add(self, row: Row) -> Row:
        self.session.add(row)
        return row

    async def get(self, row_id: str) -> Row | None:
        """Whoever it belongs to: for workers, and for what has checked the owner."""
        return await self.session.get(self.model, row_id)

    async def owned(self, user_id: str, row_id: str) -> Row | None:
        """The row if it is this person's."""
        model: Any = self.model
        found: Row | None = await self.session.scalar(self._owned(user_id).where(model.id == row_id))
        return found

    async def owned_for_update(self, user_id: str, row_id: str) -> Row | None:
        """As `owned`, as it is now, kept from changing until the transaction ends where the database can do that for a single row.

        Whoever takes several kinds takes jobs first, then samples and clones, then the account, so that nobody waits in a circle.
        """
        model: Any = self.model
        statement = self._owned(user_id).where(model.id == row_id).with_for_update().execution_options(populate_existing=True)
        found: Row | None = await self.session.scalar(statement)
        return found

    async def owned_many(self, user_id: str, row_ids: Sequence[str], *, keep: bool = False) -> list[Row]:
        """Those of the ids that are this person's, in the order asked for; with `keep` nobody deletes them until the transaction ends."""
        model: Any = self.model
        statement = self._owned(user_id).where(model.id.in_(row_ids))
        if keep:
            # In one order in every transaction, so that two never wait for one another.
            statement = statement.order_by(model.id).with_for_update(read=True, key_share=True)
        found: Iterable[Any] = await self.session.scalars(statement)
        rows: dict[str, Row] = {row.id: row for row in found}
        return [rows[row_id] for row_id in row_ids if row_id in rows]

    async def _window(self, statement: Select[tuple[Row]], window: Window) -> tuple[Sequence[Row], int]:
        """The rows of the window and how many there are in all. Ties are broken by id, so that pages never overlap."""
        total = await self.session.scalar(statement.with_only_columns(func.count(), maintain_column_froms=True).order_by(None))
        ordered = statement.order_by(*self._order(window.sort_by, window.sort_order))
        rows = await self.session.scalars(ordered.limit(window.limit).offset(window.offset))
        return rows.all(), total or 0

    @classmethod
    def _order(cls, sort_by: str, sort_order: str) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
        columns = cls.model.__table__.columns
        direction = desc if sort_order == "desc" else asc
        return direction(columns[sort_by]), direction(columns["id"])

    def _owned(self, user_id: str) -> Select[tuple[Row]]:
        model: Any = self.model
        return select(self.model).where(model.user_id == user_id)
