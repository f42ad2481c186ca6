"""The servers of a house, each as a program that can be killed and started again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.programs import Program
from tests.engines import as_nobody, postgres_binaries
from tests.servers import need, wait_for_line, wait_until_ready

POSTGRES = {
    "listen_addresses": "",
    # A killed server loses nothing that it has given to the kernel; only the machine's own end would, which is not tried here.
    "fsync": "off",
    "full_page_writes": "off",
    # But it must have been given before the commit is answered.
    "synchronous_commit": "on",
    "max_connections": "150",
    "shared_buffers": "32MB",
}


def postgres(folder: Path) -> Program:
    binaries, as_whom = postgres_binaries(), as_nobody()
    home = folder / "postgres"
    home.mkdir()
    if as_whom:
        os.chown(home, as_whom["user"], as_whom["group"])
    data = home / "data"
    command = f"{binaries / 'initdb'} --pgdata={data} --username=voxify --auth=trust --no-sync --encoding=UTF8 --locale=C.UTF-8"
    subprocess.run(command.split(), cwd=home, stdout=subprocess.DEVNULL, check=True, **as_whom)
    options = [part for name, value in POSTGRES.items() for part in ("-c", f"{name}={value}")]
    return Program(
        "postgres",
        "postgres",
        [str(binaries / "postgres"), "-D", str(data), "-k", str(home), *options],
        lambda process, log: wait_for_line("database system is ready to accept connections", process, log),
        folder,
        as_whom=as_whom,
        # What is killed here is the database as a whole. Alone, its first process would leave the others to end when they see it.
        at_once=True,
    )


def redis(folder: Path) -> Program:
    program = shutil.which("redis-server")
    need(program, "redis-server")
    options = ["--port", "0", "--unixsocket", str(folder / "redis.sock"), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    return Program(
        "redis",
        "redis",
        [str(program), *options],
        lambda process, log: wait_for_line("The server is now ready to accept connections", process, log),
        folder,
    )


def s3(folder: Path, port: int) -> Program:
    # It keeps everything in memory. So it is never killed: it is stopped, and the gate before it cuts its connections.
    return Program(
        "s3",
        "s3",
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        lambda process, log: wait_until_ready(f"http://127.0.0.1:{port}", process, log, "/moto-api/"),
        folder,
    )


def chroma(folder: Path, port: int) -> Program:
    program = Path(sys.executable).with_name("chroma")
    return Program(
        "chroma",
        "chroma",
        [str(program), "run", "--path", str(folder / "chroma"), "--host", "127.0.0.1", "--port", str(port)],
        lambda process, log: wait_until_ready(f"http://127.0.0.1:{port}", process, log, "/api/v2/heartbeat"),
        folder,
    )


def rabbitmq(folder: Path, port: int, names_port: int, distribution_port: int) -> list[Program]:
    """The broker, and the name service that Erlang would else leave running behind it."""
    program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    need(program.exists(), "rabbitmq-server")
    home = folder / "rabbitmq"
    home.mkdir()
    (home / "plugins").write_text("[].")
    (home / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nraft.wal_max_size_bytes = 4194304\ndisk_free_limit.absolute = 1MB\n"
    )
    environment = {
        "HOME": str(home), "ERL_EPMD_PORT": str(names_port), "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_CONF_ENV_FILE": "/nonexistent",
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_NODENAME": "voxify@localhost", "RABBITMQ_DIST_PORT": str(distribution_port), "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home), "RABBITMQ_LOGS": "-", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
    }  # fmt: skip
    names = [shutil.which("epmd") or "epmd", "-port", str(names_port), "-address", "127.0.0.1", "-d"]
    return [
        Program("epmd", "epmd", names, lambda process, log: wait_for_line("epmd running", process, log), folder, environment),
        Program(
            "rabbitmq",
            "rabbitmq",
            [str(program)],
            lambda process, log: wait_for_line("Server startup complete", process, log),
            folder,
            environment,
            at_once=True,
        ),
    ]


def inference(folder: Path, number: int, port: int) -> Program:
    environment = {
        "VOXIFY_DATA_DIR": str(folder / f"inference-{number}"), "VOXIFY_INFERENCE_PORT": str(port), "VOXIFY_MODEL": "smoke",
        # Sounds are compared with one another, which half precision would make harder than it needs to be.
        "VOXIFY_DTYPE": "float32", "OMP_NUM_THREADS": "1", "BENTOML_HOME": str(folder / f"bentoml-{number}"), "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    return Program(
        f"inference-{number}",
        "inference",
        [sys.executable, "-m", "inference"],
        lambda process, log: wait_until_ready(f"http://127.0.0.1:{port}", process, log),
        folder,
        environment,
    )


def api(folder: Path, number: int, port: int, settings: Mapping[str, str]) -> Program:
    own = {"DATA_DIR": str(folder / f"api-{number}"), "API_PORT": str(port)}
    return Program(
        f"api-{number}",
        "api",
        [sys.executable, "-m", "api.cli", "serve"],
        lambda process, log: wait_until_ready(f"http://127.0.0.1:{port}", process, log, "/health/live"),
        folder,
        _environment(settings, own),
    )


def worker(folder: Path, number: int, settings: Mapping[str, str], *options: str) -> Program:
    """`voxify worker`, or with options one of another engine."""
    return Program(
        f"worker-{number}",
        "worker",
        [sys.executable, "-m", "api.cli", "worker", *options],
        lambda process, log: wait_for_line('"worker started"', process, log),
        folder,
        _environment(settings, {"DATA_DIR": str(folder / f"worker-{number}")}),
    )


def beat(folder: Path, settings: Mapping[str, str]) -> Program:
    return Program(
        "beat",
        "beat",
        [sys.executable, "-m", "api.cli", "beat"],
        lambda process, log: wait_for_line('"beat started"', process, log),
        folder,
        _environment(settings, {"DATA_DIR": str(folder / "beat")}),
    )


def _environment(settings: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    return {f"VOXIFY_{name}": value for name, value in {**settings, **own}.items()}
