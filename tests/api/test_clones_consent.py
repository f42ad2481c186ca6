"""What is said of the consent of a speaker: kept as it was said, required where the operator wants it, gone with the voice."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import func, select

from settings import Settings
from store.clock import utcnow
from store.models import CloneConsent
from tests.api.inference import FakeInference
from tests.api.rooms import Caller, caller
from tests.api.support import Logs, error_of, make_app, running

SAID = {"who": "Ada Lovelace", "relation": "permission", "statement": "She has agreed.", "accepted": True}


async def asked(me: Caller, **wanted: Any) -> httpx.Response:
    sample = await me.upload()
    return await me.ask("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample["sample_id"]]} | wanted)


async def test_it_is_kept_with_who_when_and_from_where_and_nobody_else_sees_it(me: Caller, stranger: Caller, logs: Logs) -> None:
    before = utcnow()
    answer = await asked(me, consent=SAID | {"recorded_at": "2001-01-01T00:00:00Z", "client_address": "6.6.6.6"})
    assert answer.status_code == 201, answer.text
    path = f"/voice/clones/{answer.json()['data']['clone_id']}"
    consent = (await me.data("GET", path))["consent"]
    assert consent == SAID | {"user_id": me.who.id, "client_address": "127.0.0.1", "recorded_at": consent["recorded_at"]}
    assert consent["recorded_at"] >= before.isoformat()[:19], "the server's time, whatever the client says"
    assert await stranger.refused("GET", path) == (404, "CLONE_NOT_FOUND")
    assert "consent" not in (await me.data("GET", "/voice/clones"))["clones"][0]
    assert await me.refused("PUT", path, json={"consent": SAID | {"who": "Eve"}}) == (405, "METHOD_NOT_ALLOWED")
    assert await me.refused("PATCH", path, json={"consent": SAID | {"who": "Eve"}}) == (400, "VALIDATION_ERROR")
    await me.until(path, "ready")
    assert (await me.data("GET", path))["consent"] == consent
    await me.data("DELETE", path)
    async with me.stores.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(CloneConsent)) == 0
    for secret in ("127.0.0.1", "Ada Lovelace", "She has agreed"):
        assert secret not in logs.text


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"who": " "}, "consent.who"),
        ({"who": "x" * 201}, "consent.who"),
        ({"relation": "friend"}, "consent.relation"),
        ({"statement": None}, "consent.statement"),
        ({"accepted": False}, "consent.accepted"),
        ({"accepted": "true"}, "consent.accepted"),
    ],
)
async def test_half_a_consent_is_none(me: Caller, change: dict[str, Any], field: str) -> None:
    error = error_of(await asked(me, consent=SAID | change), 400, "CONSENT_REQUIRED")
    assert error["details"].keys() == {field}
    left_out = {key: value for key, value in SAID.items() if key not in change}
    assert error_of(await asked(me, consent=left_out), 400, "CONSENT_REQUIRED")["details"] == {field: "is missing"}
    assert (await me.counts())[1] == 0


async def test_another_fault_keeps_its_own_code(me: Caller) -> None:
    assert error_of(await asked(me, consent={}, name=""), 400, "VALIDATION_ERROR")["details"].keys() > {"name", "consent.who"}
    assert (await asked(me)).json()["data"]["status"] == "pending", "it is not required unless the operator says so"


async def test_it_may_be_required(settings: Settings) -> None:
    inference = FakeInference()
    app: Litestar = make_app(settings.model_copy(update={"require_consent": True}), inference_transport=inference.transport)
    async with running(app) as client:
        me = await caller(client, app, inference)
        for none in ({}, {"consent": None}):
            error = error_of(await asked(me, **none), 400, "CONSENT_REQUIRED")
            assert error["details"].keys() == {"consent.who", "consent.relation", "consent.statement", "consent.accepted"}
        assert (await me.counts())[1] == 0
        assert (await asked(me, consent=SAID)).status_code == 201
