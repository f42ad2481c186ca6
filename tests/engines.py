"""Databases, brokers and stores that the tests start themselves, each on a free port and in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import STOP_TIMEOUT_S, descendants, free_port, need, stop, wait_for_line, wait_until_ready


@contextlib.contextmanager
def redis_process(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Redis of the test's own, on a socket in `folder`, that keeps nothing: its address and its process.

    Needs the Debian package redis-server.
    """
    program = shutil.which("redis-server")
    need(program, "redis-server")
    assert program is not None
    folder.mkdir(parents=True, exist_ok=True)
    path, log_file = folder / "redis.sock", folder / "redis.log"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with log_file.open("wb") as log:
        process = subprocess.Popen([program, *options], stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        # The line comes after the socket is listened on.
        wait_for_line("The server is now ready to accept connections", process, log_file)
        yield f"unix://{path}", process
    finally:
        stop(process)


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Address of such a Redis."""
    with redis_process(folder) as (url, _):
        yield url


def postgres_binaries() -> Path:
    """The folder with the programs of the newest PostgreSQL here. Needs the Debian package postgresql-15."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda program: int(program.parts[-3]))
    need(programs, "PostgreSQL")
    return programs[-1].parent


def as_nobody() -> dict[str, Any]:
    """What tells `subprocess` to start a program that refuses to run as root as somebody else, where the tests run as root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def chroma_process(folder: Path, port: int | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Chroma of the test's own, that keeps its data in `folder`: its address and its process."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log_file = port or free_port(), folder / "chroma.log"
    program = Path(sys.executable).with_name("chroma")
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [str(program), "run", "--path", str(folder / "data"), "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process, log_file, path="/api/v2/heartbeat")
        yield url, process
    finally:
        stop(process)


@dataclass(frozen=True)
class PostgresProcess:
    """A PostgreSQL that runs. Its address has no database: see `postgres_server`."""

    url: str
    process: subprocess.Popen[bytes]

    def pause(self) -> None:
        """Let all of it stand still, with its connections open; returns once it does."""
        self._signal(signal.SIGSTOP)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while any(state_of(each) != "T" for each in self._all()):
            self._signal(signal.SIGSTOP)  # one that was just being started too
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL does not stand still")
            time.sleep(0.005)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _all(self) -> list[int]:
        # Each of them is in a process group of its own.
        return [self.process.pid, *descendants(self.process.pid)]

    def _signal(self, number: int) -> None:
        for each in self._all():
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)


def state_of(process: int) -> str:
    """As the kernel names it; ``T`` for one that is stopped, which one that is gone is taken for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "T"


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Address of a PostgreSQL of the test's own, on a socket, that syncs nothing to disk. Needs the Debian package postgresql-15.

    The address has no database: append the name of one, `postgres` to begin with, to the part before the question mark.
    """
    with postgres_process() as started:
        yield started.url


@contextlib.contextmanager
def postgres_process() -> Iterator[PostgresProcess]:
    """Such a PostgreSQL, to be paused."""
    binaries, as_whom = postgres_binaries(), as_nobody()
    folder = Path(tempfile.mkdtemp(prefix="voxify-pg-"))  # the paths of sockets must be short
    data, log_file = folder / "data", folder / "log"
    try:
        if as_whom:
            os.chown(folder, as_whom["user"], as_whom["group"])
        command = f"{binaries / 'initdb'} --pgdata={data} --username=voxify --auth=trust --no-sync --encoding=UTF8 --locale=C.UTF-8"
        subprocess.run(command.split(), cwd=folder, stdout=subprocess.DEVNULL, check=True, **as_whom)
        quick = {"listen_addresses": "", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "32MB"}
        options = [part for name, value in quick.items() for part in ("-c", f"{name}={value}")]
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [str(binaries / "postgres"), "-D", str(data), "-k", str(folder), *options],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_whom,
            )
        started = PostgresProcess(f"postgresql+asyncpg://voxify@/?host={folder}", process)
        try:
            wait_for_line("database system is ready to accept connections", process, log_file)
            yield started
        finally:
            started.go_on()
            process.send_signal(signal.SIGQUIT)  # at once: nothing of it is wanted any more
            stop(process)
    finally:
        shutil.rmtree(folder)


@dataclass
class RabbitMQ:
    """A broker of the test's own, with names, data and ports that it shares with no other.

    Needs the Debian package rabbitmq-server.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    _life: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def log_file(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        need(program.exists(), "rabbitmq-server")
        names, distribution = free_port(), free_port()
        (self.folder / "plugins").write_text("[].")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nraft.wal_max_size_bytes = 4194304\ndisk_free_limit.absolute = 1MB\n"
        )
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("RABBITMQ_", "ERL_"))} | {
            "HOME": str(self.folder),  # its cookie lies there
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": "/nonexistent",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_NODENAME": "voxify@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }
        # Erlang would leave one of its own running.
        self._process("epmd", [shutil.which("epmd") or "epmd", "-port", str(names), "-address", "127.0.0.1"], environment)
        self._broker = self._process("log", [str(program)], environment)
        wait_for_line("Server startup complete", self._broker, self.log_file)

    def pause(self) -> None:
        """Let it stand still, with its connections open."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._life.close()

    def _signal(self, number: int) -> None:
        os.killpg(self._broker.pid, number)

    def _process(self, name: str, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / name).open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

        def end() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_TIMEOUT_S)

        self._life.callback(end)
        return process


@contextlib.contextmanager
def rabbitmq_server() -> Iterator[RabbitMQ]:
    """Such a broker, running."""
    with tempfile.TemporaryDirectory(prefix="voxify-mq-") as folder:
        broker = RabbitMQ(Path(folder))
        try:
            broker.start()
            yield broker
        finally:
            broker.kill()


@dataclass(frozen=True)
class S3:
    """A server that speaks S3, with keys that it takes."""

    endpoint: str
    access_key: str = "tester"
    secret_key: str = "secret-of-the-tester"
    region: str = "eu-north-1"

    def bucket(self, name: str) -> Any:
        """boto3's view of a bucket, made if it is not there."""
        import boto3  # type: ignore[import-untyped]

        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key, "region_name": self.region}
        found = boto3.resource("s3", endpoint_url=self.endpoint, **keys).Bucket(name)
        if found.creation_date is None:
            found.create(CreateBucketConfiguration={"LocationConstraint": self.region})
        return found


@contextlib.contextmanager
def s3_server() -> Iterator[S3]:
    """An S3 store in threads of the test's own process, that keeps everything in memory."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3(f"http://{host}:{port}")
    finally:
        server.stop()
