"""The index of voices on a server that is not there: what needs it says so, everything else goes on, and the sweep puts it right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from settings import Settings
from tests.api.rooms import Caller, recording
from tests.api.support import Logs, error_of
from tests.engines import chroma_process
from tests.servers import free_port

SIMILAR = "/voice/clones/similar"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def settings(settings: Settings, port: int) -> Settings:
    return settings.model_copy(update={"vectors_url": f"http://127.0.0.1:{port}/voxify"})


async def sample_of(me: Caller) -> str:
    sample_id = (await me.upload())["sample_id"]
    await me.until(f"/voice/samples/{sample_id}", "ready")
    return str(sample_id)


async def parts(me: Caller) -> dict[str, Any]:
    found: dict[str, Any] = (await me.client.get("/health/ready")).json()["data"]["parts"]
    return found


async def test_an_outage_from_its_beginning_to_its_end(logs: Logs, me: Caller, port: int, tmp_path: Path) -> None:
    first, second, third = [await sample_of(me) for _ in range(3)]
    clone = (await me.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [first]}))["clone_id"]
    await me.until(f"/voice/clones/{clone}", "ready")
    assert (await parts(me))["vectors"]["status"] == "failed"

    refused = await me.ask("POST", SIMILAR, json={"id": first})
    error_of(refused, 503, "VECTORS_UNAVAILABLE")
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    error_of(await me.ask("POST", SIMILAR, files={"file": ("a.wav", recording())}), 503, "VECTORS_UNAVAILABLE")
    assert (await me.data("GET", f"/voice/samples/{first}"))["similar_samples"] is None, "not known, which is not none"
    assert logs.text.count("vectors away") == 1
    assert "unhandled error" not in logs.text

    sweep = me.app.state.rooms.worker.sweeper.remove_orphans
    with chroma_process(tmp_path / "chroma", port):
        assert (await parts(me))["vectors"]["status"] == "ok"
        assert await me.stores.vectors.ids() == []
        await sweep()
        assert set(await me.stores.vectors.ids()) == {first, second, third, clone}
        found = await me.data("POST", SIMILAR, json={"id": first})
        assert {voice["id"] for voice in found["voices"]} == {second, third, clone}
    await me.data("DELETE", f"/voice/samples/{second}")
    await me.data("DELETE", f"/voice/samples/{first}?force=true")
    assert await sweep() == 0, "objects are swept all the same"
    with chroma_process(tmp_path / "chroma", port):
        assert set(await me.stores.vectors.ids()) == {first, second, third, clone}, "they could not be deleted"
        assert (await me.data("POST", SIMILAR, json={"id": third}))["voices"] == [], "what is gone is not shown, whatever the index says"
        assert await sweep() == 3
        assert set(await me.stores.vectors.ids()) == {third}
