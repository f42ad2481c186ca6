"""The commands that look after the stores, on one machine and from one to many."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from api.cli import app
from api.stores import open_stores
from settings import Settings
from store.models import Sample, User
from store.vectors import EMBEDDING_SIZE, pack
from tests.conftest import Postgres
from tests.engines import S3, chroma_process
from tests.qdrant import KEY, qdrant_server
from tests.servers import free_port

VOICE = np.eye(1, EMBEDDING_SIZE, dtype=np.float32)[0]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a machine with one person and one recording."""
    for name in [name for name in os.environ if name.startswith("VOXIFY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOXIFY_DATA_DIR", str(tmp_path / "data"))
    assert run("db", "upgrade").exit_code == 0
    asyncio.run(fill(Settings()))
    return tmp_path / "data"


async def fill(settings: Settings) -> None:
    stores = open_stores(settings)
    sound = {"format": "wav", "duration": 5.0, "sample_rate": 24000, "channels": 1, "size": 5, "name": "a voice"}
    async with stores.database.write() as session:
        session.add(User(id="user_1", email="ada@example.org", password_hash="x"))
        await session.flush()
        session.add(Sample(id="vs_1", user_id="user_1", original_path="samples/vs_1/original.wav", embedding=pack(VOICE), **sound))
    await stores.objects.put("samples/vs_1/original.wav", b"sound")
    await stores.vectors.put("vs_gone", "user_1", VOICE)
    await stores.close()


async def lose_a_row(settings: Settings) -> None:
    """The index knows a voice more than the database, wherever it is."""
    stores = open_stores(settings)
    await stores.vectors.put("vs_gone", "user_1", VOICE)
    await stores.close()


async def found(settings: Settings) -> tuple[str, bytes, list[str]]:
    stores = open_stores(settings)
    try:
        async with stores.database.read() as session:
            email = (await session.get_one(User, "user_1")).email
        return email, await stores.objects.get("samples/vs_1/original.wav"), await stores.vectors.ids()
    finally:
        await stores.close()


def run(*command: str) -> Result:
    return CliRunner().invoke(app, list(command))


@pytest.mark.usefixtures("logs")
def test_one_machine_moves_to_many(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres, s3: S3) -> None:
    file = tmp_path / "backup.tar"
    written = run("backup", str(file))
    assert (written.exit_code, written.stdout) == (0, f"2 rows and 1 files are in {file}\n")
    again = run("backup", str(file))
    assert (again.exit_code, "there already" in again.output) == (1, True)

    s3.bucket("moved")
    monkeypatch.setenv("VOXIFY_DATA_DIR", str(tmp_path / "other"))
    monkeypatch.setenv("VOXIFY_DATABASE_URL", asyncio.run(postgres.create()))
    monkeypatch.setenv("VOXIFY_OBJECTS_URL", "s3://moved/voxify")
    monkeypatch.setenv("VOXIFY_OBJECTS_ENDPOINT", s3.endpoint)
    monkeypatch.setenv("VOXIFY_OBJECTS_REGION", s3.region)
    monkeypatch.setenv("VOXIFY_OBJECTS_ACCESS_KEY", s3.access_key)
    monkeypatch.setenv("VOXIFY_OBJECTS_SECRET_KEY", s3.secret_key)
    assert run("db", "check").exit_code == 1
    restored = run("restore", str(file))
    assert (restored.exit_code, restored.stdout) == (0, "2 rows and 1 files are back\n")
    assert run("db", "check").exit_code == 0
    assert asyncio.run(found(Settings())) == ("ada@example.org", b"sound", ["vs_1"])
    refused = run("restore", str(file))
    assert (refused.exit_code, "--force" in refused.output) == (1, True)
    assert run("restore", "--force", str(file)).exit_code == 0


@pytest.fixture(params=["folder", "chroma", "qdrant"])
def index(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each place where the index may be."""
    with ExitStack() as life:
        match request.param:
            case "chroma":
                url, _ = life.enter_context(chroma_process(tmp_path / "chroma"))
                monkeypatch.setenv("VOXIFY_VECTORS_URL", f"{url}/voxify")
            case "qdrant":
                monkeypatch.setenv("VOXIFY_VECTORS_URL", f"{life.enter_context(qdrant_server()).url}/voxify")
                monkeypatch.setenv("VOXIFY_VECTORS_KEY", KEY)
        yield


@pytest.mark.usefixtures("logs")
@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_the_index_of_voices_is_made_anew(data: Path, index: None) -> None:
    asyncio.run(lose_a_row(Settings()))
    rebuilt = run("vectors", "rebuild")
    assert rebuilt.stdout == "1 voices are in the index; 1 that were gone have been taken out\n"
    assert asyncio.run(found(Settings()))[2] == ["vs_1"]


@pytest.mark.usefixtures("logs")
def test_what_a_running_api_holds_is_left_alone(data: Path, tmp_path: Path) -> None:
    """A backup is made beside it; what would change its index is not."""
    stores = open_stores(Settings())
    try:
        assert run("backup", str(tmp_path / "backup.tar")).exit_code == 0
        for command in (("vectors", "rebuild"), ("restore", "--force", str(tmp_path / "backup.tar"))):
            refused = run(*command)
            assert (refused.exit_code, "in use by another" in refused.output) == (1, True)
    finally:
        asyncio.run(stores.close())


@pytest.mark.usefixtures("logs")
def test_a_database_that_is_ahead_or_behind_is_told(data: Path) -> None:
    assert run("db", "check").exit_code == 0
    with sqlite3.connect(data / "voxify.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    assert run("db", "check").exit_code == 1


COMMANDS = (("db", "check"), ("db", "upgrade"), ("db", "recount"), ("backup", "new.tar"), ("restore", "old.tar"), ("vectors", "rebuild"))


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_is_away_is_said_in_a_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    (tmp_path / "old.tar").touch()
    monkeypatch.setenv("VOXIFY_DATABASE_URL", f"postgresql+asyncpg://voxify:hunter2@127.0.0.1:{free_port()}/voxify")
    away = run(*command)
    assert (away.exit_code, away.stderr.count("\n"), away.stdout) == (4, 1, "")
    assert away.stderr.startswith("The database cannot be reached: ")
    assert "hunter2" not in away.output
    assert not (tmp_path / "new.tar").exists()


@pytest.mark.usefixtures("logs")
def test_a_database_that_lets_nobody_in_or_is_none_is_said_too(data: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres) -> None:
    for url, why in (
        (postgres.url("nobody_made_it"), 'cannot be reached: database "nobody_made_it" does not exist'),
        ("sqlite+aiosqlite:////nowhere/at/all/voxify.db", "cannot be reached: "),
        ("oracle+nothing://voxify:hunter2@db/voxify", "VOXIFY_DATABASE_URL cannot be used: "),
        ("hunter2", "VOXIFY_DATABASE_URL cannot be used: "),
    ):
        monkeypatch.setenv("VOXIFY_DATABASE_URL", url)
        refused = run("db", "check")
        assert (refused.exit_code, refused.stderr.count("\n")) == (4, 1), refused.output
        assert why in refused.stderr
        assert "hunter2" not in refused.output


@pytest.mark.usefixtures("logs")
def test_other_stores_that_are_away_are_said_too(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: S3) -> None:
    assert run("backup", "old.tar").exit_code == 0
    monkeypatch.setenv("VOXIFY_VECTORS_URL", f"http://127.0.0.1:{free_port()}")
    for command in (("vectors", "rebuild"), ("restore", "--force", "old.tar")):
        away = run(*command)
        assert (away.exit_code, "The index of voices cannot be reached" in away.stderr, "Traceback" in away.output) == (4, True, False)
    monkeypatch.delenv("VOXIFY_VECTORS_URL")
    monkeypatch.setenv("VOXIFY_OBJECTS_URL", "s3://nobody-made-it")
    monkeypatch.setenv("VOXIFY_OBJECTS_ENDPOINT", s3.endpoint)
    monkeypatch.setenv("VOXIFY_OBJECTS_ACCESS_KEY", s3.access_key)
    monkeypatch.setenv("VOXIFY_OBJECTS_SECRET_KEY", s3.secret_key)
    for command in (("backup", "new.tar"), ("restore", "--force", "old.tar"), ("db", "recount")):
        away = run(*command)
        said = [line for line in away.stderr.splitlines() if not line.startswith("{")]  # of the S3 server, which runs in this process
        assert (away.exit_code, len(said)) == (4, 1), away.output
        assert said[0].startswith("The object store cannot be reached: ")
        assert s3.secret_key not in away.output
    assert not (tmp_path / "new.tar").exists()


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OBJECTS_URL", "https://example.org/bucket", "VOXIFY_OBJECTS_URL"),
        ("OBJECTS_ACCESS_KEY", "hunter2-hunter2", "VOXIFY_OBJECTS_SECRET_KEY"),
        ("PRESIGNED_DOWNLOADS", "true", "VOXIFY_OBJECTS_URL"),
        ("VECTORS_URL", "http://somebody:hunter2@chroma", "VOXIFY_VECTORS_URL"),
        ("VECTORS_URL", "grpc://qdrant:6334/voxify", "VOXIFY_VECTORS_URL"),
    ],
)
def test_settings_of_stores_that_cannot_be_are_named(data: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(f"VOXIFY_{name}", value)
    refused = run("db", "check")
    assert refused.exit_code == 2
    assert said in refused.output
    assert "hunter2" not in refused.output
