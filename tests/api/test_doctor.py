"""`voxify doctor` on parts that are really there, and on parts that are really broken."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from api.cli import app
from api.doctor import machine
from api.doctor.findings import Check, DoubtError, Finding, TroubleError, concealing, examine
from api.doctor.machine import judge_skew, machine_checks
from api.doctor.network import network_checks
from settings import Settings
from store.clock import utcnow
from store.database import Database
from store.ids import new_id
from store.migrations import upgrade
from store.models import Job, User
from store.objects import Objects
from store.vectors import Vectors
from tests.api.inference import MODELS
from tests.api.test_mail import Inbox, serving
from tests.conftest import MIGRATED, Postgres
from tests.engines import S3, redis_server
from tests.servers import free_port

PROCESSOR = {"device": "cpu", "name": "processor", "dtype": "float32", "memory_total": None, "memory_free": None}
SPEAKS = MODELS | {"models": [model | {"speech": True} for model in MODELS["models"]]}


@contextmanager
def answering(**pages: Any) -> Iterator[str]:
    """An HTTP server that has these pages as JSON; a number is a status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = pages.get(self.path[1:], 404)
            body = b"{}" if isinstance(found, int) else json.dumps(found).encode()
            self.send_response(found if isinstance(found, int) else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def findings(settings: Settings, *parts: str) -> dict[str, Finding]:
    """What is found about these parts, or all, by the name of the part."""
    conceal = concealing(settings)
    wanted = [check for check in [*machine_checks(settings), *network_checks(settings)] if not parts or check.part in parts]
    return {check.part: await examine(check, conceal) for check in wanted}


def statuses(found: dict[str, Finding]) -> dict[str, str]:
    return {part: finding.status for part, finding in found.items()}


async def migrated(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    await upgrade(database.engine)
    await database.close()


@pytest.fixture
def change(settings: Settings) -> Callable[..., Settings]:
    """The settings of the test with other values."""

    def changed(**values: Any) -> Settings:
        return Settings(_env_file=None, **(settings.model_dump(exclude_unset=True) | values))  # type: ignore[call-arg]

    return changed


async def test_all_is_well(change: Callable[..., Settings], tmp_path: Path) -> None:
    with answering(livez={}, readyz={}, models=SPEAKS, device=PROCESSOR) as inference, redis_server(tmp_path / "redis") as redis:
        settings = change(inference_url=inference, redis_url=SecretStr(redis))
        await migrated(settings)
        await Objects.in_folder(settings.objects_dir).put("jobs/kept", b"x")
        Vectors.in_folder(settings.vectors_dir).close()
        found = await findings(settings)
        assert {part for part, status in statuses(found).items() if status == "failed"} == set(), found
        for part in (
            "settings",
            "database",
            "migrations",
            "clock",
            "queue",
            "objects",
            "vectors",
            "redis",
            "inference",
            "models",
            "device",
        ):
            assert found[part].status == "ok", found[part]
            assert found[part].advice is None
    assert "SQLite" in found["database"].found
    assert "Apache-2.0" in found["models"].found
    assert "cpu" in found["device"].found
    kept = [stat.key async for stat in Objects.in_folder(settings.objects_dir).list()]
    assert kept == ["jobs/kept"], "the probe is gone again"


async def test_nothing_is_made_where_nothing_is(change: Callable[..., Settings]) -> None:
    settings = change(inference_port=free_port())
    found = await findings(settings)
    assert not settings.data_dir.exists()
    for part in ("database", "migrations", "clock", "queue", "objects", "vectors"):
        assert found[part].status == "skipped", found[part]
    assert (found["inference"].status, found["models"].status) == ("failed", "skipped")


async def test_a_folder_that_cannot_be_written_to(change: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("not a folder")
    found = await findings(change(data_dir=tmp_path / "taken" / "data"), "data folder", "disk space")
    assert found["data folder"].status == "failed"
    assert "VOXIFY_DATA_DIR" in (found["data folder"].advice or "")


@pytest.mark.parametrize(("free", "status"), [(1, "failed"), (15, "warning"), (50, "ok")])
async def test_space_that_runs_out(change: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: machine.shutil._ntuple_diskusage(100 << 30, (100 - free) << 30, free << 30))  # type: ignore[attr-defined]
    found = await findings(change(), "disk space")
    assert found["disk space"].status == status
    assert f"{free}.0 GB" in found["disk space"].found


async def test_settings_that_do_not_go_together(change: Callable[..., Settings]) -> None:
    for values, status, word in (
        ({"env": "prod"}, "failed", "VOXIFY_JWT_SECRET"),
        ({"env": "prod", "jwt_secret": SecretStr("x" * 40)}, "warning", "VOXIFY_SMTP_HOST"),
        ({"env": "prod", "jwt_secret": SecretStr("x" * 40), "smtp_host": "mail.example.com"}, "ok", ""),
        ({"env": "dev", "api_host": "0.0.0.0"}, "warning", "VOXIFY_ENV=prod"),
        ({"env": "dev", "api_host": "127.0.0.1"}, "ok", ""),
    ):
        found = (await findings(change(**values), "settings"))["settings"]
        assert (found.status, word in (found.advice or "")) == (status, True), found


async def test_a_database_that_is_old_or_damaged(change: Callable[..., Settings]) -> None:
    settings = change()
    settings.data_dir.mkdir(parents=True)
    file = settings.data_dir / "voxify.db"
    file.touch()
    found = await findings(settings, "database", "migrations", "queue")
    assert statuses(found) == {"database": "ok", "migrations": "warning", "queue": "skipped"}
    assert "voxify db upgrade" in (found["migrations"].advice or "")
    file.write_bytes(b"this is no database, whatever its name" * 100)
    found = await findings(settings, "database", "migrations")
    assert statuses(found) == {"database": "failed", "migrations": "skipped"}


async def test_postgresql_that_is_well_old_or_away(change: Callable[..., Settings], postgres: Postgres) -> None:
    well = await findings(change(env="prod", database_url=await postgres.create(MIGRATED)), "database", "migrations", "clock", "queue")
    assert set(statuses(well).values()) == {"ok"}, well
    assert "PostgreSQL 1" in well["database"].found
    old = await findings(change(env="prod", database_url=await postgres.create()), "database", "migrations")
    assert statuses(old) == {"database": "ok", "migrations": "failed"}
    gone = change(database_url=f"postgresql+asyncpg://voxify:hunter2hunter2@127.0.0.1:{free_port()}/voxify")
    away = await findings(gone, "database", "migrations", "clock", "queue")
    assert statuses(away) == {"database": "failed", "migrations": "skipped", "clock": "skipped", "queue": "skipped"}
    assert "VOXIFY_DATABASE_URL" in (away["database"].advice or "")
    assert "hunter2" not in str(away)


def test_clocks_that_differ() -> None:
    assert "0.0 s" in judge_skew("the database", 100.5, 100.0, 101.0)
    with pytest.raises(DoubtError, match=r"2\.0 s"):
        judge_skew("the database", 103.0, 100.0, 101.0)
    with pytest.raises(TroubleError, match=r"60\.0 s") as far:
        judge_skew("the database", 40.0, 100.0, 101.0)
    assert (far.value.status, "NTP" in far.value.advice) == ("failed", True)


async def test_jobs_that_nobody_works_on(change: Callable[..., Settings]) -> None:
    settings = change()
    await migrated(settings)
    database = Database(settings.database)
    hour_ago = utcnow() - timedelta(hours=1)
    async with database.write() as session:
        session.add(User(id="user_1", email="a@example.com", password_hash="x"))
        await session.flush()
        session.add(Job(id=new_id("job"), user_id="user_1", available_at=hour_ago))
        session.add(Job(id=new_id("job"), user_id="user_1", available_at=utcnow() + timedelta(hours=1)))
    found = await findings(settings, "database", "queue")
    assert found["queue"].status == "failed"
    assert "1 jobs are due, the oldest for 360" in found["queue"].found
    async with database.write() as session:
        session.add(Job(id=new_id("job"), user_id="user_1", status="processing", available_at=hour_ago))
    await database.close()
    assert (await findings(settings, "database", "queue"))["queue"].status == "warning"


async def test_a_bucket_that_is_not_there_or_refuses_the_keys(change: Callable[..., Settings], s3: S3) -> None:
    s3.bucket("doctor")
    there = {"objects_endpoint": s3.endpoint, "objects_region": s3.region, "objects_access_key": SecretStr(s3.access_key)}
    there |= {"objects_secret_key": SecretStr(s3.secret_key)}
    well = await findings(change(objects_url="s3://doctor/prefix", **there), "objects")
    assert well["objects"].status == "ok", well
    gone = await findings(change(objects_url="s3://nowhere/prefix", **there), "objects")
    assert gone["objects"].status == "failed"
    assert "VOXIFY_OBJECTS_URL" in (gone["objects"].advice or "")
    assert s3.secret_key not in str(gone)


async def test_vectors_that_another_process_has(change: Callable[..., Settings]) -> None:
    settings = change()
    held = Vectors.in_folder(settings.vectors_dir)
    try:
        found = await findings(settings, "vectors")
    finally:
        held.close()
    assert (found["vectors"].status, "in use" in found["vectors"].found) == ("ok", True)


async def test_servers_that_are_away(change: Callable[..., Settings]) -> None:
    port = free_port()
    settings = change(
        redis_url=SecretStr(f"redis://:hunter2hunter2@127.0.0.1:{port}/0"),
        smtp_host="127.0.0.1",
        smtp_port=port,
        queue="celery",
        broker_url=SecretStr(f"amqp://voxify:hunter2hunter2@127.0.0.1:{port}//"),
        database_url="postgresql+asyncpg://voxify@127.0.0.1/voxify",
        vectors_url=f"http://127.0.0.1:{port}",
    )
    named = {"redis": "VOXIFY_REDIS_URL", "mail": "VOXIFY_SMTP_HOST", "broker": "VOXIFY_BROKER_URL", "vectors": "VOXIFY_VECTORS_URL"}
    found = await findings(settings, *named)
    assert statuses(found) == dict.fromkeys(named, "failed"), found
    for part, setting in named.items():
        assert setting in (found[part].advice or "")
    assert "hunter2" not in str(found)


async def test_a_mail_server_is_talked_to_as_for_a_mail(change: Callable[..., Settings]) -> None:
    inbox = Inbox()
    async with serving(inbox) as port:
        mail = {"smtp_host": "127.0.0.1", "smtp_port": port}
        assert (await findings(change(**mail, smtp_tls="none"), "mail"))["mail"].status == "ok"
        bare = (await findings(change(**mail, smtp_tls="starttls"), "mail"))["mail"]
    assert (bare.status, "VOXIFY_SMTP_TLS" in (bare.advice or "")) == ("failed", True), "it cannot encrypt"
    assert inbox.mails == []


async def test_inference_services_that_are_not_well(change: Callable[..., Settings]) -> None:
    pages: dict[str, Any] = {"livez": {}, "readyz": {}, "models": SPEAKS, "device": PROCESSOR}
    full = {"device": "cuda:0", "name": "A GPU", "dtype": "float16", "memory_total": 100 << 30, "memory_free": 1 << 30}
    for wrong, part, status, word in (
        ({"livez": 404}, "inference", "failed", "VOXIFY_INFERENCE_URL"),
        ({"readyz": 503}, "inference", "failed", "log"),
        ({"models": MODELS}, "models", "warning", "VOXIFY_MODEL"),
        ({"models": SPEAKS | {"default": "far"}}, "models", "failed", "inference fetch far"),
        ({"models": 503}, "models", "skipped", ""),
        ({"models": 500}, "models", "failed", "log"),
        ({"device": full}, "device", "warning", "VOXIFY_MODEL_MEMORY_MB"),
        ({"device": full | {"memory_free": 50 << 30}}, "device", "ok", ""),
    ):
        with answering(**pages | wrong) as address:
            found = await findings(change(inference_url=address), "inference", "models", "device")
        assert (found[part].status, word in (found[part].advice or "")) == (status, True), found[part]


async def test_every_replica_is_looked_at(change: Callable[..., Settings]) -> None:
    with answering(livez={}, readyz={}, models=SPEAKS, device=PROCESSOR) as one:
        other = f"http://127.0.0.1:{free_port()}"
        found = await findings(change(inference_url=f"{one},{other}"))
    assert (found[f"inference {one}"].status, found[f"inference {other}"].status) == ("ok", "failed")


async def test_a_check_that_hangs_or_breaks(change: Callable[..., Settings]) -> None:
    async def hangs() -> str:
        await asyncio.Event().wait()
        return ""

    async def breaks() -> str:
        raise RuntimeError("password xyzzyxyzzy\nand more") from None

    conceal = concealing(change(smtp_password=SecretStr("xyzzyxyzzy")))
    hung = await examine(Check("slow", hangs, "Wait"), conceal, timeout_s=0.01)
    assert (hung.status, hung.advice) == ("failed", "Wait")
    broke = await examine(Check("broken", breaks, "Mend"), conceal)
    assert (broke.found, broke.advice) == ("RuntimeError: password ***", "Mend")


@pytest.mark.usefixtures("logs")
def test_the_command_says_it_to_people_and_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOXIFY_ENV", "dev")
    monkeypatch.setenv("VOXIFY_DATA_DIR", str(tmp_path / "data"))
    runner = CliRunner()
    with answering(livez={}, readyz={}, models=SPEAKS, device=PROCESSOR) as inference:
        monkeypatch.setenv("VOXIFY_INFERENCE_URL", inference)
        healthy = runner.invoke(app, ["doctor", "--json"])
    assert (healthy.exit_code, json.loads(healthy.stdout)["healthy"]) == (0, True), healthy.output
    ill = runner.invoke(app, ["doctor"])
    assert ill.exit_code == 1
    assert "FAILED   inference" in ill.stdout
    assert "-> Check VOXIFY_INFERENCE_URL" in ill.stdout
    monkeypatch.setenv("VOXIFY_JWT_SECRET", "hunter2")
    misset = runner.invoke(app, ["doctor", "--json"])
    report = json.loads(misset.stdout)
    assert (misset.exit_code, report["healthy"], report["findings"][0]["part"]) == (1, False, "settings")
    assert "VOXIFY_JWT_SECRET" in misset.stdout
    assert "hunter2" not in misset.output
