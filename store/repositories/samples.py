from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update

from store.models import Clone, CloneSample, Sample
from store.repositories.base import Repository, Window


class SampleRepository(Repository[Sample]):
    model = Sample

    async def list(
        self,
        user_id: str,
        window: Window,
        *,
        status: str | None = None,
        language: str | None = None,
        style: str | None = None,
        search: str | None = None,
    ) -> tuple[Sequence[Sample], int]:
        """`language` without a region takes every region of it; `search` is looked for in the name and the description."""
        statement = self._owned(user_id)
        if status:
            statement = statement.where(Sample.status == status)
        if language:
            wanted = language.lower()
            known = func.lower(Sample.language)
            statement = statement.where((known == wanted) | known.startswith(f"{wanted}-", autoescape=True))
        if style:
            statement = statement.where(Sample.style == style.lower())
        if search:
            found = [column.icontains(search, autoescape=True) for column in (Sample.name, Sample.description)]
            statement = statement.where(found[0] | found[1])
        return await self._window(statement, window)

    async def embedding(self, user_id: str, sample_id: str) -> bytes | None:
        """The embedding of the person's sample in the form of SQL, or None while there is none."""
        found: bytes | None = await self.session.scalar(select(Sample.embedding).where(Sample.user_id == user_id, Sample.id == sample_id))
        return found

    async def begin_again(self, user_id: str, sample_id: str) -> bool:
        """Let a sample that is ready or has failed wait for its processing again. False: it is no such sample. Of two at once, one wins."""
        again = await self.session.scalar(
            update(Sample)
            .where(Sample.user_id == user_id, Sample.id == sample_id, Sample.status.in_(("ready", "failed")))
            .values(status="uploaded", error_code=None, error_message=None)
            .returning(Sample)
            .execution_options(populate_existing=True)
        )
        return again is not None

    async def clones_of(self, sample_id: str) -> Sequence[Clone]:
        """The clones that were made from the sample."""
        rows = await self.session.scalars(select(Clone).join(CloneSample).where(CloneSample.sample_id == sample_id).order_by(Clone.id))
        return rows.all()

    async def delete(self, sample: Sample) -> None:
        await self.session.delete(sample)
        await self.session.flush()
