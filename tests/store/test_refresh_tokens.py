from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from store.clock import utcnow
from store.database import Database
from store.models import RefreshToken
from store.repositories.users import RefreshTokenRepository


@pytest.fixture
async def tokens(add: Any, user: Any) -> None:
    """t1 and t2 of one family, t3 of another, all of one user."""
    owner = await user()
    later = utcnow() + timedelta(days=30)
    families = {"t1": "family a", "t2": "family a", "t3": "family b"}
    await add(*(RefreshToken(id=id_, family_id=family, user_id=owner.id, expires_at=later) for id_, family in families.items()))


async def stored(session: AsyncSession, token_id: str) -> RefreshToken:
    token = await RefreshTokenRepository(session).get(token_id)
    assert token is not None
    return token


@pytest.mark.usefixtures("tokens")
async def test_of_many_who_use_a_token_at_once_one_wins(database: Database) -> None:
    async def use() -> bool:
        async with database.write() as session:
            return await RefreshTokenRepository(session).use("t1", utcnow())

    assert sorted(await asyncio.gather(*(use() for _ in range(20)))) == [False] * 19 + [True]


@pytest.mark.usefixtures("tokens")
async def test_a_used_token_keeps_the_time_of_its_use(database: Database) -> None:
    first = utcnow()
    async with database.write() as session:
        assert await RefreshTokenRepository(session).use("t1", first)
        assert not await RefreshTokenRepository(session).use("t1", first + timedelta(hours=1))
        assert not await RefreshTokenRepository(session).use("t9", first)
    async with database.read() as session:
        assert (await stored(session, "t1")).used_at == first
        assert (await stored(session, "t2")).used_at is None


@pytest.mark.usefixtures("tokens")
async def test_a_family_ends_as_a_whole_and_alone(database: Database) -> None:
    async with database.write() as session:
        assert await RefreshTokenRepository(session).use("t1", utcnow())
        await RefreshTokenRepository(session).end_family("family a")
    async with database.write() as session:
        repository = RefreshTokenRepository(session)
        ended = {id_: (await stored(session, id_)).revoked_at for id_ in ("t1", "t2", "t3")}
        assert ended["t1"] is not None
        assert ended["t1"] == ended["t2"]
        assert ended["t3"] is None
        assert not await repository.use("t2", utcnow())
        assert await repository.use("t3", utcnow())
        await repository.end_family("family a")  # ends once
        session.expire_all()
        assert (await session.get_one(RefreshToken, "t2", populate_existing=True)).revoked_at == ended["t2"]
