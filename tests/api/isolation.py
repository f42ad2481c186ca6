"""For the tests of isolation: all endpoints of the app, one of everything that somebody may have, credentials that are no good."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from litestar import Litestar
from litestar.routes import HTTPRoute
from pydantic import SecretStr
from sqlalchemy import select

from api.auth.tokens import ACCESS, Tokens
from settings import Settings
from store.ids import new_id
from store.models import Base, Sample, TrainingSample, Webhook
from store.vectors import pack
from tests.api.accounts import another_session
from tests.api.rooms import Caller, recording
from tests.api.support import AUTH, make_app

SECRET = "s" * 32
VOICE = pack([1.0] + [0.0] * 255)
OFTEN = {"requests_per_minute": 10**6, "anonymous_requests_per_minute": 10**6, "jobs_per_day": 10**6, "samples_per_day": 10**6}

# Whatever is not listed here asks for a credential.
PUBLIC = {
    "POST /api/v1/auth/register",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/refresh",
    "POST /api/v1/auth/forgot-password",
    "POST /api/v1/auth/reset-password",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "GET /docs",
    "GET /openapi.json",
    "GET /openapi.json/openapi.json",
    "GET /openapi.json/{path}",
}
ADMIN_PREFIX = "/api/v1/admin"
# Changed by requests that are refused as well, and nobody's own.
VOLATILE = {"counters", "throttles", "voice_usage", "voice_previews"}


def settings_in(folder: Path) -> Settings:
    return Settings(env="dev", data_dir=folder, jwt_secret=SecretStr(SECRET), _env_file=None, **OFTEN)  # type: ignore[call-arg,arg-type]


def endpoints() -> list[str]:
    """``GET /api/v1/job/{job_id}`` for every method of every path that the app takes."""
    app = make_app(settings_in(Path("unused")))
    found = [
        f"{method} {re.sub(':[a-z]+}', '}', route.path)}"
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
    ]
    public_paths = {name.split()[1] for name in PUBLIC}
    return sorted(name for name in found if not (name.startswith("OPTIONS ") and name.split()[1] in public_paths))


ENDPOINTS = endpoints()
PROTECTED = [name for name in ENDPOINTS if name not in PUBLIC]
WITH_IDS = [name for name in PROTECTED if "{" in name and not name.startswith("OPTIONS ")]


@dataclass
class House:
    """One app, with somebody who has one of everything, somebody else, and an admin."""

    app: Litestar
    owner: Caller
    stranger: Caller
    admin: Caller
    bodies: dict[str, dict[str, Any]]  # what each endpoint takes, as its own document says by example
    bad_credentials: list[tuple[dict[str, str], int, str]]  # of the owner: headers, the status and the code that they get
    disabled: dict[str, str]

    async def rows(self) -> dict[str, list[str]]:
        """All that is stored about anybody but the stranger, and the names of all objects."""
        database, objects = self.owner.stores.database, self.owner.stores.objects
        found: dict[str, list[str]] = {"objects": sorted([each.key async for each in objects.list()])}
        async with database.read() as session:
            for table in Base.metadata.sorted_tables:
                if table.name not in VOLATILE:
                    rows = [repr(tuple(row)) for row in await session.execute(select(table))]
                    found[table.name] = sorted(row for row in rows if self.stranger.who.id not in row)
        return found

    def body(self, endpoint: str) -> dict[str, Any]:
        return {"json": BODIES[endpoint]} if endpoint in BODIES else self.bodies.get(endpoint, {})


async def sample_of(who: Caller) -> str:
    sample_id, sound = new_id("vs"), recording()
    key = f"samples/{sample_id}/original.wav"
    await who.stores.objects.put(key, sound)
    known = {"format": "wav", "duration": 4.0, "sample_rate": 16_000, "channels": 1, "size": len(sound), "embedding": VOICE}
    await who.add(Sample(id=sample_id, user_id=who.who.id, name="Theirs", original_path=key, status="ready", **known))
    return sample_id


async def job_of(who: Caller) -> str:
    key = f"jobs/{new_id('job')}/1.wav"
    await who.stores.objects.put(key, recording())
    return await who.job_row(output_path=key, output_format="wav", voice_model_id=await who.voice(), text_content="A secret.")


async def key_of(who: Caller) -> str:
    return str((await who.data("POST", "/auth/api-keys", json={"name": "theirs"}))["id"])


async def webhook_of(who: Caller) -> str:
    # A row: where it leads must not be looked up here.
    webhook_id = new_id("wh")
    await who.add(
        Webhook(id=webhook_id, user_id=who.who.id, url="https://example.com/", events=["job.failed"], salt="s", secret_hash="0" * 64)
    )
    return webhook_id


async def training_of(who: Caller) -> dict[str, str]:
    sample_id = await sample_of(who)
    job_id = await who.job_row(kind="training", subject_id=sample_id, result={})
    await who.add(TrainingSample(job_id=job_id, sample_id=sample_id, position=0))
    return {"sample_id": sample_id, "job_id": job_id}


async def account_of(who: Caller) -> str:
    return who.who.id


# How to make one such thing of somebody's, for each name of a path parameter.
MAKERS: dict[str, Callable[[Caller], Awaitable[str]]] = {
    "sample_id": sample_of,
    "clone_id": Caller.voice,
    "voice_model_id": Caller.voice,
    "job_id": job_of,
    "file_id": job_of,
    "key_id": key_of,
    "webhook_id": webhook_of,
    "user_id": account_of,
}


# The same for what belongs to something: by the names of all parameters of the path.
TOGETHER: dict[tuple[str, ...], Callable[[Caller], Awaitable[dict[str, str]]]] = {("sample_id", "job_id"): training_of}
# What an example cannot hold, because it names another thing of the person's.
BODIES: dict[str, Any] = {"PATCH /api/v1/voice/clones/{clone_id}": {"training_job_id": None}}


def parameters_of(endpoint: str) -> list[str]:
    return re.findall(r"{(\w+)}", endpoint)


async def address_of(endpoint: str, who: Caller) -> str:
    """The path, with things of `who` in it, just made."""
    path, names = endpoint.split()[1], tuple(parameters_of(endpoint))
    if len(names) > 1:
        assert names in TOGETHER, f"add to TOGETHER how to make {names} of somebody's, for {endpoint}"
        made = await TOGETHER[names](who)
    else:
        assert set(names) <= MAKERS.keys(), f"add to MAKERS how to make one of {names} of somebody's, for {endpoint}"
        made = {name: await MAKERS[name](who) for name in names}
    for name, its_id in made.items():
        path = path.replace(f"{{{name}}}", its_id)
    return path


def bodies_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """For each endpoint with a body the arguments of a request, from the example in the document."""
    found: dict[str, dict[str, Any]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                found[f"{method.upper()} {path}"] = {"json": content["application/json"].get("example", {})}
    return found


def tampered(token: str) -> list[str]:
    header, payload, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False})
    none = jwt.encode(claims, None, algorithm="none")
    return [
        f"{header}.{payload}.{'A' * len(signature)}",
        ".".join((header, jwt.encode({**claims, "sub": "user_other"}, "other" * 8).split(".")[1], signature)),
        jwt.encode(claims, "another secret that signs" * 2),
        none,
        f"{none.rsplit('.', 1)[0]}.{signature}",
    ]


async def bad_credentials_of(who: Caller) -> list[tuple[dict[str, str], int, str]]:
    leaver = await another_session(who.client, who.who)
    await who.client.post(f"{AUTH}/logout", headers=leaver.headers)
    session: str = jwt.decode(who.who.access_token, options={"verify_signature": False})["sid"]
    expired, _ = Tokens(SECRET, access_ttl_s=60, refresh_ttl_s=60).make(ACCESS, who.who.id, session, ttl_s=-60)
    made = await who.data("POST", "/auth/api-keys", json={"name": "gone"})
    await who.data("DELETE", f"/auth/api-keys/{made['id']}")
    return [
        ({}, 401, "UNAUTHORIZED"),
        ({"Authorization": f"Basic {who.who.access_token}"}, 401, "UNAUTHORIZED"),
        (bearing(expired), 401, "TOKEN_EXPIRED"),
        *[(bearing(token), 401, "INVALID_TOKEN") for token in tampered(who.who.access_token)],
        (bearing(who.who.refresh_token), 401, "INVALID_TOKEN"),
        (leaver.headers, 401, "INVALID_TOKEN"),
        (bearing(made["key"]), 401, "INVALID_TOKEN"),
        ({"X-API-Key": made["key"]}, 401, "INVALID_TOKEN"),
    ]


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
