"""The API with the stores of many machines: PostgreSQL and a bucket."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from litestar import Litestar
from pydantic import SecretStr
from sqlalchemy import event, text
from sqlalchemy.util import await_only

from settings import Settings
from store.ids import new_id
from store.models import Sample
from tests.api.rooms import Caller, recording
from tests.conftest import MIGRATED, Postgres
from tests.engines import S3


@pytest.fixture
def settings(settings: Settings, postgres: Postgres, s3: S3) -> Settings:
    s3.bucket("voxify")
    return settings.model_copy(
        update={
            "env": "prod",
            "jwt_secret": SecretStr("x" * 32),
            "database_url": asyncio.run(postgres.create(MIGRATED)),
            "objects_url": f"s3://voxify/{new_id('test')}",
            "objects_endpoint": s3.endpoint,
            "objects_region": s3.region,
            "objects_access_key": SecretStr(s3.access_key),
            "objects_secret_key": SecretStr(s3.secret_key),
            "presigned_downloads": True,
        }
    )


async def test_from_a_recording_to_speech(me: Caller, stranger: Caller, settings: Settings) -> None:
    """The main job, with every store on another machine; nothing is written to the folder but what belongs to this process."""
    sample = (await me.upload())["sample_id"]
    await me.until(f"/voice/samples/{sample}", "ready")
    clone = (await me.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample]}))["clone_id"]
    await me.until(f"/voice/clones/{clone}", "ready")
    said = {"text_content": "Hello there.", "voice_model_id": clone, "output_format": "mp3", "config": {"seed": 1}}
    job = (await me.data("POST", "/job", json=said))["id"]
    done = await me.until(f"/job/{job}", "completed")
    again = (await me.data("POST", "/job", json=said))["id"]
    assert (await me.until(f"/job/{again}", "completed"))["cache_hit"] is True
    assert not settings.objects_dir.exists()

    path = f"/file/synthesis/{job}"
    sent_on = await me.ask("GET", path)
    assert sent_on.status_code == 307
    assert sent_on.headers["cache-control"] == "no-store"
    got = await asyncio.to_thread(httpx.get, sent_on.headers["location"])
    assert len(got.content) == done["output_size"]
    part = await me.ask("GET", path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, got.content[10:20])
    head = await me.ask("HEAD", path)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(got.content)))
    assert (head.headers["content-type"], head.headers["content-disposition"]) == (
        got.headers["content-type"],
        got.headers["content-disposition"],
    )
    unchanged = await me.ask("GET", path, headers={"If-None-Match": head.headers["etag"]})
    assert unchanged.status_code == 304
    assert (await stranger.ask("GET", path)).status_code == 404
    twin = await asyncio.to_thread(httpx.get, (await me.ask("GET", f"/file/synthesis/{again}")).headers["location"])
    assert (twin.content, twin.headers["content-disposition"]) == (got.content, f'attachment; filename="{again}.mp3"')
    assert (await me.ask("GET", "/files/audio/reference_default_voice_001")).status_code == 200, "a preset is in no bucket"

    assert (await me.ask("DELETE", f"/job/{job}")).status_code == 200
    assert (await asyncio.to_thread(httpx.get, sent_on.headers["location"])).status_code == 404
    assert (await me.data("DELETE", f"/voice/samples/{sample}?force=true")) is not None
    ready = (await me.client.get("/health/ready")).json()
    assert ready["data"]["parts"]["objects"]["status"] == "ok", ready


class Gate:
    """Holds the first statement that begins so, in whatever connection, until it is opened."""

    def __init__(self, app: Litestar, begins: str) -> None:
        self.begins = begins
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        event.listen(app.state.stores.database.engine.sync_engine, "before_cursor_execute", self._wait)

    def _wait(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(self.begins) and not self.reached.is_set():
            self.reached.set()
            await_only(self.opened.wait())


async def sample_of(me: Caller) -> str:
    """A recording that is ready, without the work."""
    sample_id = new_id("vs")
    key = f"samples/{sample_id}/original.wav"
    await me.stores.objects.put(key, recording())
    sound = {"format": "wav", "duration": 4.0, "sample_rate": 16000, "channels": 1, "size": 1, "ref_text": "Some words."}
    await me.add(Sample(id=sample_id, user_id=me.who.id, name="A voice", status="ready", original_path=key, **sound))
    return sample_id


async def test_a_sample_that_goes_while_a_clone_of_it_is_made(me: Caller, app: Litestar) -> None:
    """The clone has looked at the sample and not been written yet."""
    sample = await sample_of(me)
    gate = Gate(app, "INSERT INTO clones ")
    cloning = asyncio.create_task(me.ask("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample]}))
    await gate.reached.wait()
    deleting = asyncio.create_task(me.ask("DELETE", f"/voice/samples/{sample}"))
    await waits_for_a_lock(me)
    gate.opened.set()
    made, refused = await cloning, await deleting
    assert made.status_code == 201, made.text
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "SAMPLE_IN_USE")
    assert refused.json()["error"]["details"] == {"clones": [made.json()["data"]["clone_id"]]}


async def test_a_clone_that_is_made_while_its_sample_goes(me: Caller, app: Litestar) -> None:
    """The sample is deleted, and not committed yet."""
    sample = await sample_of(me)
    gate = Gate(app, "DELETE FROM samples ")
    deleting = asyncio.create_task(me.ask("DELETE", f"/voice/samples/{sample}"))
    await gate.reached.wait()
    cloning = asyncio.create_task(me.ask("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample]}))
    await waits_for_a_lock(me)
    gate.opened.set()
    gone, refused = await deleting, await cloning
    assert gone.status_code == 200, gone.text
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "SAMPLE_NOT_FOUND")
    assert (await me.counts())[:2] == (0, 0)


async def waits_for_a_lock(me: Caller) -> None:
    """Returns once somebody waits for a row in this database."""
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
    async with asyncio.timeout(20):
        while True:
            async with me.stores.database.read() as session:
                if await session.scalar(waiting):
                    return
            await asyncio.sleep(0.01)
