"""The client of the inference service: what it sends, what it tries again, what it makes of strange answers."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from audio.pcm import float_to_pcm16
from settings import Settings
from tests.worker.unruly import Clock
from worker.errors import AttemptFailedError, InferenceUnavailableError, JobFailedError
from worker.inference import InferenceClient, PlannedChunk, Reference, Sampling, SpeechPlan

CHUNK = PlannedChunk(0, "Hello.", 0, 6, 10)
PLAN = SpeechPlan("tone", "en-US", "native", True, [CHUNK])
REFERENCE = Reference.of(np.zeros(24_000, np.float32), "Words.")
ANY_SAMPLING = Sampling(1)


pytestmark = pytest.mark.usefixtures("clock")


def client(*answers: httpx.Response | Exception, seen: list[httpx.Request] | None = None, clock: Clock | None = None) -> InferenceClient:
    """One that is given these answers in turn, the last of them for ever."""
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        given = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(given, Exception):
            raise given
        return given

    transport = httpx.MockTransport(answer)
    return InferenceClient("http://inference.test", timeout_s=30, transport=transport, clock=clock or Clock())


def sound(frames: int = 10, samples: int | None = None) -> dict[str, Any]:
    pcm = float_to_pcm16(np.full((frames - 1) * 256 if samples is None else samples, 0.5, np.float32))
    return {"ok": True, "audio": base64.b64encode(pcm).decode(), "frames": frames}


def results(*items: Any) -> httpx.Response:
    return httpx.Response(200, json=list(items))


async def speak(speaking: InferenceClient, sampling: Sampling = ANY_SAMPLING) -> np.ndarray:
    return await speaking.synthesize(CHUNK, plan=PLAN, reference=REFERENCE, sampling=sampling, request_id="req_1")


async def plan(speaking: InferenceClient) -> SpeechPlan:
    return await speaking.plan("Hello.", language="en-US", reference=REFERENCE)


async def test_a_chunk_is_one_item_with_its_request_id() -> None:
    seen: list[httpx.Request] = []
    spoken = await speak(client(results(sound(12)), seen=seen), Sampling(5, nfe_step=7, cfg_strength=1.5))
    assert len(spoken) == 11 * 256, "more frames than planned is allowed"
    (item,) = json.loads(seen[0].content)["items"]
    assert (item["text"], item["frames"], item["seed"], item["nfe_step"], item["cfg_strength"]) == ("Hello.", 10, 5, 7, 1.5)
    assert (item["reference_text"], item["timeout_s"], item["model"]) == ("Words.", 30, "tone")
    assert len(base64.b64decode(item["reference_audio"])) == 48_000
    assert seen[0].headers["X-Request-ID"] == "req_1"
    assert "nfe_step" not in json.loads((await _sent(Sampling(5))).content)["items"][0], "what nobody chose is left to the service"


async def _sent(sampling: Sampling) -> httpx.Request:
    seen: list[httpx.Request] = []
    await speak(client(results(sound()), seen=seen), sampling)
    return seen[0]


@pytest.mark.parametrize(
    "busy", [httpx.Response(429), httpx.Response(503), httpx.Response(504), httpx.ConnectError("x"), httpx.ReadError("x")]
)
async def test_what_may_pass_is_tried_again(clock: Clock, busy: httpx.Response | Exception) -> None:
    assert len(await speak(client(busy, busy, results(sound()), clock=clock))) == 9 * 256
    assert clock.waits == [0.25, 0.5], "the pauses grow"


async def test_it_gives_up_and_the_job_waits(clock: Clock) -> None:
    seen: list[httpx.Request] = []
    with pytest.raises(InferenceUnavailableError):
        await speak(client(httpx.Response(503), seen=seen, clock=clock))
    assert (len(seen), clock.waits) == (4, [0.25, 0.5, 1.0]), "no pause behind the last"


@pytest.mark.parametrize(
    ("header", "wait"),
    [("3", 3), ("0", 0), ("29", 29), ("soon", 0), ("-1", 0), ("1.5", 0), ("\xb2", 0), ("", 0), ("600", None), ("9" * 400, None)],
)
async def test_nobody_is_asked_before_the_time_to_come_back(clock: Clock, header: str, wait: float | None) -> None:
    busy = httpx.Response(503, headers=[(b"Retry-After", header.encode("latin-1"))])
    speaking = client(busy, results(sound()), clock=clock)
    if wait is None:
        with pytest.raises(InferenceUnavailableError):
            await speak(speaking)
        return
    await speak(speaking)
    assert wait <= sum(clock.waits) <= wait + 0.5


async def test_a_busy_service_is_left_alone_by_the_requests_behind_too(clock: Clock) -> None:
    asking = client(httpx.Response(503, headers={"Retry-After": "4"}), results(sound()), httpx.Response(200, json={}), clock=clock)
    with pytest.raises(InferenceUnavailableError):
        await asking.models()  # which is asked once
    await speak(asking)
    assert clock.now == 0, "for what it was busy with"
    assert await asking.models() == {}
    assert clock.now >= 4


async def test_a_service_without_room_for_jobs_is_asked_for_whoever_listens(clock: Clock) -> None:
    """It keeps places for them."""
    seen: list[httpx.Request] = []
    asking = client(httpx.Response(429, headers={"Retry-After": "100"}), results(sound()), seen=seen, clock=clock)
    with pytest.raises(InferenceUnavailableError):
        await speak(asking)
    waited = clock.now
    assert len(await asking.synthesize(CHUNK, plan=PLAN, reference=REFERENCE, sampling=ANY_SAMPLING, live=True)) == 9 * 256
    assert clock.now == waited
    assert [request.headers.get("Priority") for request in seen] == [None, "u=1"]
    with pytest.raises(InferenceUnavailableError):
        await speak(asking)
    assert len(seen) == 2, "jobs leave it alone until then"


async def test_a_service_that_is_busy_for_longer_gets_the_job_back_then(clock: Clock) -> None:
    seen: list[httpx.Request] = []
    with pytest.raises(InferenceUnavailableError) as later:
        await speak(client(httpx.Response(503, headers={"Retry-After": "100"}), seen=seen, clock=clock))
    assert (len(seen), clock.now) == (1, 0.25), "it asks once and waits no longer than is any use"
    assert later.value.retry_in_s == pytest.approx(100, abs=1)


async def test_the_time_is_for_all_attempts_and_the_service_is_told_what_is_left(clock: Clock) -> None:
    seen: list[httpx.Request] = []
    with pytest.raises(InferenceUnavailableError):
        await speak(client(httpx.Response(429, headers={"Retry-After": "12"}), seen=seen, clock=clock))
    left = [json.loads(request.content)["items"][0]["timeout_s"] for request in seen]
    assert left == [30, pytest.approx(17.75, abs=0.5), pytest.approx(5.5, abs=0.5)], "three of four, as the last would come too late"
    assert clock.now < 30


@pytest.mark.parametrize("status", [302, 400, 404, 413, 415, 500])
async def test_a_refusal_is_not_repeated(status: int) -> None:
    seen: list[httpx.Request] = []
    with pytest.raises(AttemptFailedError):
        await speak(client(httpx.Response(status), seen=seen))
    assert len(seen) == 1


async def test_repeats_have_a_budget(clock: Clock) -> None:
    """Four times the load is the last thing that a tier needs which answers nobody."""
    seen: list[httpx.Request] = []
    speaking = client(httpx.Response(429), seen=seen, clock=clock)
    for _ in range(100):
        with pytest.raises(InferenceUnavailableError):
            await speak(speaking)
    assert 100 + 20 <= len(seen) <= 100 + 20 + 100 * 0.2


async def test_an_answer_that_does_not_come_counts_as_an_attempt() -> None:
    """Put back without counting, a chunk that always takes too long would be tried for ever."""
    seen: list[httpx.Request] = []
    with pytest.raises(AttemptFailedError) as slow:
        await speak(client(httpx.ReadTimeout("x"), seen=seen))
    assert (slow.value.code, len(seen)) == ("INFERENCE_TIMEOUT", 1)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("UNSUPPORTED_CHARACTERS", JobFailedError),
        ("EMPTY_TEXT", JobFailedError),
        ("DEADLINE_EXCEEDED", InferenceUnavailableError),
        ("INVALID_ITEM", AttemptFailedError),
        ("SYNTHESIS_FAILED", AttemptFailedError),
    ],
)
async def test_failures_of_an_item(code: str, error: type[Exception]) -> None:
    failed = {"ok": False, "error": {"code": code, "message": "Why", "details": {"a": 1}}}
    for call in (speak(client(results(failed))), plan(client(httpx.Response(200, json=failed)))):
        with pytest.raises(error) as raised:
            await call
        if isinstance(raised.value, JobFailedError):
            assert (raised.value.code, raised.value.details) == (code, {"a": 1})


@pytest.mark.parametrize(
    "answer",
    [
        results(),
        results(sound(), sound()),
        results(sound(9)),
        results(sound(10, samples=9 * 256 - 1)),
        results(sound(11, samples=9 * 256)),
        results(sound(10, samples=0)),
        results({"ok": False}),
        results({"ok": True, "audio": "AAA", "frames": 10}),
        results({"ok": True, "audio": "not base64!", "frames": 10}),
        results({"ok": True, "audio": base64.b64encode(b"odd").decode(), "frames": 10}),
        results({"ok": True, "audio": 7, "frames": "ten"}),
        results("text"),
        httpx.Response(200, text='[{"ok": true, "audio": "", "frames": NaN}]'),
        httpx.Response(200, json={"ok": True}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, content=b""),
    ],
    ids=lambda answer: answer.text[:40],
)
async def test_strange_sound_fails_the_attempt_and_not_the_worker(answer: httpx.Response) -> None:
    with pytest.raises(AttemptFailedError):
        await speak(client(answer))


@pytest.mark.parametrize(
    "body",
    [{}, [], None, "x", {"ok": True}, {"ok": False}, {"ok": False, "error": "x"}]
    + [{"ok": True, "model": "m", "language": "en", "support": "native", "speech": True, "chunks": chunks} for chunks in ([], [{}], "x")],
)
async def test_strange_plans_and_embeddings_fail_the_attempt(body: Any) -> None:
    with pytest.raises(AttemptFailedError):
        await plan(client(httpx.Response(200, json=body)))
    with pytest.raises(AttemptFailedError):
        await client(httpx.Response(200, json=body)).embed(np.zeros(10, np.float32))


@pytest.mark.parametrize("embedding", [[1.0] * 255, ["x"] * 256, None])
async def test_an_embedding_has_256_numbers(embedding: Any) -> None:
    with pytest.raises(AttemptFailedError):
        await client(httpx.Response(200, json={"ok": True, "embedding": embedding})).embed(np.zeros(10, np.float32))
    good = client(httpx.Response(200, json={"ok": True, "embedding": [0] * 256}))
    assert len(await good.embed(np.zeros(10, np.float32))) == 256


async def test_ready_says_no_where_nobody_answers() -> None:
    assert await client(httpx.Response(200)).ready()
    assert not await client(httpx.Response(503)).ready()
    assert not await client(httpx.ConnectError("x")).ready()
    with pytest.raises(InferenceUnavailableError):
        await client(httpx.Response(503)).models()


async def test_cancelling_a_call_ends_it() -> None:
    asked = asyncio.Event()

    async def never(request: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    speaking = asyncio.create_task(speak(InferenceClient("http://inference.test", timeout_s=9, transport=httpx.MockTransport(never))))
    await asked.wait()
    speaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await speaking


async def test_a_reference_comes_back_with_its_text() -> None:
    pcm = base64.b64encode(float_to_pcm16(np.full(480, 0.25, np.float32))).decode()
    asked: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return httpx.Response(200, json={"ok": True, "audio": pcm, "text": "Cut.", "seconds": 0.02, "cut": True, "transcribed": False})

    client = InferenceClient("http://inference.test", timeout_s=5, transport=httpx.MockTransport(answer))
    sound, text = await client.reference(np.zeros(960, np.float32), "Cut. And more.", language="en-US")
    assert (len(sound), text) == (480, "Cut.")
    assert asked[0] | {"audio": ""} == {"audio": "", "text": "Cut. And more.", "language": "en-US"}
    await client.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"ok": True, "text": "Heard.", "language": "en", "model": "whisper"}, "Heard."),
        ({"ok": True, "text": "", "language": "en", "model": "whisper"}, None),
        ({"ok": False, "error": {"code": "TRANSCRIPTION_UNAVAILABLE", "message": "nobody listens"}}, None),
        ({"ok": False, "error": {"code": "AUDIO_TOO_LONG", "message": "too long"}}, None),
    ],
)
async def test_a_transcript_or_none(answer: dict[str, Any], expected: str | None) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    client = InferenceClient("http://inference.test", timeout_s=5, transport=transport)
    assert await client.transcribe(np.zeros(960, np.float32), language=None) == expected
    await client.close()


def test_the_addresses_are_judged_at_the_start() -> None:
    several = Settings(_env_file=None, inference_url=" http://one:3000/ ,https://two.example/tts/")  # type: ignore[call-arg]
    assert several.inference == "http://one:3000,https://two.example/tts"
    assert Settings(_env_file=None, inference_host="::1").inference == "http://[::1]:3000"  # type: ignore[call-arg]
    for wrong in ("inference:3000", "http://one:3000,", "ftp://one", "http://one two", "http://one?x=1", "http://"):
        with pytest.raises(ValidationError, match="VOXIFY_INFERENCE_URL"):
            Settings(_env_file=None, inference_url=wrong)  # type: ignore[call-arg]
