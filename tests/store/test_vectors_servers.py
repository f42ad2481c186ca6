"""Servers of vectors that are not there, go away, hang, come back, and have lost what they had."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store import vectors_chroma, vectors_qdrant
from store.database import Database
from store.index import mend_vectors, rebuild_vectors
from store.objects import Objects
from store.stores import Stores
from store.vectors import EMBEDDING_SIZE, Vectors, VectorServer, VectorsUnavailableError, pack
from tests.engines import chroma_process
from tests.qdrant import KEY, FakeQdrant, qdrant_server
from tests.servers import free_port
from tests.store.conftest import SQLITE_ONLY

VOICES = np.eye(4, EMBEDDING_SIZE, dtype=np.float32)

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")


@pytest.fixture
def qdrant() -> Iterator[FakeQdrant]:
    with qdrant_server() as server:
        yield server


@pytest.fixture
async def voices(user: Any, sample: Any, clone: Any) -> set[str]:
    """Rows with a voice, and one that has not been listened to."""
    me = await user(id="user_1")
    await sample(me.id, id="vs_1", embedding=pack(VOICES[0]))
    await sample(me.id, id="vs_2", embedding=pack(VOICES[1]))
    await sample(me.id, id="vs_new")
    await clone(me.id, id="vc_1", embedding=pack(VOICES[2]))
    return {"vs_1", "vs_2", "vc_1"}


async def are_away(vectors: Vectors) -> None:
    await vectors.put_or_leave("vs_x", "user_1", VOICES[0])
    await vectors.delete_or_leave(["vs_x"])
    for asked in (
        vectors.ping(),
        vectors.ids(),
        vectors.delete(["vs_x"]),
        vectors.put("vs_x", "user_1", VOICES[0]),
        vectors.similar("user_1", VOICES[0], 1),
    ):
        with pytest.raises(VectorsUnavailableError):
            await asked


async def nearest(vectors: Vectors, voice: int) -> str:
    [found] = await vectors.similar("user_1", VOICES[voice], 1)
    assert found.similarity == pytest.approx(1, abs=1e-5)
    return found.id


@SQLITE_ONLY
async def test_chroma_may_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Database, voices: set[str]) -> None:
    monkeypatch.setattr(vectors_chroma, "TIMEOUT_S", 1)
    port = free_port()
    vectors = Vectors.at(VectorServer(f"http://127.0.0.1:{port}/voxify"))
    stores = Stores(database, Objects.in_folder(tmp_path / "objects"), vectors)
    await are_away(vectors)
    with chroma_process(tmp_path / "first", port) as (_, process):
        await vectors.put("vs_gone", "user_1", VOICES[3])
        assert await rebuild_vectors(stores) == (3, 1)
        assert set(await vectors.ids()) == voices
        assert await nearest(vectors, 1) == "vs_2"
        process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)  # until then another of its threads may answer
        with pytest.raises(VectorsUnavailableError):
            await vectors.ping()
        process.send_signal(signal.SIGCONT)
        await vectors.ping()
    await are_away(vectors)
    with chroma_process(tmp_path / "without its data", port):
        assert await vectors.ids() == []
        assert await mend_vectors(stores) == (3, 0)
        assert await nearest(vectors, 2) == "vc_1"
    vectors.close()


@SQLITE_ONLY
async def test_qdrant_is_spoken_to_as_it_wants(qdrant: FakeQdrant, database: Database, voices: set[str], tmp_path: Path) -> None:
    vectors = Vectors.at(VectorServer(f"{qdrant.url}/voxify", KEY))
    stores = Stores(database, Objects.in_folder(tmp_path), vectors)
    await vectors.put("vs_gone", "user_1", VOICES[3])
    assert qdrant.indexed == {"owner_id"}, "every search is among the voices of one person"
    assert await rebuild_vectors(stores) == (3, 1)
    assert await nearest(vectors, 1) == "vs_2"
    assert [one.id for one in await vectors.similar("user_1", VOICES[1], 5, "clone")] == ["vc_1"]
    assert await vectors.similar("user_2", VOICES[1], 5) == []
    qdrant.collections.clear()
    assert await vectors.ids() == [], "made anew"
    await vectors.put("vs_new", "user_1", VOICES[3])
    await vectors.put("vc_gone", "user_1", VOICES[3], "clone")
    assert await mend_vectors(stores) == (3, 1)
    assert set(await vectors.ids()) == voices | {"vs_new"}, "one that is just being listened to is in the index before it is in its row"
    assert await mend_vectors(stores) == (0, 0)
    await Vectors.at(VectorServer(qdrant.url, KEY)).ping()
    assert qdrant.collections.keys() == {"voxify", "voice-samples"}
    vectors.close()


async def test_processes_that_make_one_collection_at_once(qdrant: FakeQdrant) -> None:
    qdrant.raced = True
    vectors = Vectors.at(VectorServer(qdrant.url, KEY))
    await vectors.put("vs_1", "user_1", VOICES[0])
    assert await nearest(vectors, 0) == "vs_1"
    vectors.close()


async def test_all_pages_are_read(qdrant: FakeQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors_qdrant, "PAGE", 3)
    vectors = Vectors.at(VectorServer(qdrant.url, KEY))
    await vectors.put_many([(f"vs_{number}", "user_1", VOICES[0]) for number in range(10)], "sample")
    assert sorted(await vectors.ids()) == sorted(f"vs_{number}" for number in range(10))
    vectors.close()


async def test_a_qdrant_that_is_away_or_takes_another_key(qdrant: FakeQdrant) -> None:
    for server in (
        VectorServer(f"qdrant+http://127.0.0.1:{free_port()}", KEY),
        VectorServer(qdrant.url, "another"),
        VectorServer(qdrant.url),
    ):
        vectors = Vectors.at(server)
        await are_away(vectors)
        vectors.close()
    assert qdrant.collections == {}


async def test_an_index_that_hangs_holds_up_nothing_else() -> None:
    class Hangs:
        def __init__(self) -> None:
            self.go_on = asyncio.Event()
            self.loop = asyncio.get_running_loop()

        def ping(self) -> None:
            asyncio.run_coroutine_threadsafe(self.go_on.wait(), self.loop).result()

        def close(self) -> None:
            """Nothing to close."""

    index = Hangs()
    vectors = Vectors(index)  # type: ignore[arg-type]
    waiting = [asyncio.create_task(vectors.ping()) for _ in range(50)]
    async with asyncio.timeout(60):
        assert await asyncio.to_thread(lambda: "done") == "done"
    assert not any(task.done() for task in waiting)
    index.go_on.set()
    await asyncio.gather(*waiting)
    vectors.close()


@pytest.mark.parametrize(
    ("url", "address", "collection", "is_qdrant"),
    [
        ("http://chroma:8000", "http://chroma:8000", "voice-samples", False),
        ("https://chroma.example.com/voxify/", "https://chroma.example.com", "voxify", False),
        ("qdrant+http://qdrant:6333/voices-2", "http://qdrant:6333", "voices-2", True),
        ("qdrant+https://qdrant", "https://qdrant", "voice-samples", True),
    ],
)
def test_what_an_address_says(url: str, address: str, collection: str, is_qdrant: bool) -> None:
    server = VectorServer(url)
    assert (server.address, server.collection, server.is_qdrant) == (address, collection, is_qdrant)


async def test_what_is_away_is_logged_once(
    qdrant: FakeQdrant, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = Vectors.at(VectorServer(qdrant.url, "another"))
    for _ in range(3):
        with pytest.raises(VectorsUnavailableError):
            await vectors.ping()
    said = caplog.text + capsys.readouterr().out
    assert said.count("vectors away") == 1
    assert "another" not in said
    vectors.close()
