"""Run by Alembic with the connection that `store.migrations` hands over."""

from typing import Any, Literal

from alembic import context

from store.models import Base
from store.models.base import UtcDateTime


def render_item(type_: str, obj: Any, _context: Any) -> str | Literal[False]:
    if type_ == "type" and isinstance(obj, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=render_item,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
