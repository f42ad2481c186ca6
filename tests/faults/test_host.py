"""Faults of the machine under a real API process: a disk that is full, a folder that cannot be written to, a database that is held."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from settings import Settings
from store import database
from store.faults import part_away
from tests.api.inference import FakeInference
from tests.api.rooms import caller
from tests.api.support import AUTH, PASSWORD, Logs, make_app, running
from tests.e2e.test_bad_input import sound_file
from tests.e2e.voxify import ApiProcess, Person, api_process
from tests.servers import ROOT, free_port

MIB = 1024**2
WAIT_S = 30


def mount(*options: str) -> None:
    """Skips the test where nothing may be mounted: not root, or a container without the right to it."""
    done = subprocess.run(["mount", *options], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@contextlib.contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[None]:
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def parts(api: ApiProcess) -> dict[str, str]:
    """What is not well, by readiness; the inference service never is, as there is none."""
    answer = httpx.get(f"{api.url}/health/ready", timeout=WAIT_S)
    found = answer.json()["data"]["parts"]
    return {name: part["status"] for name, part in found.items() if part["status"] != "ok" and name != "inference"}


def rows(api: ApiProcess) -> tuple[int, ...]:
    with sqlite3.connect(f"file:{api.data / 'voxify.db'}?mode=ro", uri=True) as opened:
        return tuple(opened.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("samples", "jobs", "users"))


def objects(api: ApiProcess) -> list[Path]:
    return sorted(path for path in (api.data / "objects").rglob("*") if path.is_file())


def unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["code"] == "STORAGE_UNAVAILABLE"
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """On a disk of its own, small enough to be filled."""
    folder = tmp_path_factory.mktemp("host")
    with small_disk(folder / "data", 64), api_process(folder, f"http://127.0.0.1:{free_port()}") as started:
        yield started


@pytest.fixture(scope="module")
def person(api: ApiProcess) -> Person:
    return Person(api.url, "host@example.com")


def test_a_full_disk(api: ApiProcess, person: Person) -> None:
    sound = sound_file(4)
    assert person.upload(sound).status_code == 201
    assert parts(api) == {}
    before = rows(api), objects(api)
    filler = api.data / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert set(parts(api)) == {"database", "objects"}
    unavailable(person.upload(sound))
    unavailable(person.http.post("/auth/register", json={"email": "late@example.com", "password": "Correct-Horse-7!"}))
    assert httpx.get(f"{api.url}/health/live").status_code == 200
    assert person.http.get("/voice/samples").status_code == 200, "what is there can be read"
    filler.unlink()
    assert parts(api) == {}
    assert (rows(api), objects(api)) == before
    assert person.upload(sound).status_code == 201, "it recovers by itself"


def test_a_folder_of_objects_that_cannot_be_written_to(api: ApiProcess, person: Person) -> None:
    before = rows(api), objects(api)
    with read_only(api.data / "objects"):
        assert parts(api) == {"objects": "failed"}
        unavailable(person.upload(sound_file(4)))
        assert person.http.get("/voice/samples").status_code == 200
    assert parts(api) == {}
    assert (rows(api), objects(api)) == before
    assert person.upload(sound_file(4)).status_code == 201


async def test_a_database_that_another_process_holds_for_longer_than_anybody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    """As the others, but with a shorter patience than the ten seconds it has, and in this process."""
    monkeypatch.setattr(database, "SQLITE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(database, "SQLITE_PRAGMAS", ("busy_timeout=500", *database.SQLITE_PRAGMAS[1:]))
    often = {"requests_per_minute": 10**6, "anonymous_requests_per_minute": 10**6}
    settings = Settings(env="dev", data_dir=tmp_path / "data", _env_file=None, **often)  # type: ignore[call-arg,arg-type]
    app = make_app(settings, inference_transport=(inference := FakeInference()).transport)
    async with running(app) as client:
        me = await caller(client, app, inference)
        before = await me.counts()
        account = {"email": "late@example.com", "password": PASSWORD}
        holder = sqlite3.connect(tmp_path / "data" / "voxify.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            began = time.monotonic()
            answers = await asyncio.gather(*(client.post(f"{AUTH}/register", json=account) for _ in range(20)))
            assert time.monotonic() - began < 10, "they did not wait for one another, each for all before it"
            for answer in answers:
                unavailable(answer)
            ready = (await client.get("/health/ready")).json()["data"]["parts"]
            assert ready["database"]["status"] in {"failed", "timeout"}
            assert "store unavailable" in logs.text
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        async with asyncio.timeout(WAIT_S):
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.05)
        assert (await client.post(f"{AUTH}/register", json=account)).status_code == 201, "not half there from before"
        assert await me.counts() == before


def serve(data: Path, **more: str) -> tuple[int, str]:
    """How `voxify serve` ends, and what it says."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VOXIFY_")}
    environment |= {"VOXIFY_ENV": "dev", "VOXIFY_DATA_DIR": str(data), "VOXIFY_API_PORT": "0"} | more
    command = [sys.executable, "-m", "api.cli", "serve"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_data_folder_that_cannot_be_written_to_is_said_at_the_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with read_only(data):
        code, said = serve(data)
    assert code == 2
    assert f"{data} cannot be written to" in said
    assert "Traceback" not in said
    assert list(data.iterdir()) == []


def test_which_failures_mean_that_a_store_is_away(tmp_path: Path) -> None:
    def failure_of(*statements: str, **options: Any) -> BaseException:
        opened = sqlite3.connect(tmp_path / "some.db", timeout=0, **options)
        try:
            for statement in statements:
                opened.execute(statement)
        except sqlite3.Error as error:
            return error
        finally:
            opened.close()
        raise AssertionError(statements)

    assert part_away(failure_of("PRAGMA max_page_count=2", "CREATE TABLE a (b)", "CREATE TABLE c (d)", "CREATE TABLE e (f)")) == "database"
    assert part_away(failure_of("PRAGMA query_only=1", "CREATE TABLE g (h)")) == "database"
    with sqlite3.connect(tmp_path / "some.db", isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert part_away(failure_of("BEGIN IMMEDIATE")) == "database"
    assert part_away(failure_of("SELECT nothing FROM nowhere")) is None, "a mistake of ours"
    assert part_away(OSError(28, "No space left on device")) == "disk"
    assert part_away(FileNotFoundError(2, "No such file")) is None
    assert part_away(ConnectionRefusedError()) == "database"
    assert part_away(ValueError()) is None
