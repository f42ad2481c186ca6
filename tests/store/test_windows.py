"""Lists: pages, totals, filters and the search in texts."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.clock import utcnow
from store.database import Database
from store.models import Job
from store.models.job import CLONE_BUILD, COMPLETED, PENDING
from store.repositories.base import Window
from store.repositories.clones import CloneRepository
from store.repositories.jobs import JobFilter, JobRepository
from store.repositories.samples import SampleRepository

SHARED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
START = utcnow()


@pytest.fixture
async def many(database: Database, user: Any) -> str:
    """A user with 23 jobs that share times, lengths and states, and another one whose jobs are in nobody's pages."""
    mine, other = await user(), await user()
    async with database.write() as session:
        for number, owner in itertools.product(range(23), (mine, other)):
            session.add(
                Job(
                    id=f"job_{number * 7 % 23:02}_{owner.id}",
                    user_id=owner.id,
                    available_at=START,
                    created_at=START + timedelta(seconds=number // 4),
                    status=COMPLETED if number % 3 else PENDING,
                    duration=None if number % 2 else float(number // 5),
                    voice_model_id=f"vc_{number % 2}",
                )
            )
    return str(mine.id)


@SHARED
@given(
    limit=st.integers(1, 30),
    sort_by=st.sampled_from(["created_at", "status", "duration", "id"]),
    sort_order=st.sampled_from(["asc", "desc"]),
    status=st.sampled_from([None, PENDING, COMPLETED]),
)
async def test_pages_neither_overlap_nor_miss(
    database: Database, many: str, limit: int, sort_by: str, sort_order: Literal["asc", "desc"], status: str | None
) -> None:
    pages: list[list[Job]] = []
    async with database.read() as session:
        jobs = JobRepository(session)
        for offset in range(0, 24, limit):
            rows, total = await jobs.list(many, Window(limit, offset, sort_by, sort_order), JobFilter(status=status))
            assert total == {None: 23, PENDING: 8, COMPLETED: 15}[status]
            pages.append(list(rows))
        beyond = await jobs.list(many, Window(limit, 23, sort_by, sort_order), JobFilter(status=status))
        nobodys = await jobs.list("user_nobody", Window(limit, 0, sort_by, sort_order), JobFilter(status=status))
    joined = [row for page in pages for row in page]
    assert beyond == ([], total)
    assert nobodys == ([], 0)
    assert len({row.id for row in joined}) == len(joined) == total
    assert all(len(page) <= limit for page in pages)
    assert {row.user_id for row in joined} == {many}
    known = [row for row in joined if getattr(row, sort_by) is not None]
    keys = [(getattr(row, sort_by), row.id) for row in known]
    assert keys == sorted(keys, reverse=sort_order == "desc")


async def test_filters_add_up_and_totals_follow(database: Database, many: str) -> None:
    async with database.read() as session:
        rows, total = await JobRepository(session).list(many, Window(limit=2), JobFilter(status=PENDING, voice_model_id="vc_1"))
    assert total == 4
    assert len(rows) == 2
    assert {(row.status, row.voice_model_id) for row in rows} == {(PENDING, "vc_1")}


async def test_only_synthesis_is_listed(database: Database, job: Any) -> None:
    spoken = await job()
    await job(user_id=spoken.user_id, kind=CLONE_BUILD)
    async with database.read() as session:
        rows, total = await JobRepository(session).list(spoken.user_id, Window(), JobFilter())
    assert ([row.id for row in rows], total) == ([spoken.id], 1)


TEXTS = ["100% sure", "100 sure", "snake_case", "snakeXcase", "a/b", "a\\b", "Hello World", "it's", "", "%", "_", "/%", "[a-z]*"]


@pytest.fixture
async def texts(database: Database, user: Any) -> str:
    owner = await user()
    async with database.write() as session:
        session.add_all(
            Job(id=f"job_{number}", user_id=owner.id, available_at=START, text_content=words) for number, words in enumerate(TEXTS)
        )
    return str(owner.id)


@SHARED
@given(
    needle=st.sampled_from(TEXTS).flatmap(lambda words: st.sampled_from([words, words.upper(), words[1:3], words[-4:]]))
    | st.text("%_/\\a", max_size=3)
)
async def test_the_search_takes_every_character_as_it_is(database: Database, texts: str, needle: str) -> None:
    async with database.read() as session:
        rows, total = await JobRepository(session).list(texts, Window(limit=100), JobFilter(text_search=needle))
    assert sorted(row.text_content for row in rows) == sorted(words for words in TEXTS if needle.lower() in words.lower())
    assert total == len(rows)


@pytest.mark.parametrize("repository", [SampleRepository, CloneRepository])
async def test_samples_and_clones_are_paged_alike(database: Database, user: Any, sample: Any, clone: Any, repository: Any) -> None:
    owner, other = await user(), await user()
    make = sample if repository is SampleRepository else clone
    made = [(await make(owner.id, created_at=START, status="ready" if number else "failed")).id for number in range(5)]
    await make(other.id)
    async with database.read() as session:
        pages = [await repository(session).list(owner.id, Window(2, offset)) for offset in (0, 2, 4)]
        failed, failures = await repository(session).list(owner.id, Window(), status="failed")
    assert sorted(row.id for rows, _ in pages for row in rows) == sorted(made)
    assert {total for _, total in pages} == {5}
    assert ([row.id for row in failed], failures) == (made[:1], 1)
