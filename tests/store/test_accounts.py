"""Reset tokens, API keys and the ends of sessions, as rows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from store.clock import utcnow
from store.database import Database
from store.ids import new_id
from store.models import ApiKey, PasswordReset, RefreshToken
from store.repositories.base import Window
from store.repositories.users import ApiKeyRepository, PasswordResetRepository, RefreshTokenRepository

NOW = utcnow()
MINUTE = timedelta(minutes=1)


def reset(user_id: str, token_hash: str, expires_in: timedelta = MINUTE) -> PasswordReset:
    return PasswordReset(token_hash=token_hash, user_id=user_id, expires_at=NOW + expires_in)


def key(user_id: str, key_hash: str, **values: Any) -> ApiKey:
    return ApiKey(
        **{"id": new_id("key"), "user_id": user_id, "name": "x", "key_hash": key_hash, "prefix": "vx_", "scopes": ["read"]} | values
    )


async def count(database: Database, model: Any) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(model)) or 0


async def test_of_many_who_use_a_reset_token_at_once_one_wins(database: Database, add: Any, user: Any) -> None:
    owner = await user()
    await add(reset(owner.id, "a"), reset(owner.id, "b"))

    async def use() -> bool:
        async with database.write() as session:
            return await PasswordResetRepository(session).use("a") is not None

    assert sorted(await asyncio.gather(*(use() for _ in range(10)))) == [False] * 9 + [True]
    assert await count(database, PasswordReset) == 1


async def test_reset_tokens_are_forgotten_by_account(database: Database, add: Any, user: Any) -> None:
    owner, other = await user(), await user()
    await add(reset(owner.id, "a"), reset(owner.id, "old", -MINUTE), reset(other.id, "b", -MINUTE))
    async with database.write() as session:
        await PasswordResetRepository(session).forget_expired(owner.id, NOW)
    async with database.read() as session:
        assert set(await session.scalars(select(PasswordReset.token_hash))) == {"a", "b"}
    async with database.write() as session:
        await PasswordResetRepository(session).forget(owner.id)
    async with database.read() as session:
        assert set(await session.scalars(select(PasswordReset.token_hash))) == {"b"}


async def test_all_sessions_of_an_account_end_but_one(database: Database, add: Any, user: Any) -> None:
    owner, other = await user(), await user()
    families = {"t1": (owner.id, "a"), "t2": (owner.id, "b"), "t3": (owner.id, "c"), "t4": (other.id, "d")}
    await add(*(RefreshToken(id=id_, family_id=family, user_id=user_id, expires_at=NOW) for id_, (user_id, family) in families.items()))

    async def ended() -> set[str]:
        async with database.read() as session:
            return set(await session.scalars(select(RefreshToken.id).where(RefreshToken.revoked_at.is_not(None))))

    async with database.write() as session:
        await RefreshTokenRepository(session).end_all(owner.id, but="b")
    assert await ended() == {"t1", "t3"}
    async with database.write() as session:
        await RefreshTokenRepository(session).end_all(owner.id)
    assert await ended() == {"t1", "t2", "t3"}


async def test_a_key_is_found_by_its_hash_and_removed_by_its_owner(database: Database, add: Any, user: Any) -> None:
    owner, other = await user(), await user()
    mine = key(owner.id, "a", scopes=["read", "write"])
    await add(mine, key(other.id, "b"))
    async with database.write() as session:
        keys = ApiKeyRepository(session)
        found = await keys.by_hash("a")
        assert found is not None
        assert (found.id, found.scopes) == (mine.id, ["read", "write"])
        assert await keys.by_hash("c") is None
        rows, total = await keys.list(owner.id, Window())
        assert ([row.id for row in rows], total) == ([mine.id], 1)
        assert not await keys.remove(other.id, mine.id)
        assert await keys.remove(owner.id, mine.id)
        assert not await keys.remove(owner.id, mine.id)
        await keys.remove_all(other.id)
    assert await count(database, ApiKey) == 0


async def test_two_keys_never_have_one_hash(add: Any, user: Any) -> None:
    owner = await user()
    await add(key(owner.id, "a"))
    with pytest.raises(IntegrityError):
        await add(key(owner.id, "a"))


async def test_a_use_is_noted_at_most_every_minute(database: Database, add: Any, user: Any) -> None:
    mine, other = key((await user()).id, "a"), key((await user()).id, "b")
    await add(mine, other)

    async def used(now: Any) -> Any:
        async with database.write() as session:
            await ApiKeyRepository(session).used(mine.id, now, MINUTE)
        async with database.read() as session:
            assert (await session.get_one(ApiKey, other.id)).last_used_at is None
            return (await session.get_one(ApiKey, mine.id)).last_used_at

    assert await used(NOW) == NOW
    assert await used(NOW + MINUTE / 2) == NOW
    assert await used(NOW + MINUTE) == NOW + MINUTE


async def test_what_belongs_to_an_account_goes_with_it(database: Database, add: Any, user: Any) -> None:
    owner = await user()
    await add(key(owner.id, "a"), reset(owner.id, "a"))
    async with database.write() as session:
        await session.delete(await session.merge(owner))
    assert await count(database, ApiKey) == await count(database, PasswordReset) == 0
