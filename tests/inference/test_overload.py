"""More requests than there is room for: the rest is refused at once, and who was let in is served."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx

from benchmarks.overload import item
from tests.servers import inference_server

LIMIT, CLIENTS = 4, 24


async def ask(http: httpx.AsyncClient, number: int) -> tuple[httpx.Response, float]:
    began = time.perf_counter()
    answer = await http.post("/synthesize", json={"items": [item(number)]})
    return answer, time.perf_counter() - began


async def test_what_is_too_much_is_refused_at_once(tmp_path: Path) -> None:
    with inference_server(tmp_path, VOXIFY_MAX_IN_FLIGHT=str(LIMIT)) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
            met = await asyncio.gather(*(ask(http, number) for number in range(CLIENTS)))
            served = [(answer, took) for answer, took in met if answer.status_code == 200]
            refused = [(answer, took) for answer, took in met if answer.status_code == 429]
            assert len(served) >= LIMIT
            assert refused
            assert len(served) + len(refused) == CLIENTS
            assert all(answer.json()[0]["ok"] for answer, _ in served)
            assert all(1 <= int(answer.headers["Retry-After"]) <= 30 for answer, _ in refused)
            assert min(took for _, took in refused) < min(took for _, took in served), "nobody waits for a refusal"
            assert (await http.post("/plan", json={"text": "Hi.", "reference_text": "Hm.", "reference_seconds": 2})).status_code == 200
            alone, _ = await ask(http, 0)
            assert alone.status_code == 200, "places are given back"
