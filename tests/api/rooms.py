"""What the tests of samples, clones, jobs and files share: people with recordings and voices."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import numpy as np
import soundfile
from litestar import Litestar
from sqlalchemy import func, select

from store.clock import utcnow
from store.ids import new_id
from store.models import Base, Clone, Job, Sample
from store.stores import Stores
from tests.api.inference import FakeInference
from tests.api.support import SignedIn, sign_up

WAIT_S = 20
_numbers = count(1)


def recording(seconds: float = 4.0, rate: int = 16_000) -> bytes:
    """A WAV file of noise in bursts, loud enough to be taken for a voice."""
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds * rate)).astype(np.float32)
    noise *= np.sin(np.arange(len(noise)) / rate * 6) > -0.5
    written = io.BytesIO()
    soundfile.write(written, noise, rate, format="WAV")
    return written.getvalue()


@dataclass
class Caller:
    """Somebody signed in, who speaks to the API by paths below ``/api/v1``."""

    client: httpx.AsyncClient
    who: SignedIn
    app: Litestar
    inference: FakeInference

    @property
    def stores(self) -> Stores:
        found: Stores = self.app.state.stores
        return found

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        request["headers"] = {**self.who.headers, **request.get("headers", {})}
        return await self.client.request(method, f"/api/v1{path}", **request)

    async def data(self, method: str, path: str, **request: Any) -> Any:
        answer = await self.ask(method, path, **request)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    async def refused(self, method: str, path: str, **request: Any) -> tuple[int, str]:
        answer = await self.ask(method, path, **request)
        assert answer.json()["success"] is False, answer.text
        return answer.status_code, answer.json()["error"]["code"]

    async def upload(self, **form: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.data(
            "POST", "/voice/samples", files={"file": ("a.wav", recording())}, data={"name": "A voice", "ref_text": "Some words."} | form
        )
        return found

    async def voice(self, **columns: Any) -> str:
        """A voice that is ready, without the work that makes one."""
        clone_id = new_id("vc")
        key = f"clones/{clone_id}/reference-1.wav"
        await self.stores.objects.put(key, recording(rate=24_000))
        given = {"name": "Mine", "status": "ready", "reference_path": key, "reference_text": "Some words."} | columns
        await self.add(Clone(id=clone_id, user_id=self.who.id, **{"language": "en-US", "parameters": {}} | given))
        return clone_id

    async def job_row(self, **columns: Any) -> str:
        """A job as it might be found, not due for a worker."""
        given: dict[str, Any] = {"status": "completed", "text_content": "Hello.", "voice_model_id": "vc_1"} | columns
        job = Job(id=new_id("job"), user_id=self.who.id, available_at=utcnow(), **given)
        await self.add(job)
        return job.id

    async def add(self, *rows: Base) -> None:
        async with self.stores.database.write() as session:
            session.add_all(rows)

    async def row(self, model: type[Base], row_id: str) -> Any:
        async with self.stores.database.read() as session:
            return await session.get(model, row_id)

    async def counts(self) -> tuple[int, ...]:
        """How many samples, clones, jobs and objects there are."""
        async with self.stores.database.read() as session:
            rows = [await session.scalar(select(func.count()).select_from(model)) or 0 for model in (Sample, Clone, Job)]
        return (*rows, len([each async for each in self.stores.objects.list()]))

    async def until(self, path: str, *statuses: str) -> Any:
        """What the path answers once its status is one of these."""
        async with asyncio.timeout(WAIT_S):
            while (found := await self.data("GET", path))["status"] not in statuses:
                await asyncio.sleep(0.02)
        return found


async def caller(client: httpx.AsyncClient, app: Litestar, inference: FakeInference) -> Caller:
    return Caller(client, await sign_up(client, f"caller{next(_numbers)}@example.com"), app, inference)
