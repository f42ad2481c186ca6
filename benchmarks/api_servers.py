"""What `benchmarks.api` measures: an API process on a database that holds so many jobs, with a stub in place of the inference service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from api.auth.tokens import ACCESS, Tokens
from store.models import Job
from tests.servers import ROOT, free_port, stop, wait_for_line, wait_until_ready

DONE, WAITING = "user_done", "user_waiting"  # whose jobs have all ended; 20 of whose jobs wait
JOBS_EACH = 1000
WAITING_JOBS = 20
PENDING = 5000  # in the whole queue, where the table is large enough for it
USERS = 10_000
SMALLEST = 2 * JOBS_EACH
SECRET = secrets.token_hex(32)
UNLIMITED = 10**9
POSTGRES = Path("/usr/lib/postgresql/15/bin")
TEXT = "The quick brown fox jumps over the lazy dog, and then it goes home to tell its children about what it has seen on the way."

# Dialect: a series 0 to n - 1 named i, and the time that is so many seconds ago.
SERIES = "WITH RECURSIVE series(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM series WHERE i < {rows} - 1)"
AGO = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now', (-({seconds})) || ' seconds')",
    "postgresql": "now() - ({seconds}) * interval '1 second'",
}


@dataclass(frozen=True)
class Server:
    """An API process under measurement."""

    name: str
    dialect: str
    rows: int
    port: int
    database_url: str
    pid: int

    def cpu_s(self) -> float:
        """Processor seconds so far, user and system, of all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**2


@cache
def token_of(user_id: str) -> str:
    """An access token, good for a day, of the session that `fill` has made. One for all requests, as a client has it."""
    return Tokens(SECRET, access_ttl_s=86_400, refresh_ttl_s=86_400).make(ACCESS, user_id, f"session_of_{user_id}")[0]


def job_id(number: int) -> str:
    return f"job_{10**18 + number}"


def fill_statements(dialect: str, rows: int) -> list[str]:
    """SQL that fills an empty database with users, two sessions and `rows` jobs, the newest first.

    The first thousand are those of `DONE`, the next those of `WAITING`; the others belong to ten thousand people, and the newest of
    them wait too.
    """
    ago = AGO[dialect].format
    waits = f"(i >= {JOBS_EACH} AND i < {JOBS_EACH + WAITING_JOBS}) OR (i >= {SMALLEST} AND i < {SMALLEST + PENDING - WAITING_JOBS})"
    done = lambda value: f"CASE WHEN {waits} THEN NULL ELSE {value} END"  # noqa: E731
    others = f"'user_' || CAST(i % {USERS} AS TEXT)"
    job = {
        "id": f"'job_' || CAST({10**18} + i AS TEXT)",
        "user_id": f"CASE WHEN i < {JOBS_EACH} THEN '{DONE}' WHEN i < {SMALLEST} THEN '{WAITING}' ELSE {others} END",
        "status": f"CASE WHEN {waits} THEN 'pending' ELSE 'completed' END",
        "available_at": ago(seconds="i + 60"),
        "created_at": ago(seconds="i + 60"),
        "updated_at": ago(seconds="i + 55"),
        "claimed_at": done(ago(seconds="i + 59")),
        "started_at": done(ago(seconds="i + 59")),
        "completed_at": done(ago(seconds="i + 55")),
        "voice_model_id": "'default_voice_001'",
        "text_content": f"'{TEXT}'",
        "text_hash": f"'{'0' * 64}'",
        "text_language": "'en-US'",
        "text_length": str(len(TEXT)),
        "word_count": str(len(TEXT.split())),
        "config": """'{"seed": 1}'""",
        "progress": f"CASE WHEN {waits} THEN 0 ELSE 100 END",
        "output_path": done("'jobs/' || CAST(i AS TEXT) || '/1.wav'"),
        "output_size": done("384044"),
        "duration": done("8.0"),
        "result": f"""CASE WHEN {waits} THEN NULL ELSE {_json('{"model": "tone", "speech": true}', dialect)} END""",
    }
    job |= {
        column.name: _literal(column.default.arg)
        for column in Job.__table__.columns
        if column.name not in job and not column.nullable and column.default is not None and column.default.is_scalar
    }
    user = {"id": "id", "email": "id || '@example.org'", "password_hash": "'x'", "role": "'user'", "is_active": "true"}
    user |= dict.fromkeys(("created_at", "updated_at"), ago(seconds="0"))
    people = f"SELECT 'user_' || CAST(i AS TEXT) AS id FROM series UNION ALL SELECT '{DONE}' UNION ALL SELECT '{WAITING}'"  # noqa: S608 - nobody's input
    session = {"id": "'session_of_' || id", "family_id": "'session_of_' || id", "user_id": "id", "expires_at": ago(seconds="-86400")}
    return [
        f"{SERIES.format(rows=USERS)}, people AS ({people}) {_insert('users', user, 'people')}",
        f"{_insert('refresh_tokens', session, 'users')} WHERE id IN ('{DONE}', '{WAITING}')",
        f"{SERIES.format(rows=rows)} {_insert('jobs', job, 'series')}",
    ]


def _insert(table: str, columns: dict[str, str], source: str) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {source}"  # noqa: S608 - nobody's input


def _json(value: str, dialect: str) -> str:
    return f"CAST('{value}' AS JSON)" if dialect == "postgresql" else f"'{value}'"


def _literal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"'{value}'" if isinstance(value, str) else str(value)


def fill(url: str, dialect: str, rows: int) -> None:
    statements = fill_statements(dialect, rows)
    if dialect == "sqlite":
        with contextlib.closing(sqlite3.connect(url.split("///")[1])) as connection, connection:
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("PRAGMA cache_size=-500000")
            for statement in statements:
                connection.execute(statement)
        return

    async def run() -> None:
        import asyncpg  # type: ignore[import-untyped]

        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        for statement in [*statements, "VACUUM ANALYZE"]:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


@contextlib.contextmanager
def silent_inference() -> Iterator[str]:
    """An inference service that is ready and never answers anything else, so that a worker holds one job and leaves the others."""
    listener = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /readyz"):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                else:
                    await reader.read()  # until whoever asked gives up
        writer.close()

    async def serve() -> None:
        async with await asyncio.start_server(answer, sock=listener) as server:
            await server.serve_forever()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Address of a PostgreSQL of the benchmark's own; it refuses to run as root, so that then another user has to."""
    folder.mkdir(parents=True)
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = {"user": "postgres", "group": "postgres"}
        for parent in (folder, *folder.parents):
            if parent == Path("/tmp"):  # noqa: S108 - only asked whether it is that one
                break
            parent.chmod(parent.stat().st_mode | 0o011)
        shutil.chown(folder, **account)
    port, log_file = free_port(), folder / "postgres.log"
    data = str(folder / "data")
    initdb = [str(POSTGRES / "initdb"), "-D", data, "-U", "voxify", "-A", "trust"]
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **account)  # noqa: S603 - nobody's input
    program = [str(POSTGRES / "postgres"), "-D", data, "-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1"]
    with log_file.open("wb") as log:
        process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - nobody's input
            program, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=folder, **account
        )
    try:
        wait_for_line("ready to accept connections", process, log_file)
        yield f"postgresql+asyncpg://voxify@127.0.0.1:{port}/"
    finally:
        stop(process)


@contextlib.contextmanager
def api_server(name: str, dialect: str, rows: int, folder: Path, database_url: str, inference: str, code: Path = ROOT) -> Iterator[Server]:
    """An API process, of the code in the folder `code`, with limits so high that they refuse nobody but are counted all the same."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VOXIFY_")}
    settings: dict[str, Any] = {
        "env": "prod", "data_dir": folder, "database_url": database_url, "jwt_secret": SECRET, "api_port": port, "inference_url": inference,
        "requests_per_minute": UNLIMITED, "anonymous_requests_per_minute": UNLIMITED, "jobs_per_day": UNLIMITED, "storage_bytes": 2**60,
        "worker_slots": 1, "inference_timeout_s": 86_400, "shutdown_grace_s": 1,
    }  # fmt: skip
    environment |= {f"VOXIFY_{key.upper()}": str(value) for key, value in settings.items()}
    log_file = folder / "api.log"
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "serve"], cwd=code, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, log_file, "/health/live")
        yield Server(name, dialect, rows, port, database_url, process.pid)
    finally:
        stop(process)


def migrate(database_url: str, folder: Path) -> None:
    """Bring an empty database to the newest revision."""
    environment = {**os.environ, "VOXIFY_DATABASE_URL": database_url, "VOXIFY_DATA_DIR": str(folder)}
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "api.cli", "db", "upgrade"], cwd=ROOT, env=environment, check=True, capture_output=True)
