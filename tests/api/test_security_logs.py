"""Nothing that a client sends becomes a log line of its own."""

from __future__ import annotations

import json
import logging

import httpx
import pytest

from tests.api.support import AUTH, Logs

FORGED = '\n{"event":"forged","level":"error"}\n'


async def test_nobody_writes_lines_of_their_own(client: httpx.AsyncClient, logs: Logs) -> None:
    quoted = FORGED.replace("\n", "%0a").replace('"', "%22")
    headers = {"X-Request-ID": "a b", "User-Agent": "forged", "X-Forwarded-For": "forged", "traceparent": "forged"}
    await client.get(f"/forged{quoted}", headers=headers)
    await client.get(f"/api/v1/files/audio/forged{quoted}?sig={quoted}&forged=1", headers=headers)
    await client.request("FORGED", "/health/live", headers=headers)
    await client.post(f"{AUTH}/login", json={"email": f"forged{FORGED}@example.com", "password": FORGED})
    assert len([line for line in logs.lines if line["event"] == "request"]) == 4
    assert all(line["event"] != "forged" for line in logs.lines)
    paths = [line["route"] for line in logs.lines if line["event"] == "request"]
    assert not [path for path in paths if "forged" in path]


@pytest.mark.parametrize("text", [FORGED, "\r\x1b[2K", "\u2028", "\x00"])
def test_a_library_that_repeats_something_stays_in_its_line(logs: Logs, text: str) -> None:
    logging.getLogger("some.library").warning("said: %s", text)
    (line,) = logs.text.rstrip("\n").split("\n")
    assert json.loads(line)["event"] == f"said: {text}"
    assert "\x1b" not in line
