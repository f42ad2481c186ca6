"""Which replicas there are behind an address, when one is left alone, and how much may be repeated."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.unruly import Clock, answers, unruly
from worker.inference import InferenceClient
from worker.inference.breaker import FAILURES, LONGEST_REST_S, REST_S, Breaker
from worker.inference.budget import CAPACITY, SHARE, RetryBudget
from worker.inference.places import Places
from worker.inference.replicas import LOOK_UP_S, Replicas, look_up

EMBEDDING = answers({"ok": True, "embedding": [0.0] * 256})
HOSTS = ("127.0.0.1", "127.0.0.2")


class Names:
    """What a name resolves to; nothing is an error, as with a resolver that is away."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        if not self.addresses:
            raise OSError
        return list(self.addresses)


def places() -> Places:
    return Places(1, httpx.AsyncClient)


def known(replicas: Replicas) -> list[str]:
    return sorted(replica.name for replica in replicas.known)


async def test_a_name_with_several_addresses_stands_for_a_replica_each(clock: Clock) -> None:
    names = Names(*HOSTS)
    async with unruly(EMBEDDING, hosts=HOSTS[:1]) as (first, (one,)):
        port = int(one.rpartition(":")[2])
        async with unruly(EMBEDDING, hosts=HOSTS[1:], port=port) as (second, _):
            client = InferenceClient(f"http://inference.test:{port}", timeout_s=9, clock=clock, lookup=names)
            for _ in range(40):
                await client.embed(np.zeros(10, np.float32))
            assert names.asked == [("inference.test", port)], "once for all"
            assert first.asked
            assert second.asked
            assert {asked.headers["host"] for asked in first.asked + second.asked} == {f"inference.test:{port}"}
            names.addresses = (HOSTS[1], "127.0.0.3")
            clock.now += LOOK_UP_S
            before = len(first.asked)
            for _ in range(20):
                await client.embed(np.zeros(10, np.float32))
            assert len(first.asked) == before, "one that has gone is asked no more"
            await client.close()


async def test_a_name_that_cannot_be_looked_up_keeps_what_it_had() -> None:
    clock, names = Clock(), Names()
    replicas = Replicas("http://one.test:1, http://two.test:2/path/", places=places, clock=clock, lookup=names)
    await replicas.refresh()
    assert known(replicas) == ["one.test:1", "two.test:2"]
    names.addresses = HOSTS
    clock.now += LOOK_UP_S
    await replicas.refresh()
    apart = sorted(f"{host}:{port}" for host in HOSTS for port in (1, 2))
    assert known(replicas) == apart
    assert {str(replica.url) for replica in replicas.known if replica.name.endswith("2:2")} == {"http://127.0.0.2:2/path"}
    before = replicas.known
    names.addresses = ()
    clock.now += LOOK_UP_S
    await replicas.refresh()
    assert replicas.known == before, "the same ones, with what is known of them"
    names.addresses = ("10.0.0.1",)
    clock.now += LOOK_UP_S
    await replicas.refresh()
    assert known(replicas) == ["one.test:1", "two.test:2"], "one address is no choice, and has a name"


async def test_a_slow_resolver_holds_up_nobody_but_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.inference.replicas.LOOK_UP_TIMEOUT_S", 0.05)
    asked = asyncio.Event()

    async def hangs(_host: str, _port: int) -> list[str]:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    replicas = Replicas("http://one.test", places=places, clock=Clock(), lookup=hangs)
    waiting = asyncio.create_task(replicas.refresh())
    await asked.wait()
    await replicas.refresh()
    assert not waiting.done()
    await waiting
    assert known(replicas) == ["one.test"]


async def test_addresses_are_not_looked_up() -> None:
    names = Names("10.0.0.1", "10.0.0.2")
    replicas = Replicas("http://127.0.0.1:3000,http://[::1]:3000", places=places, clock=Clock(), lookup=names)
    await replicas.refresh()
    assert (names.asked, known(replicas)) == ([], ["127.0.0.1:3000", "[::1]:3000"])


async def test_a_host_of_its_own_is_one_replica_whatever_families_it_has() -> None:
    assert len(await look_up("localhost", 80)) == 1


def test_of_equals_each_is_asked_in_its_turn() -> None:
    replicas = Replicas("http://one.test,http://two.test,http://three.test", places=places, clock=Clock(), lookup=None)
    assert {replica.name for _ in range(100) if (replica := replicas.choose("/plan"))} == {"one.test", "two.test", "three.test"}
    least = replicas.known[1]
    replicas.known[0].in_flight = replicas.known[2].in_flight = 1
    assert {replicas.choose("/plan") for _ in range(20)} == {least}
    assert {replicas.choose("/plan", avoid=[least]) for _ in range(50)} == {replicas.known[0], replicas.known[2]}
    least.rest_until("/plan", 3)
    replicas.known[0].rest_until("/plan", 2)
    assert {replicas.choose("/plan") for _ in range(20)} == {replicas.known[2]}
    replicas.known[2].rest_until("/plan", 5)
    assert {replicas.choose("/plan") for _ in range(20)} == {replicas.known[0]}, "the first to be free"
    assert {replicas.choose("/embed") for _ in range(20)} == {least}, "which says nothing of other work"


def test_a_breaker_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(Clock())
    for _ in range(3):
        for _ in range(FAILURES - 1):
            breaker.fail()
        assert breaker.admits
        breaker.succeed()
    for _ in range(FAILURES):
        breaker.fail()
    assert not breaker.admits


def opened(clock: Clock, share: float = 1.0) -> Breaker:
    """One that has just opened, with rests between their half (0) and their whole (1)."""
    breaker = Breaker(clock, lambda low, high: low + share * (high - low))
    for _ in range(FAILURES):
        breaker.fail()
    return breaker


def test_a_breaker_lets_one_probe_through_and_rests_longer_after_each_that_failed() -> None:
    clock = Clock()
    breaker = opened(clock)
    rests = []
    for _ in range(7):
        rests.append(breaker.rest_s)
        clock.now += breaker.rest_s
        assert breaker.admits
        assert breaker.begin()
        assert not breaker.admits, "one is enough"
        breaker.fail()
    assert rests == [REST_S, 4, 8, 16, LONGEST_REST_S, LONGEST_REST_S, LONGEST_REST_S]
    clock.now += LONGEST_REST_S
    breaker.begin()
    breaker.succeed()
    assert breaker.closed
    assert not breaker.begin()
    for _ in range(FAILURES):
        breaker.fail()
    assert breaker.rest_s == REST_S, "an illness that is over counts no more"


def test_what_was_under_way_when_a_breaker_opened_does_not_lengthen_its_rest() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += REST_S / 2
    for _ in range(20):
        breaker.fail()
    assert breaker.rest_s == REST_S / 2
    breaker.succeed()
    assert breaker.admits, "but one that was answered shows that it lives"


def test_rests_are_drawn_so_that_not_all_probe_at_once() -> None:
    assert [opened(Clock(), share).rest_s for share in (0, 0.5, 1)] == [REST_S / 2, REST_S * 0.75, REST_S]


def test_a_probe_that_told_nothing_is_followed_by_another() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += REST_S
    breaker.begin()
    breaker.abandon()
    assert breaker.admits


@given(st.lists(st.booleans(), max_size=300))
def test_repeats_are_never_more_than_a_burst_and_a_share_of_the_requests(asks: list[bool]) -> None:
    budget, repeats = RetryBudget(), 0
    for repeat in asks:
        if repeat:
            repeats += budget.spend()
        else:
            budget.earn()
        assert repeats <= CAPACITY + SHARE * len(asks)
