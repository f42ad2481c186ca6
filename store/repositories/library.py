"""What is kept about voices: who likes them and how much, how much they speak, their previews."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, delete, func, select
from sqlalchemy.orm import lazyload

from store.clock import utcnow
from store.models import Clone, Job, VoiceFavorite, VoicePreview, VoiceRating, VoiceUsage
from store.models.job import COMPLETED, FAILED, SYNTHESIS
from store.presets import shipped
from store.repositories.base import Repository, insert


class LibraryRepository(Repository[Clone]):
    """The person's clones as voices to choose from."""

    model = Clone

    async def ready(self, user_id: str) -> Sequence[Clone]:
        """The clones that can speak."""
        statement = self._owned(user_id).where(Clone.status == "ready")
        return (await self.session.scalars(statement.options(lazyload(Clone.samples)))).all()


class FavoriteRepository(Repository[VoiceFavorite]):
    model = VoiceFavorite

    async def voice_ids(self, user_id: str) -> set[str]:
        return set(await self.session.scalars(select(VoiceFavorite.voice_id).where(VoiceFavorite.user_id == user_id)))

    async def count(self, voice_id: str) -> int:
        """How many people have the voice among their favourites."""
        statement = select(func.count()).select_from(VoiceFavorite).where(VoiceFavorite.voice_id == voice_id)
        return await self.session.scalar(statement) or 0

    async def put(self, user_id: str, voice_id: str, clone_id: str | None) -> None:
        """Make the voice a favourite; nothing happens when it is one."""
        added = insert(self.session, VoiceFavorite).values(user_id=user_id, voice_id=voice_id, clone_id=clone_id, created_at=utcnow())
        await self.session.execute(added.on_conflict_do_nothing())

    async def remove(self, user_id: str, voice_id: str) -> None:
        await self.session.execute(delete(VoiceFavorite).where(VoiceFavorite.user_id == user_id, VoiceFavorite.voice_id == voice_id))


@dataclass(frozen=True, slots=True)
class Rated:
    """What people think of a voice: the mean of their ratings, how many there are, and the own one of whoever asks."""

    mean: float | None = None
    count: int = 0
    own: int | None = None


class RatingRepository(Repository[VoiceRating]):
    model = VoiceRating

    async def of(self, user_id: str, voice_ids: Collection[str]) -> dict[str, Rated]:
        """What this person is to know of the ratings of these voices; one that nobody has rated is missing."""
        own = func.max(case((VoiceRating.user_id == user_id, VoiceRating.rating)))
        total, count = func.sum(VoiceRating.rating), func.count()
        statement = (
            select(VoiceRating.voice_id, total, count, own).where(VoiceRating.voice_id.in_(voice_ids)).group_by(VoiceRating.voice_id)
        )
        rows = (await self.session.execute(statement)).tuples()
        return {voice_id: Rated(total / count, count, own) for voice_id, total, count, own in rows}

    async def put(self, user_id: str, voice_id: str, clone_id: str | None, rating: int) -> None:
        """Keep what the person thinks of the voice, in place of what they thought before."""
        now = utcnow()
        added = insert(self.session, VoiceRating).values(
            user_id=user_id, voice_id=voice_id, clone_id=clone_id, rating=rating, created_at=now, updated_at=now
        )
        again = {"rating": added.excluded.rating, "updated_at": added.excluded.updated_at}
        await self.session.execute(added.on_conflict_do_update(index_elements=[VoiceRating.user_id, VoiceRating.voice_id], set_=again))

    async def remove(self, user_id: str, voice_id: str) -> None:
        await self.session.execute(delete(VoiceRating).where(VoiceRating.user_id == user_id, VoiceRating.voice_id == voice_id))


class VoiceUsageRepository(Repository[VoiceUsage]):
    model = VoiceUsage

    async def of(self, voice_ids: Collection[str]) -> dict[str, VoiceUsage]:
        """What has been counted for these voices; one that has not spoken is missing."""
        rows = await self.session.scalars(select(VoiceUsage).where(VoiceUsage.voice_id.in_(voice_ids)))
        return {row.voice_id: row for row in rows}

    async def count(self, jobs: Iterable[Job]) -> None:
        """Add jobs that this transaction has just ended, completed or failed; of others there is nothing to count.

        In the order of the voices, so that two transactions with several of them cannot wait for each other.
        """
        ended = [job for job in jobs if job.kind == SYNTHESIS and job.status in {COMPLETED, FAILED} and job.voice_model_id]
        for job in sorted(ended, key=lambda job: job.voice_model_id or ""):
            await self._add(job)

    async def _add(self, job: Job) -> None:
        voice_id = shipped().voice_id(job.voice_model_id or "")
        clone_id = None
        if shipped().get(voice_id) is None:
            # A voice may go while it speaks; on PostgreSQL it is kept from going until this transaction ends.
            held = select(Clone.id).where(Clone.id == voice_id).with_for_update(read=True, key_share=True)
            clone_id = await self.session.scalar(held)
            if clone_id is None:
                return
        row = _counts(job) | {"last_used_at": utcnow()}
        added = insert(self.session, VoiceUsage).values(voice_id=voice_id, clone_id=clone_id, **row)
        sums = {name: getattr(VoiceUsage, name) + added.excluded[name] for name in row if name != "last_used_at"}
        await self.session.execute(
            added.on_conflict_do_update(
                index_elements=[VoiceUsage.voice_id], set_=sums | {"last_used_at": added.excluded.last_used_at}
            ).execution_options(synchronize_session=False)
        )


def _counts(job: Job) -> dict[str, Any]:
    audio_s = (job.duration or 0.0) if job.status == COMPLETED else 0.0
    synthesis_s = (job.result or {}).get("synthesis_s") if job.status == COMPLETED and not job.cache_hit else None
    return {
        "completed": int(job.status == COMPLETED),
        "failed": int(job.status == FAILED),
        "audio_s": audio_s,
        "timed": int(synthesis_s is not None),
        "timed_audio_s": audio_s if synthesis_s is not None else 0.0,
        "synthesis_s": synthesis_s or 0.0,
    }


class PreviewRepository(Repository[VoicePreview]):
    model = VoicePreview

    async def of(self, voice_id: str) -> tuple[VoicePreview, Job] | None:
        """The preview of a voice and the job that makes it."""
        statement = select(VoicePreview, Job).join(Job, Job.id == VoicePreview.job_id).where(VoicePreview.voice_id == voice_id)
        row = (await self.session.execute(statement)).one_or_none()
        return None if row is None else (row[0], row[1])

    async def begin(self, preview: VoicePreview, job: Job, *, instead_of: str | None) -> bool:
        """Let this job make the preview, in place of the job `instead_of`, which goes.

        False: somebody else was first, and the job is not kept.
        """
        self.session.add(job)
        await self.session.flush()
        row = {"job_id": job.id, "fingerprint": preview.fingerprint, "model": preview.model, "updated_at": utcnow()}
        added = insert(self.session, VoicePreview).values(
            voice_id=preview.voice_id, clone_id=preview.clone_id, created_at=row["updated_at"], **row
        )
        taken = await self.session.execute(
            added.on_conflict_do_update(index_elements=[VoicePreview.voice_id], set_=row, where=VoicePreview.job_id == instead_of)
            .returning(VoicePreview.voice_id)
            .execution_options(populate_existing=True)
        )
        if taken.first() is None:
            await self.session.delete(job)
            return False
        if instead_of is not None:
            await self.session.execute(delete(Job).where(Job.id == instead_of))
        return True

    async def objects(self, clone_id: str) -> Sequence[str]:
        """The sound of the previews of a clone, which goes."""
        statement = select(Job.output_path).join(VoicePreview, VoicePreview.job_id == Job.id).where(VoicePreview.clone_id == clone_id)
        return [path for path in await self.session.scalars(statement) if path]
