"""The checks of what is reached over the network beside database and objects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from api.doctor.findings import Check, DoubtError, NothingToCheckError, TroubleError
from api.doctor.machine import judge_skew
from api.mail.transports import sign_in
from api.redis import redis_at
from api.stores import vector_server
from settings import Settings
from store.vectors import FolderInUseError, Vectors

REACH_S = 5.0
LITTLE_MEMORY = 0.05


def network_checks(settings: Settings) -> list[Check]:
    found = [
        Check(
            "vectors",
            lambda: check_vectors(settings),
            "Check VOXIFY_VECTORS_URL; a damaged folder: stop the API, remove it, and run `voxify vectors rebuild`",
        )
    ]
    if url := settings.redis_url.get_secret_value():
        found.append(Check("redis", lambda: check_redis(url), "Check VOXIFY_REDIS_URL and that Redis runs"))
    if settings.queue == "celery":
        found.append(Check("broker", lambda: check_broker(settings), "Check VOXIFY_BROKER_URL and that RabbitMQ runs"))
    replicas = settings.inference.split(",")
    for address in replicas:
        found += _Inference(address, "" if len(replicas) == 1 else f" {address}").checks()
    if settings.smtp_host:
        advice = "Check VOXIFY_SMTP_HOST, VOXIFY_SMTP_PORT, VOXIFY_SMTP_TLS, VOXIFY_SMTP_USER and VOXIFY_SMTP_PASSWORD"
        found.append(Check("mail", lambda: check_mail(settings), advice))
    return found


async def check_vectors(settings: Settings) -> str:
    server, folder = vector_server(settings), settings.vectors_dir
    if server is None and not folder.exists():
        raise NothingToCheckError("there is no index yet; it is made at the first start")
    try:
        vectors = await asyncio.to_thread(lambda: Vectors.in_folder(folder) if server is None else Vectors.at(server))
    except FolderInUseError:
        return f"{folder.absolute()} is in use by a Voxify that runs"
    try:
        return f"{len(await vectors.ids())} voices in {settings.vectors_url or folder.absolute()}"
    finally:
        vectors.close()


async def check_redis(url: str) -> str:
    """That it answers, and what time it is there."""
    client = redis_at(url)
    try:
        await client.ping()
        asked = time.time()
        seconds, micros = await client.time()
        found = judge_skew("Redis", seconds + micros / 1e6, asked, time.time())
        version = (await client.info("server")).get("redis_version", "")
    finally:
        await client.aclose()
    return f"Redis {version}; {found}"


async def check_broker(settings: Settings) -> str:
    def connect() -> str:
        from kombu.connection import Connection

        with Connection(settings.broker_url.get_secret_value(), connect_timeout=REACH_S) as connection:
            connection.ensure_connection(max_retries=1, timeout=REACH_S)
            about: dict[str, Any] = getattr(connection.connection, "server_properties", {})
        return f"{about.get('product', 'the broker')} {about.get('version', '')} answers"

    return await asyncio.to_thread(connect)


async def check_mail(settings: Settings) -> str:
    """Sign in as for a mail, and send none."""
    import aiosmtplib

    server = aiosmtplib.SMTP(**sign_in(settings), timeout=REACH_S)
    async with server:
        await server.noop()
    return f"{settings.smtp_host}:{settings.smtp_port} takes {'our sign-in' if settings.smtp_user else 'connections'}"


class _Inference:
    """What the inference service says of itself, its models and its device."""

    def __init__(self, address: str, mark: str) -> None:
        self._address = address
        self._mark = mark
        self._reached = False

    def checks(self) -> list[Check]:
        wanted: dict[str, Callable[[], Awaitable[str]]] = {"inference": self.reach, "models": self.models, "device": self.device}
        advice = "Check VOXIFY_INFERENCE_URL, and that the inference service runs: its log says why not"
        return [Check(part + self._mark, look, advice) for part, look in wanted.items()]

    async def reach(self) -> str:
        if (await self._get("/livez")).is_error:
            raise TroubleError(f"{self._address} is not an inference service of Voxify", "Check VOXIFY_INFERENCE_URL")
        self._reached = True
        if (await self._get("/readyz")).is_error:
            advice = "Wait, the first start may download a model; if it stays so, look at the log of the inference service"
            raise TroubleError(f"{self._address} answers and is not ready", advice)
        return f"{self._address} is ready"

    async def models(self) -> str:
        said = await self._ask("/models")
        default = next((model for model in said["models"] if model["name"] == said["default"]), None)
        if default is None or not default["available"]:
            reason = default["reason"] if default else "it is not among the models"
            advice = f"Run `python -m inference fetch {said['default']}` where the service runs, or set VOXIFY_MODEL to another"
            raise TroubleError(f"the model {said['default']} cannot be used: {reason}", advice)
        if not default["speech"]:
            raise DoubtError(f"the model {said['default']} makes no speech", "Set VOXIFY_MODEL to one that does")
        there = sum(model["available"] for model in said["models"])
        return f"{said['default']} ({default['license']}) is the default of {there} that are there"

    async def device(self) -> str:
        said = await self._ask("/device")
        total, free = said["memory_total"], said["memory_free"]
        if total is None:
            return f"it computes on {said['device']} in {said['dtype']}"
        found = (
            f"it computes on {said['device']} ({said['name']}) in {said['dtype']}; {free / 1024**3:.1f} of {total / 1024**3:.1f} GB free"
        )
        if free < LITTLE_MEMORY * total:
            raise DoubtError(found, "Set VOXIFY_MODEL_MEMORY_MB, or let nothing else use the device")
        return found

    async def _ask(self, path: str) -> Any:
        if not self._reached:
            raise NothingToCheckError("the inference service has to be reached first")
        answer = await self._get(path)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise NothingToCheckError("the inference service is still starting")
        answer.raise_for_status()
        return answer.json()

    async def _get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self._address, timeout=REACH_S, trust_env=False) as client:
            return await client.get(path)
