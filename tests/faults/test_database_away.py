"""A PostgreSQL that stands still with its connections open, is slow, or is not there: nobody waits for good, and all goes on by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from settings import Settings
from store import database as databases
from store.clock import utcnow
from store.database import Database
from store.faults import part_away
from store.migrations import LOCK, is_current, upgrade
from store.models import Job, User
from store.objects import Objects
from store.repositories.queue import JobQueue
from store.stores import Stores
from store.vectors import VectorsUnavailableError
from tests.api.inference import FakeInference
from tests.api.rooms import caller
from tests.api.support import PASSWORD, Logs, make_app, running
from tests.conftest import MIGRATED, Postgres, migrated_postgres
from tests.engines import PostgresProcess, postgres_process
from worker.handlers.base import Outcome, Report
from worker.lanes import slots_of
from worker.run import UNHEARD, JobRunner
from worker.sweeper import Sweeper
from worker.worker import Worker

pytestmark = pytest.mark.timeout(300)

LIMIT_S = 1.5
WAIT_S = 60
ONE = text("SELECT 1")
Ask = Callable[[Database], Awaitable[Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresProcess]:
    """Of its own: nobody else's tests may find it paused."""
    with postgres_process() as started:
        migrated_postgres(started.url)
        yield started


@pytest.fixture
def url(server: PostgresProcess) -> Iterator[str]:
    """The address of a new database with all tables."""
    name = f"test_{time.monotonic_ns()}"
    asyncio.run(Postgres(server.url).run(f"CREATE DATABASE {name} TEMPLATE {MIGRATED}"))
    yield Postgres(server.url).url(name)
    server.go_on()


async def write(database: Database) -> Any:
    async with database.write() as session:
        return await session.scalar(ONE)


async def read(database: Database) -> Any:
    async with database.read() as session:
        return await session.scalar(ONE)


async def glance(database: Database) -> Any:
    return await database.glance(lambda session: session.scalar(ONE))


async def alone(database: Database) -> Any:
    return (await database.run_alone(ONE, {}))[0][0]


async def until_it_answers(database: Database, *ways: Ask) -> None:
    async with asyncio.timeout(WAIT_S):
        for ask in ways:
            while True:
                try:
                    assert await ask(database) == 1
                    break
                except Exception as failed:
                    if part_away(failed) != "database":
                        raise


async def test_whoever_asks_a_server_that_stands_still_is_told_in_time(server: PostgresProcess, url: str) -> None:
    database = Database(url, limit_s=LIMIT_S)
    ways = (write, read, glance, alone)
    await until_it_answers(database, *ways)
    server.pause()
    # More than there are connections: with those that are open, with new ones, and without one.
    for _ in range(2):
        async with asyncio.timeout(10 * LIMIT_S):
            failures = await asyncio.gather(*(ask(database) for ask in ways for _ in range(8)), return_exceptions=True)
        assert {part_away(failure) if isinstance(failure, BaseException) else failure for failure in failures} == {"database"}
    server.go_on()
    await until_it_answers(database, *ways)
    assert len(asyncio.all_tasks()) == 1, "nothing is left that waits"
    await database.close()


@pytest.mark.parametrize("at", ["statement", "commit"])
async def test_a_transaction_during_which_the_server_stops_is_given_up(server: PostgresProcess, url: str, at: str) -> None:
    database = Database(url, limit_s=LIMIT_S)
    await until_it_answers(database, write)

    async def cut() -> None:
        async with database.write() as session:
            session.add(User(id="user_cut", email="cut@example.com", password_hash="-"))
            await session.flush()
            server.pause()
            if at == "statement":
                await session.execute(ONE)

    with pytest.raises(DBAPIError) as failed:
        async with asyncio.timeout(10 * LIMIT_S):
            await cut()
    assert part_away(failed.value) == "database"
    server.go_on()
    await until_it_answers(database, write)
    async with asyncio.timeout(WAIT_S), database.write() as session:  # and its lock is gone
        left = await session.scalar(select(User.id).where(User.id == "user_cut").with_for_update())
        if at == "statement":
            assert left is None
    await database.close()


async def test_the_server_itself_ends_what_takes_too_long(url: str) -> None:
    database = Database(url, limit_s=LIMIT_S)
    async with database.read() as session:
        backend = await session.scalar(text("SELECT pg_backend_pid()"))
        assert await session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "1min"
        with pytest.raises(DBAPIError, match="statement timeout") as slow:
            await session.execute(text("SELECT pg_sleep(30)"))
    assert part_away(slow.value) == "database"
    async with database.read() as session:
        assert await session.scalar(text("SELECT pg_backend_pid()")) == backend, "the connection is as good as before"
    await database.close()


async def test_migrations_are_not_cut(url: str) -> None:
    database = Database(url, limit_s=0.5)
    async with Database(url).unhurried.connect() as other:
        await other.exec_driver_sql(f"SELECT pg_advisory_lock({LOCK})")
        upgrading = asyncio.create_task(upgrade(database.unhurried))
        done, _ = await asyncio.wait({upgrading}, timeout=1.5)  # this long it must not fail, for which there is nothing to wait for
        assert not done
    await upgrading
    assert await is_current(database.unhurried)
    await database.close()


async def test_to_take_leave_of_a_server_that_stands_still_takes_no_longer(
    server: PostgresProcess, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "CLOSE_S", 0.2)
    database = Database(url)
    await until_it_answers(database, write, glance)
    server.pause()
    async with asyncio.timeout(8):
        await database.close()


class Scripted:
    """Works until it is stopped, or until `free`."""

    def __init__(self) -> None:
        self.begun, self.free = asyncio.Event(), asyncio.Event()
        self.stopped_at = 0.0

    async def run(self, job: Job, report: Report) -> Outcome:
        self.begun.set()
        try:
            await self.free.wait()
        finally:
            self.stopped_at = time.monotonic()
        return Outcome()

    async def on_failure(self, *_: Any) -> None:
        raise AssertionError


async def test_a_job_is_given_up_when_the_lease_runs_out_that_nobody_can_extend(
    server: PostgresProcess, url: str, tmp_path: Path, logs: Logs
) -> None:
    lease_s = 2.0
    no_vectors: Any = None
    stores = Stores(Database(url, limit_s=60), Objects.in_folder(tmp_path), no_vectors)
    handler = Scripted()
    runner = JobRunner(stores, {"synthesis": handler}, lease_s=lease_s, max_attempts=3, notify=lambda _: None)

    async def claimed() -> Job | None:
        async with stores.database.write() as session:
            return await JobQueue(session).claim(runner.new_owner(), lease_s, ["synthesis"])

    async with stores.database.write() as session:
        session.add(User(id="user_1", email="one@example.com", password_hash="-"))
        await session.flush()
        session.add(Job(id="job_1", user_id="user_1", available_at=utcnow()))
    first = await claimed()
    assert first is not None
    work = asyncio.create_task(runner.run(first))
    await handler.begun.wait()
    server.pause()
    paused_at = time.monotonic()
    async with asyncio.timeout(WAIT_S):
        assert await work == "lost"
    assert handler.stopped_at - paused_at <= lease_s + 20, "though the heartbeat still waits for an answer"
    assert UNHEARD in logs.text
    server.go_on()
    async with asyncio.timeout(WAIT_S):
        while not await Sweeper(runner, orphan_grace_s=60).recover():
            await asyncio.sleep(0.05)
    handler.free.set()
    second = await claimed()
    assert second is not None
    assert (second.attempt, await runner.run(second)) == (2, "completed")
    await stores.database.close()


async def test_what_a_job_has_come_to_is_written_when_the_server_answers_again(
    server: PostgresProcess, url: str, tmp_path: Path, logs: Logs
) -> None:
    no_vectors: Any = None
    stores = Stores(Database(url, limit_s=LIMIT_S), Objects.in_folder(tmp_path), no_vectors)
    handler = Scripted()
    runner = JobRunner(stores, {"synthesis": handler}, lease_s=WAIT_S, max_attempts=1, notify=lambda _: None)
    async with stores.database.write() as session:
        session.add(User(id="user_1", email="one@example.com", password_hash="-"))
        await session.flush()
        session.add(Job(id="job_1", user_id="user_1", available_at=utcnow()))
    async with stores.database.write() as session:
        job = await JobQueue(session).claim(runner.new_owner(), runner.lease_s, ["synthesis"])
    assert job is not None
    ending = asyncio.create_task(runner.run(job))
    await handler.begun.wait()
    server.pause()
    handler.free.set()
    async with asyncio.timeout(WAIT_S):
        while "end not written yet" not in logs.text:
            await asyncio.sleep(0.02)
        server.go_on()
        assert await ending == "completed"
    async with stores.database.read() as session:
        row = await session.get_one(Job, "job_1")
    assert (row.status, row.attempt) == ("completed", 1), "on its only attempt"
    await stores.database.close()


def unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["code"] == "STORAGE_UNAVAILABLE"
    assert int(answer.headers["Retry-After"]) >= 1


async def test_the_api_says_so_and_comes_back_by_itself(server: PostgresProcess, url: str, tmp_path: Path, logs: Logs) -> None:
    often = {"requests_per_minute": 10**6, "anonymous_requests_per_minute": 10**6, "queue_poll_s": 0.1, "sweep_s": 0.1}
    secret = SecretStr("x" * 32)
    settings = Settings(
        jwt_secret=secret, data_dir=tmp_path / "data", database_url=url, database_timeout_s=LIMIT_S, _env_file=None, **often  # type: ignore[call-arg,arg-type]
    )  # fmt: skip
    app = make_app(settings, inference_transport=(inference := FakeInference()).transport)
    async with running(app) as client:
        me = await caller(client, app, inference)
        said = {"text_content": "Some words.", "voice_model_id": "default_voice_001"}
        account = {"email": "late@example.com", "password": PASSWORD}
        before = len(logs.lines)
        server.pause()
        async with asyncio.timeout(20 * LIMIT_S):
            answers = await asyncio.gather(
                me.ask("GET", "/job"),
                me.ask("POST", "/job", json=said, headers={"Idempotency-Key": "one"}),
                me.ask("GET", "/voice/samples"),
                client.post("/api/v1/auth/register", json=account),
                client.post("/api/v1/auth/login", json=account),
            )
            answers.append(await me.ask("GET", "/job"))  # now that there are no connections any more
        for answer in answers:
            unavailable(answer)
        assert (await client.get("/health/live")).status_code == 200
        ready = (await client.get("/health/ready")).json()["data"]["parts"]
        assert ready["database"]["status"] in {"failed", "timeout"}
        while_paused = len(logs.lines)
        server.go_on()
        async with asyncio.timeout(WAIT_S):
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.05)
        job = await me.data("POST", "/job", json=said, headers={"Idempotency-Key": "one"})
        assert (await me.until(f"/job/{job['id']}", "completed"))["attempt"] == 1
        assert len(await me.data("GET", "/job")) == 1

    def told(lines: list[dict[str, Any]]) -> list[str]:
        return [line["event"] for line in lines if line["event"].startswith("database ") or "could not" in line["event"]]

    assert told(logs.lines[before:while_paused]) == ["database away"], "once, whoever asked how often"
    assert told(logs.lines[while_paused:])[0] == "database back"


class NoVectors:
    async def ids(self) -> list[str]:
        raise VectorsUnavailableError


async def test_slots_that_look_in_vain_say_so_once(tmp_path: Path, logs: Logs) -> None:
    no_vectors: Any = NoVectors()
    stores = Stores(Database("postgresql+asyncpg://voxify@/postgres?host=/nowhere/at/all"), Objects.in_folder(tmp_path), no_vectors)
    runner = JobRunner(stores, {}, lease_s=30, max_attempts=3, notify=lambda _: None)
    looks = asyncio.Semaphore(0)
    worker = Worker(runner, Sweeper(runner, orphan_grace_s=60), lanes=slots_of(2), poll_s=0.01, sweep_s=0.01, orphan_sweep_s=60)
    claim = worker.claims.claim_and_run

    async def counted(*arguments: Any) -> bool:
        looks.release()
        return await claim(*arguments)

    worker.claims.claim_and_run = counted  # type: ignore[method-assign]
    worker.start()
    async with asyncio.timeout(WAIT_S):
        for _ in range(30):
            await looks.acquire()
    await worker.stop(1)
    events = [line["event"] for line in logs.lines]
    assert events == ["worker started", "database away", "worker stopped"]
    assert "No such file" in next(line["reason"] for line in logs.lines if line["event"] == "database away")
