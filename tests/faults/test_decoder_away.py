"""What somebody is answered whose upload takes the decoder down, or comes while none can be started; and what stays behind."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from audio import decode_pool
from audio.decode_pool import Decoders
from settings import Settings
from tests.api.inference import FakeInference
from tests.api.rooms import Caller, caller, recording
from tests.api.support import error_of, make_app, running

CRASHES = "import ctypes, sys; sys.stdin.buffer.readline(); ctypes.string_at(0)"
FORM = {"name": "A voice", "ref_text": "Some words."}


@pytest.fixture
async def me(tmp_path: Path) -> AsyncIterator[Caller]:
    settings = Settings(env="dev", data_dir=tmp_path / "data", _env_file=None)  # type: ignore[call-arg]
    decoders = Decoders(1)
    inference = FakeInference()
    app = make_app(settings, inference_transport=inference.transport, decoders=decoders)
    async with running(app) as client:
        yield await caller(client, app, inference)
    decoders.close()


@pytest.mark.parametrize(
    ("broken", "status", "code"),
    [
        ({"_PROGRAM": ("-c", CRASHES)}, 400, "INVALID_AUDIO"),
        ({"_PROGRAM": ("-c", "raise SystemExit(3)")}, 503, "DECODER_UNAVAILABLE"),
        ({"executable": "/nowhere/python"}, 503, "DECODER_UNAVAILABLE"),
    ],
    ids=["a crash", "a child that does not start", "no program"],
)
async def test_an_upload_without_a_decoder_leaves_nothing_and_the_next_one_works(
    me: Caller, monkeypatch: pytest.MonkeyPatch, broken: dict[str, object], status: int, code: str
) -> None:
    before = await me.counts()
    with monkeypatch.context() as fault:
        for name, value in broken.items():
            fault.setattr(sys if name == "executable" else decode_pool, name, value)
        answer = await me.ask("POST", "/voice/samples", files={"file": ("a.wav", recording())}, data=FORM)
        error_of(answer, status, code)
        assert ("Retry-After" in answer.headers) is (status == 503)
    assert await me.counts() == before
    sample = await me.upload()
    assert (await me.until(f"/voice/samples/{sample['sample_id']}", "ready", "failed"))["status"] == "ready"
