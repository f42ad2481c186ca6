"""What processes tell one another through a real Redis, and what becomes of it when Redis goes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from pydantic import SecretStr, ValidationError
from redis.asyncio import Redis
from sqlalchemy import update

from api import channels
from api.admin.live import LiveSettings
from api.channels import channels_of
from api.jobs import events
from settings import Settings
from store.models import Job
from tests.api.accounts import PASSWORD
from tests.api.inference import FakeInference
from tests.api.rooms import Caller, caller
from tests.api.support import AUTH, Logs, error_of, make_app, processes, running
from tests.api.test_admin import Admin, new_admin
from tests.api.test_auth_remembered import PROFILE, Clock
from tests.api.test_job_events import COMPLETE, following, streams_of
from tests.engines import redis_process, redis_server
from tests.servers import ROOT


@pytest.fixture
def never_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by themselves: what is heard in time has been told."""

    async def never(_: LiveSettings) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(LiveSettings, "_poll", never)
    monkeypatch.setattr(events, "LOOK_S", 600.0)
    monkeypatch.setattr(events, "PING_S", 600.0)  # another process may take a while to begin


@contextlib.asynccontextmanager
async def two_processes(settings: Settings, folder: Path, redis_url: str) -> AsyncIterator[list[tuple[Any, Litestar]]]:
    """Client and app of each, after both are heard by Redis."""
    made = []
    async with contextlib.AsyncExitStack() as life:
        for each in processes(settings.model_copy(update={"redis_url": SecretStr(redis_url)}), folder):
            app = make_app(each, inference_transport=FakeInference().transport)
            made.append((await life.enter_async_context(running(app)), app))
        await listeners(redis_url, 2)
        yield made


async def listeners(redis_url: str, wanted: int) -> None:
    """Returns once so many processes listen."""
    async with Redis.from_url(redis_url) as redis, asyncio.timeout(20):
        while len(await redis.client_list(_type="pubsub")) != wanted:
            await asyncio.sleep(0.01)


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def changed(me: Caller, job_id: str, **columns: Any) -> None:
    """Change the row, and tell nobody."""
    async with me.stores.database.write() as session:
        await session.execute(update(Job).where(Job.id == job_id).values(**columns))


SAY = """
import asyncio, sys
from api.channels import channels_of
from api.jobs.events import notifier
from settings import Settings

async def say():
    async with channels_of(Settings()) as channels:
        notifier(channels)(sys.argv[1])

asyncio.run(say())
"""


@pytest.mark.usefixtures("never_look")
async def test_an_event_of_one_process_arrives_at_the_streams_of_another(settings: Settings, tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as url:
        async with two_processes(settings, tmp_path, url) as [(_, here), (client, there)]:
            me = await caller(client, there, FakeInference())
            job_id = await me.job_row(status="processing")
            stream = streams_of(me).follow(job_id, None)
            await following(stream)
            for progress in (20.0, 60.0):
                await changed(me, job_id, progress=progress)
                here.state.rooms.streams.notify(job_id)
                assert (await following(stream))["progress"] == progress
            await changed(me, job_id, status="completed", progress=100.0)
            # A process that is no API, such as a worker.
            environment = os.environ | {"VOXIFY_REDIS_URL": url}
            worker = await asyncio.create_subprocess_exec(sys.executable, "-c", SAY, job_id, env=environment, cwd=ROOT)
            assert await worker.wait() == 0
            assert [(await following(stream)).get("status"), await following(stream)] == ["completed", COMPLETE]


@pytest.mark.usefixtures("never_look")
async def test_what_one_process_changes_the_other_knows_at_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch)  # which stands still: what is remembered stays so unless something is heard
    with redis_server(tmp_path / "redis") as url:
        async with two_processes(settings, tmp_path, url) as [(here, app), (there, other)]:
            admin = await new_admin(here, app, "root@example.com")
            assert (await there.get(PROFILE, headers=admin.who.headers)).status_code == 200
            await admin.data("PUT", "/config", json={"jobs_per_day": 5})
            await until(lambda: other.state.quotas.jobs_per_day == 5)
            await Admin(there, admin.who).data("PUT", "/config", json={"jobs_per_day": 6})
            await until(lambda: app.state.quotas.jobs_per_day == 6)
            before = other.state.stores.database.account_changes
            assert (await here.post(f"{AUTH}/logout", headers=admin.who.headers)).status_code == 200
            await until(lambda: other.state.stores.database.account_changes > before)
            error_of(await there.get(PROFILE, headers=admin.who.headers), 401, "INVALID_TOKEN")
            at_rest = app.state.stores.database.account_changes
            await there.post(f"{AUTH}/login", json={"email": admin.who.email, "password": PASSWORD})
            await until(lambda: app.state.stores.database.account_changes > at_rest)


async def test_without_redis_streams_look_for_themselves_until_it_is_back(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    monkeypatch.setattr(channels, "RETRY_S", 0.05)
    monkeypatch.setattr(events, "LOOK_S", 0.05)
    folder = tmp_path / "redis"
    async with contextlib.AsyncExitStack() as life:
        with redis_server(folder) as url:
            [(_, here), (client, there)] = await life.enter_async_context(two_processes(settings, tmp_path, url))
            me = await caller(client, there, FakeInference())
            job_id = await me.job_row(status="processing")
            stream = streams_of(me).follow(job_id, None)
            await following(stream)
        for progress in (20.0, 60.0):
            await changed(me, job_id, progress=progress)
            streams_of(me).notify(job_id)
            assert (await following(stream))["progress"] == progress
        await changed(me, job_id, status="completed", progress=100.0)
        assert [(await following(stream)).get("status"), await following(stream)] == ["completed", COMPLETE]
        await until(lambda: logs.text.count("redis away") == 2)
        ready = await me.client.get("/health/ready")
        assert ready.json()["data"]["parts"]["redis"]["status"] == "failed"

        monkeypatch.setattr(events, "LOOK_S", 600.0)
        with redis_server(folder) as url:
            await listeners(url, 2)
            job_id = await me.job_row(status="processing")
            stream = streams_of(me).follow(job_id, None)
            await following(stream)
            await changed(me, job_id, progress=50.0)
            await until(lambda: logs.text.count("redis back") == 2)
            here.state.rooms.streams.notify(job_id)
            assert (await following(stream))["progress"] == 50
            assert logs.text.count("redis away") == 2, "once for each process, however long it lasts"


async def test_a_redis_that_is_silent_is_given_up(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: Logs) -> None:
    """A connection that is open and answers nothing looks like one on which nothing happens."""
    monkeypatch.setattr(channels, "RETRY_S", 0.05)
    monkeypatch.setattr(channels, "QUIET_S", 0.2)
    with redis_process(tmp_path / "redis") as (url, process):
        async with channels_of(settings.model_copy(update={"redis_url": SecretStr(url)})) as here:
            await here.subscribe("any")
            await listeners(url, 1)
            process.send_signal(signal.SIGSTOP)
            await until(lambda: "redis away" in logs.text)
            process.send_signal(signal.SIGCONT)
            await until(lambda: "redis back" in logs.text)


async def test_platforms_with_databases_of_their_own_do_not_hear_each_other(settings: Settings, tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as url:
        async with contextlib.AsyncExitStack() as life:
            made = [
                await life.enter_async_context(channels_of(settings.model_copy(update={"redis_url": SecretStr(f"{url}?db={number}")})))
                for number in (0, 1)
            ]
            heard = [await each.subscribe("x") for each in made]
            await listeners(url, 2)
            for number, each in enumerate(made):
                each.publish(str(number), "x")
            async with asyncio.timeout(60):
                assert [await anext(each.iter_events()) for each in heard] == [b"0", b"1"]
            assert [each.qsize for each in heard] == [0, 0]


@pytest.mark.parametrize(
    "url", ["http://redis.example.com", "redis://", "redis://secret@host:abc", "redis://host/x", "redis.example.com", "unix://a"]
)
def test_addresses_that_no_redis_has_are_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="VOXIFY_REDIS_URL must be") as refused:
        Settings(redis_url=url, _env_file=None)  # type: ignore[call-arg,arg-type]
    assert "secret" not in str([error["msg"] for error in refused.value.errors()])
