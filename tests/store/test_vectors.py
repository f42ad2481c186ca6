from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from qdrant_client import QdrantClient

import store
from store.ids import new_id
from store.vectors import EMBEDDING_SIZE, FolderInUseError, Kind, Vectors, VectorServer, pack, unpack
from store.vectors_qdrant import QdrantIndex
from tests.engines import chroma_process

Embedding = NDArray[np.float32]
KINDS: tuple[Kind, ...] = ("sample", "clone")


class OneAtATime(QdrantIndex):
    """Qdrant in the memory of the process, which is not made for several threads, as the server is."""

    def _do(self, work: Callable[[], Any]) -> Any:
        with self._turn:
            return super()._do(work)

    def __init__(self, client: QdrantClient, collection: str) -> None:
        super().__init__(client, collection)
        self._turn = Lock()


@pytest.fixture(scope="module", params=["folder", "server", "qdrant"])
def vectors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vectors]:
    """One index of each kind for the module: opening it takes a second. Every test has owners of its own."""
    folder = tmp_path_factory.mktemp("vectors") / "made"
    with ExitStack() as life:
        match request.param:
            case "folder":
                made = Vectors.in_folder(folder)
            case "server":
                url, _ = life.enter_context(chroma_process(folder))
                made = Vectors.at(VectorServer(f"{url}/tests"))
            case _:
                life.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore", UserWarning)  # that it knows no indexes of payloads
                made = Vectors(OneAtATime(QdrantClient(":memory:"), "tests"))
        yield made
        made.close()


@pytest.fixture
def owner() -> str:
    return new_id("user")


def voices(count: int, seed: int = 0) -> list[Embedding]:
    """Random unit vectors."""
    drawn = np.random.default_rng(seed).standard_normal((count, EMBEDDING_SIZE)).astype(np.float32)
    return list(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


async def test_the_nearest_come_first_with_their_cosine(vectors: Vectors, owner: str) -> None:
    made = voices(20)
    ids = [new_id("vs") for _ in made]
    for id_, voice in zip(ids, made, strict=True):
        await vectors.put(id_, owner, voice)
    wanted = voices(1, seed=1)[0]
    cosines = sorted(((float(voice @ wanted), id_) for id_, voice in zip(ids, made, strict=True)), reverse=True)
    found = await vectors.similar(owner, wanted, 5)
    assert [one.id for one in found] == [id_ for _, id_ in cosines[:5]]
    assert [one.similarity for one in found] == pytest.approx([cosine for cosine, _ in cosines[:5]], abs=1e-5)


async def test_the_cosine_spans_minus_one_to_one(vectors: Vectors, owner: str) -> None:
    voice, other = voices(2)
    across = other - (other @ voice) * voice
    for id_, one in (("same", voice), ("opposite", -voice), ("across", across / np.linalg.norm(across))):
        await vectors.put(f"{owner}_{id_}", owner, one)
    found = await vectors.similar(owner, voice, 10)
    assert [one.id.removeprefix(f"{owner}_") for one in found] == ["same", "across", "opposite"]
    assert [one.similarity for one in found] == pytest.approx([1.0, 0.0, -1.0], abs=1e-5)


async def test_only_this_owners_voices_are_found_in_a_crowd_of_others(vectors: Vectors, owner: str) -> None:
    wanted, *mine = voices(4, seed=2)
    for number, voice in enumerate(mine):
        await vectors.put(f"{owner}_{number}", owner, voice)
    for number, noise in enumerate(voices(60, seed=3)):  # all of them nearer than any of the owner's
        near = wanted + 0.01 * noise
        await vectors.put(f"{owner}_other_{number}", f"{owner}_other", near / np.linalg.norm(near))
    found = await vectors.similar(owner, wanted, 3)
    assert {one.id for one in found} == {f"{owner}_{number}" for number in range(3)}
    assert await vectors.similar(new_id("user"), wanted, 3) == []


async def test_a_second_put_replaces_the_first(vectors: Vectors, owner: str) -> None:
    first, second = voices(2)
    await vectors.put(f"{owner}_x", owner, first)
    await vectors.put(f"{owner}_x", owner, second)
    [found] = await vectors.similar(owner, second, 5)
    assert found.similarity == pytest.approx(1.0, abs=1e-5)


async def test_deleted_voices_are_not_found(vectors: Vectors, owner: str) -> None:
    made = voices(3)
    for number, voice in enumerate(made):
        await vectors.put(f"{owner}_{number}", owner, voice)
    await vectors.delete([f"{owner}_0", f"{owner}_2", "vs_none"])
    await vectors.delete([])
    assert [one.id for one in await vectors.similar(owner, made[0], 5)] == [f"{owner}_1"]
    assert [id_ for id_ in await vectors.ids() if id_.startswith(owner)] == [f"{owner}_1"]


async def test_samples_and_clones_can_be_told_apart(vectors: Vectors, owner: str) -> None:
    [voice] = voices(1)
    await vectors.put(f"{owner}_vs", owner, voice)
    await vectors.put_many([(f"{owner}_vc{number}", owner, voice) for number in range(2)], "clone")
    found = {kind: {one.id.removeprefix(f"{owner}_") for one in await vectors.similar(owner, voice, 9, kind)} for kind in (None, *KINDS)}
    assert found == {None: {"vs", "vc0", "vc1"}, "sample": {"vs"}, "clone": {"vc0", "vc1"}}


async def test_more_than_a_page_of_voices_are_all_listed(vectors: Vectors, owner: str) -> None:
    made = voices(1100)
    for start in range(0, len(made), 500):
        await vectors.put_many([(f"{owner}_{start + n}", owner, voice) for n, voice in enumerate(made[start : start + 500])], "sample")
    assert sorted(id_ for id_ in await vectors.ids() if id_.startswith(owner)) == sorted(f"{owner}_{number}" for number in range(1100))
    await vectors.delete([f"{owner}_{number}" for number in range(1100)])
    assert not [id_ for id_ in await vectors.ids() if id_.startswith(owner)]


async def test_many_may_ask_at_once(vectors: Vectors, owner: str) -> None:
    made = voices(16)
    await asyncio.gather(*(vectors.put(f"{owner}_{number}", owner, voice) for number, voice in enumerate(made)))
    answers = await asyncio.gather(*(vectors.similar(owner, voice, 1) for voice in made))
    assert [answer[0].id for answer in answers] == [f"{owner}_{number}" for number in range(16)]
    await vectors.ping()


FILL = """
import asyncio, sys
from pathlib import Path
import numpy as np
from store.vectors import Vectors
voices = np.eye(4, 256, dtype=np.float32)

async def fill():
    vectors = Vectors.in_folder(Path(sys.argv[1]))
    for number, voice in enumerate(voices):
        await vectors.put(f"vs_{number}", "user_1", voice)
    await vectors.delete(["vs_3"])

asyncio.run(fill())
"""


def test_a_folder_belongs_to_one_at_a_time(tmp_path: Path) -> None:
    first = Vectors.in_folder(tmp_path)
    with pytest.raises(FolderInUseError, match="in use by another Voxify process"):
        Vectors.in_folder(tmp_path)
    first.close()
    Vectors.in_folder(tmp_path).close()


async def test_the_index_survives_the_process_that_made_it(tmp_path: Path) -> None:
    root = Path(store.__file__).parent.parent
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", FILL, str(tmp_path / "index")], cwd=root, check=True)
    again = Vectors.in_folder(tmp_path / "index")
    assert sorted(await again.ids()) == ["vs_0", "vs_1", "vs_2"]
    found = await again.similar("user_1", np.eye(1, EMBEDDING_SIZE, k=2, dtype=np.float32)[0], 2)
    assert found[0].id == "vs_2"
    assert found[0].similarity == pytest.approx(1.0, abs=1e-5)


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=EMBEDDING_SIZE))
def test_an_embedding_survives_its_form_in_sql(values: list[float]) -> None:
    blob = pack(values)
    assert len(blob) == 4 * len(values)
    back = unpack(blob)
    assert back.dtype == np.float32
    assert back.tolist() == values
    back += 1  # it is a copy of its own, not a view of the blob


def test_the_form_in_sql_is_little_endian() -> None:
    assert pack([1.0, -2.0]) == bytes.fromhex("0000803f000000c0")
    with pytest.raises(ValueError, match="size"):
        unpack(b"\0\0\0")
