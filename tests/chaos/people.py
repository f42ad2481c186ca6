"""The clients: they create, watch, cancel, retry, download and delete, and go on when the house falls down around them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

from scripts.demo import RECORDING_TEXT
from store.objects import Objects
from tests.chaos.ledger import FINAL, Ledger, Voice, VoiceWish, Wish
from tests.chaos.sounds import NFE_STEP, pcm_of, voice_recording

PATIENCE_S = 600.0
"""For one job: far longer than any of the faults lasts."""
TIMEOUT = httpx.Timeout(15.0, connect=5.0)
MAYBE = (500, 502, 503, 504, 429)


class GaveUpError(Exception):
    """A client has waited too long; what for is the message."""


class Person:
    """Somebody with an account, who reaches whichever API process answers."""

    def __init__(self, number: int, urls: list[str], ledger: Ledger, seed: int) -> None:
        self.number = number
        self.dice = random.Random(f"{seed}-{number}")
        self._urls = urls
        self._ledger = ledger
        self._http = httpx.AsyncClient(timeout=TIMEOUT, trust_env=False, limits=httpx.Limits(max_keepalive_connections=4))

    async def close(self) -> None:
        await self._http.aclose()

    async def sign_up(self) -> None:
        account = {"email": f"person-{self.number}@example.com", "password": "Correct-Horse-7!"}
        (await self._http.post(f"{self._urls[0]}/api/v1/auth/register", json=account)).raise_for_status()
        answer = await self._http.post(f"{self._urls[0]}/api/v1/auth/login", json=account)
        self._http.headers["Authorization"] = f"Bearer {answer.json()['data']['access_token']}"
        self.id = str(answer.json()["data"]["user"]["id"])

    async def make_voice(self, objects: Objects, reference_of: Callable[[str], Awaitable[tuple[str, str]]]) -> Voice:
        """A clone that is ready, made while nothing disturbs. `reference_of`: key and text of a clone's reference."""
        wish = VoiceWish(Voice(self.id, "", b"", ""))
        await self.have_voice_made(wish)
        assert wish.clone_id is not None, self._ledger.answers
        assert wish.status == "ready", wish.status
        key, text = await reference_of(wish.clone_id)
        return Voice(self.id, wish.clone_id, pcm_of(await objects.get(key)), text)

    async def have_voice_made(self, wish: VoiceWish) -> None:
        """Upload and clone. Neither POST can be repeated without making another, so that each is sent once."""
        files = {"file": ("voice.wav", await asyncio.to_thread(voice_recording, self.number))}
        uploaded = await self._once("POST", "/voice/samples", files=files, data={"name": "A voice", "ref_text": RECORDING_TEXT})
        if uploaded is None or uploaded.status_code != 201:
            return
        wish.sample_id = uploaded.json()["data"]["sample_id"]
        made = await self._once("POST", "/voice/clones", json={"name": "A clone", "sample_ids": [wish.sample_id]})
        if made is None or made.status_code != 201:
            return
        wish.clone_id = made.json()["data"]["clone_id"]
        give_up = time.monotonic() + PATIENCE_S
        while wish.status not in {"ready", "failed"} and time.monotonic() < give_up:
            await asyncio.sleep(0.2)
            wish.status = (await self._surely("GET", f"/voice/clones/{wish.clone_id}")).json()["data"]["status"]

    async def have(self, wish: Wish) -> None:
        """Live through one job."""
        try:
            await self._create(wish)
            if wish.job_id is None:
                return
            if wish.manner in {"cancel", "cancel and retry"}:
                await asyncio.sleep(self.dice.uniform(0, 1.5))
                await self._say(wish, "cancelled")
                if wish.manner == "cancel and retry":
                    await self._again(wish)
            status = await (self._watch(wish) if wish.manner in {"watch", "cancel and retry"} else self._poll(wish))
            if status == "failed" and self.dice.random() < 0.7:
                await self._again(wish)
                status = await self._poll(wish)
            if status == "completed":
                await self._download(wish)
                if wish.manner == "delete":
                    await self._delete(wish)
        except GaveUpError as waited:
            wish.gave_up = str(waited)

    async def _create(self, wish: Wish) -> None:
        body = {
            "text_content": wish.text,
            "voice_model_id": wish.voice.voice_id,
            "output_format": wish.format,
            "config": {"seed": wish.seed, "nfe_step": NFE_STEP},
        }
        headers = {"Idempotency-Key": wish.key} if wish.key else {}
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            wish.posts += 1
            answer = await self._once("POST", "/job", json=body, headers=headers)
            if answer is not None and answer.status_code in {200, 201}:
                wish.accepted(answer.json()["data"]["id"])
                # Now and then a client is not sure that it has heard the answer, and asks once more.
                if not (wish.key and self.dice.random() < 0.1 and len(wish.ids) == 1 and wish.posts < 3):
                    return
            elif wish.key is None:
                return
            await asyncio.sleep(self.dice.uniform(0.1, 0.8))

    async def _watch(self, wish: Wish) -> str:
        """Follow the job's events to the last one, with as many connections as that takes."""
        wish.streams += 1
        last, status, give_up = "", "", time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                async with self._http.stream("GET", self._url(f"/job/{wish.job_id}/progress"), headers=headers) as stream:
                    self._ledger.note(f"{stream.status_code} of a stream")
                    async for line in stream.aiter_lines() if stream.is_success else _nothing():
                        if line.startswith("id:"):
                            last = line[3:].strip()
                        elif line.startswith("data:"):
                            event = json.loads(line[5:])
                            if event.get("event") == "complete":
                                wish.streams_ended += 1
                                # What the last event said may have been seen on a connection before this one.
                                return status if status in FINAL else await self._poll(wish)
                            status = event["status"]
                            wish.ended(status)
            except httpx.TransportError as broken:
                self._ledger.note(type(broken).__name__)
            await asyncio.sleep(self.dice.uniform(0.1, 0.5))
        raise GaveUpError("the last event of the job's stream")

    async def _poll(self, wish: Wish) -> str:
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            status = str((await self._surely("GET", f"/job/{wish.job_id}")).json()["data"]["status"])
            wish.ended(status)
            if status in FINAL:
                return status
            await asyncio.sleep(self.dice.uniform(0.2, 0.6))
        raise GaveUpError("the job's end")

    async def _again(self, wish: Wish) -> None:
        wish.begins_anew()
        await self._say(wish, "pending")

    async def _say(self, wish: Wish, status: str) -> None:
        said = wish.cancels if status == "cancelled" else wish.retries
        said.sent += 1
        answer = await self._once("PATCH", f"/job/{wish.job_id}", json={"status": status})
        if answer is not None and answer.is_success:
            said.granted += 1

    async def _delete(self, wish: Wish) -> None:
        wish.deletes.sent += 1
        answer = await self._once("DELETE", f"/job/{wish.job_id}")
        if answer is not None and answer.is_success:
            wish.deletes.granted += 1

    async def _download(self, wish: Wish) -> None:
        answer = await self._surely("GET", f"/file/synthesis/{wish.job_id}")
        wish.downloads.add(hashlib.sha256(answer.content).hexdigest())

    async def _surely(self, method: str, path: str) -> httpx.Response:
        """The answer to something that may be asked again and again. Raises GaveUpError."""
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            answer = await self._once(method, path)
            if answer is not None and answer.status_code not in MAYBE:
                if answer.is_success:
                    return answer
                raise GaveUpError(f"{method} {path}: {answer.status_code} {answer.json()['error']['code']}")
            await asyncio.sleep(self.dice.uniform(0.1, 0.8))
        raise GaveUpError(f"an answer to {method} {path}")

    async def _once(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        """What is answered; None where the connection broke and nobody knows what was done."""
        try:
            answer = await self._http.request(method, self._url(path), **request)
        except httpx.TransportError as broken:
            self._ledger.note(type(broken).__name__)
            return None
        code = "" if answer.is_success else f" {answer.json()['error']['code']}"
        self._ledger.note(f"{answer.status_code}{code}")
        return answer

    def _url(self, path: str) -> str:
        return f"{self.dice.choice(self._urls)}/api/v1{path}"


async def _nothing() -> AsyncIterator[str]:
    for line in ():
        yield line
