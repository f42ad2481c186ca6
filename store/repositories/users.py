from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import case, delete, or_, select, update

from store.clock import utcnow
from store.models import ApiKey, PasswordReset, RefreshToken, Throttle, User
from store.repositories.base import Repository, Window, insert


class UserRepository(Repository[User]):
    model = User

    async def by_email(self, email: str) -> User | None:
        """`email` in any case."""
        found: User | None = await self.session.scalar(select(User).where(User.email == email.lower()))
        return found


class RefreshTokenRepository(Repository[RefreshToken]):
    model = RefreshToken

    async def use(self, token_id: str, now: datetime) -> bool:
        """Take the token; False when it was taken or revoked before. Two who try at once: one wins."""
        taken = await self.session.execute(
            update(RefreshToken)
            .where(RefreshToken.id == token_id, RefreshToken.used_at.is_(None), RefreshToken.revoked_at.is_(None))
            .values(used_at=now)
            .returning(RefreshToken.id)
        )
        return taken.first() is not None

    async def end_family(self, family_id: str) -> None:
        await self.session.execute(
            update(RefreshToken).where(RefreshToken.family_id == family_id, RefreshToken.revoked_at.is_(None)).values(revoked_at=utcnow())
        )

    async def end_all(self, user_id: str, *, but: str | None = None) -> None:
        """End every session of the account, except the family `but`."""
        ending = update(RefreshToken).where(RefreshToken.user_id == user_id, RefreshToken.revoked_at.is_(None))
        if but is not None:
            ending = ending.where(RefreshToken.family_id != but)
        await self.session.execute(ending.values(revoked_at=utcnow()))


class PasswordResetRepository(Repository[PasswordReset]):
    model = PasswordReset

    async def use(self, token_hash: str) -> PasswordReset | None:
        """Take the token, which is gone thereby, expired or not; None when there is no such one. Two who try at once: one wins."""
        taken: PasswordReset | None = await self.session.scalar(
            delete(PasswordReset).where(PasswordReset.token_hash == token_hash).returning(PasswordReset)
        )
        return taken

    async def forget_expired(self, user_id: str, now: datetime) -> None:
        await self.session.execute(delete(PasswordReset).where(PasswordReset.user_id == user_id, PasswordReset.expires_at <= now))

    async def forget(self, user_id: str) -> None:
        """Remove all tokens that were mailed to the account."""
        await self.session.execute(delete(PasswordReset).where(PasswordReset.user_id == user_id))


class ApiKeyRepository(Repository[ApiKey]):
    model = ApiKey

    async def by_hash(self, key_hash: str) -> ApiKey | None:
        found: ApiKey | None = await self.session.scalar(select(ApiKey).where(ApiKey.key_hash == key_hash))
        return found

    async def list(self, user_id: str, window: Window) -> tuple[Sequence[ApiKey], int]:
        return await self._window(self._owned(user_id), window)

    async def used(self, key_id: str, now: datetime, at_most_every: timedelta) -> None:
        """Note that the key was used, unless that was noted less than `at_most_every` ago."""
        noted_long_ago = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - at_most_every)
        await self.session.execute(update(ApiKey).where(ApiKey.id == key_id, noted_long_ago).values(last_used_at=now))

    async def remove(self, user_id: str, key_id: str) -> bool:
        """Remove the key if it is this person's; whether it was."""
        removed = await self.session.execute(delete(ApiKey).where(ApiKey.id == key_id, ApiKey.user_id == user_id).returning(ApiKey.id))
        return removed.first() is not None

    async def remove_all(self, user_id: str) -> None:
        await self.session.execute(delete(ApiKey).where(ApiKey.user_id == user_id))


class ThrottleRepository(Repository[Throttle]):
    """A sliding window over attempts, by the generic cell rate algorithm (ITU-T I.371): one number a key, no history.

    `limit` attempts may come at once; each is free again after `window_ms / limit`. The one who is refused has spent nothing.
    """

    model = Throttle

    async def take(self, key: str, now_ms: int, limit: int, window_ms: int) -> int:
        """Spend one attempt, in one statement: of many at once no more than `limit` pass, whatever the number of processes.

        Returns:
            0, or the milliseconds after which the next attempt may come.
        """
        cost = window_ms // limit
        after = case((Throttle.free_at_ms > now_ms, Throttle.free_at_ms), else_=now_ms) + cost
        taken = await self.session.execute(
            insert(self.session, Throttle)
            .values(key=key, free_at_ms=now_ms + cost)
            .on_conflict_do_update(index_elements=[Throttle.key], set_={"free_at_ms": after}, where=after <= now_ms + window_ms)
            .returning(Throttle.key)
        )
        if taken.first() is not None:
            return 0
        free_at = await self.session.scalar(select(Throttle.free_at_ms).where(Throttle.key == key))
        return max(1, (free_at or now_ms) + cost - window_ms - now_ms)

    async def give_back(self, key: str, limit: int, window_ms: int) -> None:
        """Return one attempt that was taken."""
        await self.session.execute(update(Throttle).where(Throttle.key == key).values(free_at_ms=Throttle.free_at_ms - window_ms // limit))

    async def forget(self, key: str) -> None:
        """Return all attempts."""
        await self.session.execute(delete(Throttle).where(Throttle.key == key))

    async def sweep(self, now_ms: int) -> None:
        """Remove the rows that limit nobody any more. One that somebody is just writing is left for another time."""
        free = select(Throttle.key).where(Throttle.free_at_ms < now_ms).with_for_update(skip_locked=True)
        await self.session.execute(delete(Throttle).where(Throttle.key.in_(free)))
