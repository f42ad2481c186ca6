from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import undefer

from store.models import Clone, CloneConsent, CloneSample, Sample, User
from store.repositories.base import Repository, Window


class CloneRepository(Repository[Clone]):
    model = Clone

    async def list(self, user_id: str, window: Window, *, status: str | None = None) -> tuple[Sequence[Clone], int]:
        statement = self._owned(user_id)
        if status:
            statement = statement.where(Clone.status == status)
        return await self._window(statement, window)

    async def samples(self, clone_id: str) -> Sequence[Sample]:
        """What the clone is made of, in the order asked for, with the embeddings."""
        rows = await self.session.scalars(
            select(Sample)
            .join(CloneSample)
            .where(CloneSample.clone_id == clone_id)
            .order_by(CloneSample.position)
            .options(undefer(Sample.embedding))
        )
        return rows.all()

    async def embedding(self, user_id: str, clone_id: str) -> bytes | None:
        """The embedding of the person's clone in the form of SQL, or None while there is none."""
        found: bytes | None = await self.session.scalar(select(Clone.embedding).where(Clone.user_id == user_id, Clone.id == clone_id))
        return found

    async def consent(self, clone_id: str) -> CloneConsent | None:
        """What was said of the speaker's consent when the clone was asked for. There is no way to change it."""
        return await self.session.get(CloneConsent, clone_id)

    async def delete(self, clone: Clone) -> None:
        await self.session.execute(
            update(User).where(User.id == clone.user_id, User.active_clone_id == clone.id).values(active_clone_id=None)
        )
        await self.session.delete(clone)
        await self.session.flush()
