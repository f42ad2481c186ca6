"""The whole platform as real processes that know each other by addresses which outlive them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from store.database import Database
from store.migrations import upgrade
from store.objects import Bucket
from store.stores import Stores
from store.vectors import VectorServer
from tests.chaos import parts
from tests.chaos.gate import Gate
from tests.chaos.programs import Program
from tests.engines import S3
from tests.servers import free_port

LEASE_S = 5.0
ORPHAN_GRACE_S = 60.0  # far longer than a process is stopped between the storing of an object and the commit that names it
BUCKET = "voxify"
DATABASE = "postgres"
SECRET = "a-secret-that-both-api-processes-know-0123456789"
Topology = Literal["embedded", "workers", "celery"]
TOPOLOGIES: dict[Topology, str] = {
    "embedded": "Two API processes with worker slots of their own",
    "workers": "Two API processes, two worker processes, Chroma",
    "celery": "Two API processes, two Celery workers, the beat, RabbitMQ, Chroma",
}


@dataclass
class House:
    """Its programs by name, in the order in which they need each other."""

    folder: Path
    programs: dict[str, Program]
    gate: Gate
    s3: S3
    database_url: str
    api_urls: list[str]
    inference_urls: list[str]
    vectors_url: str
    topology: str

    def of_kind(self, *kinds: str) -> list[Program]:
        return [program for program in self.programs.values() if program.kind in kinds]

    def stores(self) -> Stores:
        """What the processes keep their state in; the bucket is reached past the gate."""
        s3, folder = self.s3, self.folder / "own"
        return Stores.open(
            database_url=self.database_url,
            objects_dir=folder,
            vectors_dir=folder,
            bucket=Bucket(url=f"s3://{BUCKET}", endpoint=s3.endpoint, region=s3.region, access_key=s3.access_key, secret_key=s3.secret_key),
            vector_server=VectorServer(self.vectors_url) if self.vectors_url else None,
        )


@contextlib.asynccontextmanager
async def house(topology: Topology, replicas: int, logs: Path | None = None) -> AsyncIterator[House]:
    """Everything runs and is ready; `replicas` of the inference service. `logs`: a folder to keep the logs of all processes in."""
    folder = Path(tempfile.mkdtemp(prefix="voxify-chaos-"))
    built = _plan(folder, topology, replicas)
    try:
        _start(built, "postgres", "redis", "s3", "chroma", "epmd")
        built.s3.bucket(BUCKET)
        database = Database(built.database_url)
        await upgrade(database.unhurried)
        await database.close()
        await built.gate.open()
        _start(built, "inference", "rabbitmq", "api", "worker", "beat")
        yield built
    finally:
        for program in reversed(built.programs.values()):
            program.stop()
        await built.gate.cut()
        await asyncio.to_thread(_leave, folder, logs)


def _leave(folder: Path, logs: Path | None) -> None:
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
        for log in folder.glob("*.log"):
            shutil.copy(log, logs)
    shutil.rmtree(folder, ignore_errors=True)


def _start(built: House, *kinds: str) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(Program.start, built.of_kind(*kinds)))


def _plan(folder: Path, topology: Topology, replicas: int) -> House:
    folder.chmod(0o755)  # PostgreSQL runs as somebody else
    s3_port, gate_port = free_port(), free_port()
    s3 = S3(f"http://127.0.0.1:{s3_port}")
    inference_ports, api_ports = [free_port() for _ in range(replicas)], [free_port(), free_port()]
    database_url = f"postgresql+asyncpg://voxify@/{DATABASE}?host={folder / 'postgres'}"
    inference_urls = [f"http://127.0.0.1:{port}" for port in inference_ports]
    settings = {
        "ENV": "prod", "JWT_SECRET": SECRET, "DATABASE_URL": database_url, "REDIS_URL": f"unix://{folder / 'redis.sock'}",
        "OBJECTS_URL": f"s3://{BUCKET}", "OBJECTS_ENDPOINT": f"http://127.0.0.1:{gate_port}", "OBJECTS_REGION": s3.region,
        "OBJECTS_ACCESS_KEY": s3.access_key, "OBJECTS_SECRET_KEY": s3.secret_key, "INFERENCE_URL": ",".join(inference_urls),
        "LEASE_S": f"{LEASE_S}", "SWEEP_S": "1", "QUEUE_POLL_S": "1", "ORPHAN_SWEEP_S": "10", "ORPHAN_GRACE_S": f"{ORPHAN_GRACE_S}",
        "INFERENCE_TIMEOUT_S": "60", "SHUTDOWN_GRACE_S": "2", "ACCESS_TOKEN_TTL_S": "86400", "REQUESTS_PER_MINUTE": "1000000",
        "ANONYMOUS_REQUESTS_PER_MINUTE": "1000000", "SAMPLES_PER_DAY": "100000", "JOBS_PER_DAY": "100000", "STORAGE_BYTES": f"{2**50}",
        "QUEUE": topology,
    }  # fmt: skip
    chroma_port, broker_port = free_port(), free_port()
    if topology != "embedded":
        settings["VECTORS_URL"] = f"http://127.0.0.1:{chroma_port}/voxify"
    if topology == "celery":
        settings["BROKER_URL"] = f"amqp://guest:guest@127.0.0.1:{broker_port}//"
    programs = [
        parts.postgres(folder),
        parts.redis(folder),
        parts.s3(folder, s3_port),
        *(parts.inference(folder, number, port) for number, port in enumerate(inference_ports)),
        *(parts.api(folder, number, port, settings) for number, port in enumerate(api_ports)),
    ]
    if topology != "embedded":
        programs.append(parts.chroma(folder, chroma_port))
        programs += [parts.worker(folder, number, settings, *(["--celery"] if topology == "celery" else [])) for number in range(2)]
    if topology == "celery":
        programs += [*parts.rabbitmq(folder, broker_port, free_port(), free_port()), parts.beat(folder, settings)]
    return House(
        folder=folder,
        programs={program.name: program for program in programs},
        gate=Gate(gate_port, s3_port),
        s3=s3,
        database_url=database_url,
        api_urls=[f"http://127.0.0.1:{port}" for port in api_ports],
        inference_urls=inference_urls,
        vectors_url=settings.get("VECTORS_URL", ""),
        topology=f"{TOPOLOGIES[topology]}, inference services: {replicas}, PostgreSQL, Redis and a bucket",
    )
