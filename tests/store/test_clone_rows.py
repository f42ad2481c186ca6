"""What is kept of a clone beside its own row: its further references and its consent; and clones of before there were styles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import delete, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from store.database import Database
from store.migrations import config
from store.models import Base, Clone, CloneConsent, CloneReference, User
from store.models.base import JsonObject
from store.repositories.clones import CloneRepository
from store.repositories.objects import named_objects


@pytest.fixture
async def styled(database: Database, user: Any, clone: Any, add: Any) -> Clone:
    """A clone in two styles, with a consent."""
    made: Clone = await clone((await user()).id, reference_path="clones/vc/a.wav", reference_text="Words.", reference_style="neutral")
    await add(
        CloneReference(clone_id=made.id, style="happy", path=f"clones/{made.id}/b.wav", text="Glad words.", duration=4.0),
        CloneConsent(clone_id=made.id, user_id=made.user_id, who="Ada", relation="self", statement="I agree.", accepted=True),
    )
    async with database.read() as session:
        return await session.get_one(Clone, made.id)


async def test_each_style_has_its_reference(database: Database, styled: Clone) -> None:
    assert styled.styles == ["neutral", "happy"]
    assert styled.reference_in(None) == styled.reference_in("neutral") == ("clones/vc/a.wav", "Words.")
    assert styled.reference_in("happy") == (f"clones/{styled.id}/b.wav", "Glad words.")
    assert styled.reference_in("sad") is None
    async with database.read() as session:
        assert await named_objects(session, styled.objects[1:]) == {f"clones/{styled.id}/b.wav"}


@pytest.mark.parametrize("how", ["clone", "user"])
async def test_they_go_with_the_clone_and_with_its_owner(database: Database, styled: Clone, how: str) -> None:
    async with database.write() as session:
        if how == "clone":
            await CloneRepository(session).delete(await session.get_one(Clone, styled.id))
        else:
            await session.execute(delete(User).where(User.id == styled.user_id))
    async with database.read() as session:
        gone: tuple[type[Base], ...] = (Clone, CloneReference, CloneConsent)
        assert [await session.scalar(select(func.count()).select_from(model)) for model in gone] == [0, 0, 0]


WHEN = "2026-01-01 00:00:00"


def rows_of_before(connection: Connection) -> None:
    """A clone of two samples, made of the second, as revision 0002 kept it."""

    def add(table: str, **row: Any) -> None:
        marks = ", ".join("?" * len(row))
        connection.exec_driver_sql(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))

    times = {"created_at": WHEN, "updated_at": WHEN}
    add("users", id="user_1", email="a@example.org", password_hash="x", role="user", is_active=1, **times)
    for id_, style in (("vs_1", "neutral"), ("vs_2", "happy")):
        add(
            "samples", id=id_, user_id="user_1", name="a", style=style, format="wav", duration=5, sample_rate=24_000, channels=1, size=1,
            original_path="x", status="ready", **times,
        )  # fmt: skip
    metrics: JsonObject = {"reference": {}, "reference_sample_id": "vs_2"}
    add(
        "clones", id="vc_1", user_id="user_1", name="a", language="en-US", status="ready", reference_path="clones/vc_1/r.wav",
        reference_text="Words.", parameters="{}", quality_metrics=json.dumps(metrics), **times,
    )  # fmt: skip
    for position, id_ in enumerate(("vs_1", "vs_2")):
        add("clone_samples", clone_id="vc_1", sample_id=id_, position=position)


async def test_a_clone_of_before_keeps_its_reference_and_learns_its_style(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'old.db'}")
    await move(database.engine, "0002")
    async with database.engine.begin() as connection:
        await connection.run_sync(rows_of_before)
    await move(database.engine, "head")
    async with database.read() as session:
        clone = await session.get_one(Clone, "vc_1")
    assert clone.styles == ["happy"]
    assert clone.reference_in(None) == ("clones/vc_1/r.wav", "Words.")
    assert [(link.style, link.used, link.reason_code) for link in clone.samples] == [
        ("neutral", False, "REFERENCE_FULL"),
        ("happy", True, None),
    ]
    await move(database.engine, "0002")
    async with database.engine.connect() as connection:
        left = await connection.exec_driver_sql("SELECT clone_id, sample_id FROM clone_samples ORDER BY position")
        assert left.all() == [("vc_1", "vs_1"), ("vc_1", "vs_2")], "going back takes no rows along"
    await database.close()


async def move(engine: AsyncEngine, revision: str) -> None:
    """Up to a revision, or back to it."""
    async with engine.connect() as connection:
        way = command.downgrade if await connection.run_sync(lambda sync: "clone_references" in tables(sync)) else command.upgrade
        await connection.run_sync(lambda sync: way(config(sync), revision))
        await connection.commit()


def tables(connection: Connection) -> set[str]:
    return set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
