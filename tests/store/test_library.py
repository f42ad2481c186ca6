"""What is kept about voices: usage counted as jobs end, favourites, ratings, previews; and the presets that come along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import delete, func, select, text

from audio.decode import decode
from audio.inspect import inspect
from store.clock import utcnow
from store.database import Database
from store.ids import new_id
from store.migrations import config, upgrade
from store.models import Clone, Job, User, VoiceFavorite, VoicePreview, VoiceRating, VoiceUsage
from store.models.job import CLONE_BUILD, COMPLETED, FAILED, PREVIEW, PROCESSING
from store.presets import FOLDER, recordings, shipped
from store.repositories.clones import CloneRepository
from store.repositories.jobs import JobRepository
from store.repositories.library import FavoriteRepository, PreviewRepository, Rated, RatingRepository, VoiceUsageRepository
from store.repositories.queue import JobQueue, Lease

DEFAULT = "default_voice_001"
SPOKEN = {"duration": 4.0, "result": {"synthesis_s": 2.0}}


@pytest.fixture
def end(database: Database, job: Any) -> Any:
    """A job that a worker ends: completed with these columns, or failed."""

    async def end(voice_id: str | None, *, fails: bool = False, kind: str = "synthesis", **columns: Any) -> Job:
        running = await job(voice_model_id=voice_id, kind=kind, status=PROCESSING, lease_owner="me", attempt=1)
        async with database.write() as session:
            queue, lease = JobQueue(session), Lease(running.id, "me", 1)
            assert await (queue.fail(lease, "X", "x") if fails else queue.complete(lease, **(SPOKEN | columns)))
        return running

    return end


async def usage(database: Database, voice_id: str) -> VoiceUsage | None:
    async with database.read() as session:
        return (await VoiceUsageRepository(session).of([voice_id])).get(voice_id)


async def test_jobs_are_counted_as_they_end(database: Database, user: Any, clone: Any, end: Any) -> None:
    voice = (await clone((await user()).id)).id
    assert await usage(database, voice) is None
    await end(voice)
    await end(voice, duration=6.0, result={"synthesis_s": 1.0})
    await end(voice, cache_hit=True)
    await end(voice, result={})
    await end(voice, fails=True)
    found = await usage(database, voice)
    assert found is not None
    assert (found.clone_id, found.completed, found.failed, found.audio_s) == (voice, 4, 1, 18.0)
    assert (found.timed, found.timed_audio_s, found.synthesis_s) == (2, 10.0, 3.0), "what was copied or not timed is no measure of speed"


async def test_presets_are_counted_for_everybody_and_under_one_id(database: Database, end: Any) -> None:
    preset = shipped().default.voice_id
    for named in (DEFAULT, preset, DEFAULT):
        await end(named)
    found = await usage(database, preset)
    assert found is not None
    assert (found.completed, found.clone_id) == (3, None)
    assert await usage(database, DEFAULT) is None


async def test_only_speech_is_counted(database: Database, user: Any, clone: Any, end: Any) -> None:
    voice = (await clone((await user()).id)).id
    for kind in (PREVIEW, CLONE_BUILD):
        await end(voice, kind=kind)
    await end(None)
    assert await usage(database, voice) is None


async def test_a_job_whose_voice_went_while_it_ran_still_completes(database: Database, user: Any, clone: Any, job: Any, end: Any) -> None:
    done = await end("vc_gone")
    async with database.read() as session:
        assert (await session.get_one(Job, done.id)).status == COMPLETED
        assert await session.scalar(select(func.count()).select_from(VoiceUsage)) == 0


async def test_a_job_that_is_given_up_counts_as_failed_and_one_that_is_tried_again_does_not(database: Database, job: Any) -> None:
    for attempt in (1, 3):
        await job(voice_model_id=DEFAULT, status=PROCESSING, lease_owner="x", attempt=attempt, lease_until=utcnow().replace(year=2020))
    async with database.write() as session:
        assert len(await JobQueue(session).recover(3)) == 2
    found = await usage(database, shipped().default.voice_id)
    assert found is not None
    assert (found.completed, found.failed) == (0, 1)


async def test_what_was_counted_outlives_the_job_but_not_the_voice(database: Database, user: Any, clone: Any, end: Any) -> None:
    voice = await clone((await user()).id)
    done = await end(voice.id)
    async with database.write() as session:
        assert await JobRepository(session).delete(done.id)
    assert await usage(database, voice.id) is not None
    async with database.write() as session:
        await CloneRepository(session).delete(await session.get_one(Clone, voice.id))
    assert await usage(database, voice.id) is None


async def test_favourites_are_kept_once_and_go_with_their_person_and_their_clone(database: Database, user: Any, clone: Any) -> None:
    mine, other = (await user()).id, (await user()).id
    voice = (await clone(mine)).id
    async with database.write() as session:
        favorites = FavoriteRepository(session)
        for _ in range(2):
            await favorites.put(mine, voice, voice)
            await favorites.put(mine, "preset_x", None)
        await favorites.put(other, "preset_x", None)
        assert await favorites.voice_ids(mine) == {voice, "preset_x"}
        assert (await favorites.count("preset_x"), await favorites.count(voice)) == (2, 1)
        await favorites.remove(other, "preset_x")
        await favorites.remove(other, "preset_x")
        assert await favorites.count("preset_x") == 1
    async with database.write() as session:
        await CloneRepository(session).delete(await session.get_one(Clone, voice))
    async with database.write() as session:
        assert await FavoriteRepository(session).voice_ids(mine) == {"preset_x"}
        await session.execute(delete(User).where(User.id == mine))
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(VoiceFavorite)) == 0


async def test_ratings_are_one_a_person_and_go_with_their_person_and_their_clone(database: Database, user: Any, clone: Any) -> None:
    mine, other = (await user()).id, (await user()).id
    voice = (await clone(mine)).id
    async with database.write() as session:
        ratings = RatingRepository(session)
        for rating in (1, 4):
            await ratings.put(mine, voice, voice, rating)
            await ratings.put(mine, "preset_x", None, rating)
        await ratings.put(other, "preset_x", None, 1)
        assert await ratings.of(mine, [voice, "preset_x", "preset_y"]) == {voice: Rated(4.0, 1, 4), "preset_x": Rated(2.5, 2, 4)}
        assert await ratings.of(other, [voice, "preset_x"]) == {voice: Rated(4.0, 1, None), "preset_x": Rated(2.5, 2, 1)}
        await ratings.remove(other, "preset_x")
        await ratings.remove(other, "preset_x")
        assert await ratings.of(other, ["preset_x"]) == {"preset_x": Rated(4.0, 1, None)}
    async with database.write() as session:
        await CloneRepository(session).delete(await session.get_one(Clone, voice))
    async with database.write() as session:
        assert await RatingRepository(session).of(mine, [voice, "preset_x"]) == {"preset_x": Rated(4.0, 1, 4)}
        await session.execute(delete(User).where(User.id == mine))
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(VoiceRating)) == 0


async def test_of_two_who_begin_a_preview_one_is_first(database: Database, user: Any) -> None:
    owner = (await user()).id

    async def begin(fingerprint: str, instead_of: str | None) -> tuple[str, bool]:
        made = Job(id=new_id("job"), user_id=owner, kind=PREVIEW, available_at=utcnow())
        preview = VoicePreview(voice_id="preset_x", fingerprint=fingerprint)
        async with database.write() as session:
            return made.id, await PreviewRepository(session).begin(preview, made, instead_of=instead_of)

    first, won = await begin("a", None)
    assert won
    assert not (await begin("a", None))[1]
    assert not (await begin("b", "job_another"))[1]
    second, won = await begin("b", first)
    assert won
    async with database.read() as session:
        assert (await session.scalars(select(Job.id))).all() == [second], (
            "the jobs of those who lost, and that of the old preview, are gone"
        )
        found = await PreviewRepository(session).of("preset_x")
        assert found is not None
        assert (found[0].fingerprint, found[1].id) == ("b", second)
    async with database.write() as session:
        await session.execute(delete(User).where(User.id == owner))
    async with database.read() as session:
        assert await PreviewRepository(session).of("preset_x") is None, "somebody else will have it made again"


async def test_the_work_on_a_clone_is_not_its_preview(database: Database, user: Any, clone: Any, job: Any) -> None:
    owner = (await user()).id
    voice = (await clone(owner)).id
    await job(user_id=owner, kind=PREVIEW, subject_id=voice)
    async with database.read() as session:
        assert await JobRepository(session).in_progress_of(voice) is None


async def test_jobs_that_had_ended_before_are_counted_by_the_migration(tmp_path: Path) -> None:
    database, now = Database(f"sqlite+aiosqlite:///{tmp_path / 'old.db'}"), {"now": utcnow().replace(tzinfo=None)}  # as it is kept
    async with database.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.upgrade(config(sync), "0002"))
        user = "id, email, password_hash, role, is_active, created_at, updated_at"
        await connection.execute(text(f"INSERT INTO users ({user}) VALUES ('user_1', 'a@b.c', 'x', 'user', 1, :now, :now)"), now)
        clone = "id, user_id, name, language, status, parameters, created_at, updated_at"
        await connection.execute(
            text(f"INSERT INTO clones ({clone}) VALUES ('vc_1', 'user_1', 'x', 'en-US', 'ready', '{{}}', :now, :now)"), now
        )
        old = (
            "id, user_id, kind, status, priority, attempt, available_at, progress, voice_model_id, text_content, text_hash, text_language, "
            "text_length, word_count, config, output_format, sample_rate, speed, pitch, volume, duration, cache_hit, created_at, updated_at"
        )
        for number, (status, voice) in enumerate([(COMPLETED, "vc_1"), (COMPLETED, "vc_1"), (FAILED, "vc_1"), (COMPLETED, "vc_gone")]):
            values = (
                f"'job_{number}', 'user_1', 'synthesis', '{status}', 0, 1, :now, 100, '{voice}', '', '', '', 0, 0, '{{}}', 'wav', 24000"
            )
            await connection.execute(text(f"INSERT INTO jobs ({old}) VALUES ({values}, 1, 1, 1, 2.5, 0, :now, :now)"), now)
        await connection.commit()
    await upgrade(database.engine)
    async with database.read() as session:
        found = (await session.scalars(select(VoiceUsage))).one()
    await database.close()
    assert (found.voice_id, found.clone_id, found.completed, found.failed, found.audio_s, found.timed) == ("vc_1", "vc_1", 2, 1, 5.0, 0)


def test_presets_have_ids_of_their_own_and_one_is_the_default() -> None:
    presets = shipped()
    assert presets.default_id == DEFAULT
    assert presets.default.voice_id in presets.by_id
    assert presets.voice_id(DEFAULT) == presets.default.voice_id
    assert presets.voice_id("vc_1") == "vc_1"
    assert presets.get("vc_1") is None
    own = [preset for preset in presets.listed if preset.voice_id == preset.id]
    assert len(own) >= 4
    assert all(preset.id.startswith("preset_") and preset.tags and preset.license for preset in own)
    assert {preset.gender for preset in own} == {"female", "male"}


@pytest.mark.parametrize("preset", [each for each in shipped().listed if each.id == each.voice_id], ids=lambda preset: preset.name)
async def test_a_recording_is_fit_to_be_a_reference(preset: Any) -> None:
    content = await recordings().get(preset.recording)
    found = decode(content)
    assert (found.format, found.sample_rate, found.channels) == ("flac", 24_000, 1)
    assert found.duration_s == pytest.approx(preset.duration, abs=0.001)
    assert 5 <= found.duration_s <= 8
    assert len(content) < 300_000
    measured = inspect(found.mono, found.sample_rate)
    assert measured.quality_score > 0.9
    assert measured.clipping_ratio == 0
    assert preset.text.endswith(".")
    # Flite says about 15 characters a second: a text that is not that of the recording would not fit.
    assert 12 < len(preset.text) / found.duration_s < 20


def test_what_is_shipped_is_described_and_licensed() -> None:
    licensed = (FOLDER / "LICENSE.md").read_text()
    for recording in FOLDER.glob("*.flac"):
        assert f"`{recording.name}`" in licensed
        assert recording.name in {preset.recording for preset in shipped().listed}
