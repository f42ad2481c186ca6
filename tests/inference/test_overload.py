"""More requests than there is room for: the rest is refused at once, and who was let in is served."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import httpx
import uvicorn
from starlette.responses import PlainTextResponse

from benchmarks.overload import item
from inference.admission import OF_JOBS, Admission
from inference.http import RequestMiddleware
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
            assert len(served) >= LIMIT * OF_JOBS
            assert refused
            assert len(served) + len(refused) == CLIENTS
            assert all(answer.json()[0]["ok"] for answer, _ in served)
            assert all(1 <= int(answer.headers["Retry-After"]) <= 30 for answer, _ in refused)
            assert min(took for _, took in refused) < min(took for _, took in served), "nobody waits for a refusal"
            assert (await http.post("/plan", json={"text": "Hi.", "reference_text": "Hm.", "reference_seconds": 2})).status_code == 200
            alone, _ = await ask(http, 0)
            assert alone.status_code == 200, "places are given back"


async def test_who_sends_slowly_is_refused_before_the_end_and_keeps_the_connection() -> None:
    app = RequestMiddleware(PlainTextResponse("here"), Admission(0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_keep_alive=5))
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        length = 300_000  # more than the server takes in before somebody reads it
        head = f"POST /synthesize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        writer.write(head.encode() + b"{")
        status, headers = await answer(reader)
        assert (status, 1 <= int(headers["retry-after"]) <= 30) == (429, True), "though all but a byte of the body is missing"
        writer.write(b" " * (length - 1) + b"GET /plan HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await answer(reader))[0] == 200
        writer.close()
    finally:
        server.should_exit = True
        await serving


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *lines = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode().split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), headers


async def test_every_503_for_sound_says_when_to_come_back() -> None:
    app = RequestMiddleware(PlainTextResponse("", 503), Admission(4))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://inference.test") as http:
        assert (await http.post("/synthesize", json={})).headers["Retry-After"] == "1"
        assert "Retry-After" not in (await http.get("/readyz")).headers
