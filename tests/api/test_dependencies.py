from __future__ import annotations

import httpx
import pytest
from litestar._kwargs import kwargs_model

from tests.api.support import sign_up


async def test_no_request_pays_for_tasks_that_make_its_dependencies(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = await sign_up(client, "ada@example.com")

    def refuse() -> None:
        raise AssertionError("a group of tasks for dependencies that wait for nothing")

    monkeypatch.setattr(kwargs_model, "create_task_group", refuse)
    answered = await client.get("/api/v1/job?limit=20", headers=signed.headers)
    assert answered.status_code == 200
