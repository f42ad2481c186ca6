"""Replicas of the inference service that fail, on real sockets: who is asked again, who is left alone, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import numpy as np
import pytest

from tests.servers import free_port
from tests.worker.unruly import Clock, Manner, Unruly, answers, cut_after, drips, half_a_body, held, never, speaks, unruly
from worker.errors import AttemptFailedError, InferenceUnavailableError
from worker.inference import InferenceClient, PlannedChunk, Reference, Sampling, SpeechPlan
from worker.inference.breaker import FAILURES, REST_S
from worker.inference.tier import Tier
from worker.run import settle

CHUNK = PlannedChunk(0, "Hello.", 0, 6, 10)
REFERENCE = Reference.of(np.full(24_000, 0.1, np.float32), "Words.")
TWO = ("127.0.0.1", "127.0.0.2")

Open = Callable[..., Awaitable[tuple[InferenceClient, Unruly, list[str]]]]


@pytest.fixture
async def tier(clock: Clock) -> AsyncIterator[Open]:
    """Starts servers with the same manners, and a client for them."""
    async with AsyncExitStack() as opened:

        async def begin(
            *manners: Manner, hosts: tuple[str, ...] = TWO, timeout_s: float = 20, connections: int = 64
        ) -> tuple[InferenceClient, Unruly, list[str]]:
            servers, names = await opened.enter_async_context(unruly(*manners, hosts=hosts))
            addresses = ", ".join(f"http://{name}/" for name in names)
            client = InferenceClient(addresses, timeout_s=timeout_s, connections=connections, clock=clock)
            opened.push_async_callback(client.close)
            return client, servers, names

        yield begin


async def speak(client: InferenceClient, chunk: PlannedChunk = CHUNK) -> np.ndarray:
    plan = SpeechPlan("tone", "en-US", "native", True, [chunk])
    return await client.synthesize(chunk, plan=plan, reference=REFERENCE, sampling=Sampling(1), request_id="req_1")


FAULTS: dict[str, Manner] = {
    "cut before a byte": cut_after(),
    "cut in the head": cut_after(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half a body": half_a_body,
    "no HTTP": cut_after(b"SSH-2.0-OpenSSH\r\n\r\n"),
    "a page": answers(b"<html>Bad gateway</html>"),
    "not a number": answers(b'[{"ok": true, "audio": "", "frames": NaN}]'),
    "too short": speaks(samples=9 * 256 - 1),
    "fewer frames": speaks(9),
    "silence": speaks(level=0),
    "almost silence": speaks(level=1e-5),
    "nothing": answers([]),
    "429": answers({}, 429, Retry_After="9"),
    "503": answers({}, 503, Retry_After="9"),
    "502": answers({}, 502),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_another_replica_does_what_one_could_not(tier: Open, clock: Clock, fault: str) -> None:
    client, servers, _ = await tier(FAULTS[fault], speaks())
    assert len(await speak(client)) == 9 * 256
    assert {asked.server.partition(":")[0] for asked in servers.asked} == set(TWO), "each was asked once"
    assert len(servers.asked) == 2
    assert clock.now < 1, "nobody waits for a replica while there is another"


@pytest.mark.parametrize(
    ("fault", "code"), [("silence", "INVALID_SPEECH"), ("too short", "INVALID_SPEECH"), ("not a number", "SYNTHESIS_FAILED")]
)
async def test_sound_that_is_wrong_twice_fails_the_attempt(tier: Open, fault: str, code: str) -> None:
    client, servers, _ = await tier(FAULTS[fault])
    with pytest.raises(AttemptFailedError) as failed:
        await speak(client)
    assert (failed.value.code, len(servers.asked)) == (code, 2)


async def test_silence_is_right_where_there_is_nothing_to_say(tier: Open) -> None:
    client, _, _ = await tier(speaks(level=0))
    assert len(await speak(client, PlannedChunk(0, " … ", 0, 3, 10))) == 9 * 256


@pytest.mark.parametrize("manner", [never, drips], ids=["never", "drips"])
async def test_the_whole_answer_has_to_come_in_time(tier: Open, manner: Manner) -> None:
    client, servers, _ = await tier(manner, timeout_s=0.2)
    with pytest.raises(AttemptFailedError) as slow:
        await asyncio.wait_for(speak(client), 10)
    assert slow.value.code == "INFERENCE_TIMEOUT"
    assert len(servers.asked) <= 1, "what takes too long is not asked again"


async def test_a_replica_that_fails_again_and_again_is_left_alone_and_probed(tier: Open, clock: Clock) -> None:
    client, bad, names = await tier(cut_after(), hosts=("127.0.0.1",))
    _, good, others = await tier(speaks(), hosts=("127.0.0.2",))
    client = InferenceClient(f"http://{names[0]},http://{others[0]}", timeout_s=20, clock=clock)
    for _ in range(80):  # half of them to either, as both have nothing to do
        await speak(client)
    assert len(bad.asked) == FAILURES
    assert len(good.asked) == 80
    clock.now += REST_S
    for _ in range(40):
        await speak(client)
    assert len(bad.asked) == FAILURES + 1, "one probe"
    clock.now += REST_S
    await speak(client)
    assert len(bad.asked) == FAILURES + 1, "the second rest is longer"
    bad.manners = [speaks()]
    clock.now += REST_S
    for _ in range(40):
        await speak(client)
    assert len(bad.asked) > FAILURES + 2, "a probe that went well lets all the others in"
    await client.close()


async def test_where_nobody_is_left_the_job_waits_and_nobody_is_asked(clock: Clock) -> None:
    client = InferenceClient(f"http://127.0.0.1:{free_port()}", timeout_s=20, clock=clock)
    for _ in range(2):  # four attempts, then the fifth
        with pytest.raises(InferenceUnavailableError):
            await speak(client)
    waited = len(clock.waits)
    assert waited == 3
    with pytest.raises(InferenceUnavailableError) as later:
        await speak(client)
    assert (len(clock.waits), later.value.retry_in_s) == (waited, 5), "no attempt, no pause"
    assert not await client.ready()
    await client.close()


async def test_a_replica_that_comes_back_is_asked_again(clock: Clock) -> None:
    port = free_port()
    client = InferenceClient(f"http://127.0.0.1:{port}", timeout_s=20, clock=clock)
    for _ in range(3):
        with pytest.raises(InferenceUnavailableError):
            await speak(client)
    async with unruly(speaks(), port=port):
        with pytest.raises(InferenceUnavailableError):
            await speak(client)
        clock.now += REST_S
        assert len(await speak(client)) == 9 * 256
        await client.close()


async def test_a_probe_that_is_given_up_leaves_the_door_open(tier: Open, clock: Clock) -> None:
    client, servers, _ = await tier(*[cut_after()] * FAILURES, never, speaks(), hosts=("127.0.0.1",))
    for _ in range(2):
        with pytest.raises(InferenceUnavailableError):
            await speak(client)
    clock.now += REST_S
    probing = asyncio.create_task(speak(client))
    for _ in range(FAILURES + 1):
        await servers.came.acquire()
    with pytest.raises(InferenceUnavailableError):
        await speak(client)  # there is one probe at a time
    probing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probing
    assert len(await speak(client)) == 9 * 256


async def test_the_one_with_the_least_to_do_is_asked(tier: Open) -> None:
    gate = asyncio.Event()
    client, servers, names = await tier(held(gate, speaks()))
    speaking = [asyncio.create_task(speak(client)) for _ in range(6)]
    for _ in speaking:
        await servers.came.acquire()
    assert [servers.asked_of(name) for name in names] == [3, 3]
    gate.set()
    await asyncio.gather(*speaking)


async def test_a_replica_has_so_many_places_and_the_others_wait(tier: Open) -> None:
    gate = asyncio.Event()
    client, servers, _ = await tier(held(gate, speaks()), hosts=("127.0.0.1",), connections=2)
    speaking = [asyncio.create_task(speak(client)) for _ in range(7)]
    for _ in range(2):
        await servers.came.acquire()
    gate.set()
    assert [len(sound) for sound in await asyncio.gather(*speaking)] == [9 * 256] * 7
    assert servers.most_under_way == 2


async def test_a_connection_is_used_again(tier: Open) -> None:
    client, servers, _ = await tier(speaks(), hosts=("127.0.0.1",))
    for _ in range(5):
        await asyncio.gather(speak(client), speak(client))
    assert servers.connections == 2


async def test_who_waits_for_a_place_for_too_long_was_not_served(clock: Clock) -> None:
    async with unruly(never) as (servers, (name,)):
        tier = Tier(f"http://{name}", connections=1, clock=clock)
        first = asyncio.create_task(tier.send("GET", "/plan", None, bytes, timeout_s=60))
        await servers.came.acquire()
        with pytest.raises(InferenceUnavailableError):
            await tier.send("GET", "/plan", None, bytes, timeout_s=0.05)
        assert len(servers.asked) == 1
        await settle(first)
        await tier.close()


async def test_all_that_belongs_to_one_training_reaches_one_replica(tier: Open) -> None:
    client, servers, names = await tier(answers({"ok": True}))
    homes = set()
    for training in map(str, range(20)):
        for method, path in (("POST", "/train"), ("GET", f"/train/{training}"), ("DELETE", f"/train/{training}")):
            await client.ask(method, path, {} if method == "POST" else None, affinity=training)
        (home,) = {asked.server for asked in servers.asked[-3:]}
        homes.add(home)
    assert homes == set(names), "and not all of them the same"


async def test_the_tier_is_ready_when_one_of_it_is(tier: Open) -> None:
    client, servers, _ = await tier(answers({}, 503), answers({}))
    assert await client.ready()
    assert [asked.path for asked in servers.asked] == ["/readyz"] * 2
