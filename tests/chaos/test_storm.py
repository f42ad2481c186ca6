"""The exercise in its short form, and its parts. The long form is ``make chaos``."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from tests.chaos.faults import plan
from tests.chaos.gate import Gate
from tests.chaos.ledger import Voice
from tests.chaos.report import page, summary
from tests.chaos.storm import Storm, weather, wishes
from tests.servers import free_port

VICTIMS = {name: name.split("-")[0] for name in ("api-0", "api-1", "worker-0", "inference", "postgres", "redis", "s3")}


def test_a_seed_draws_the_same_faults_and_another_seed_others() -> None:
    assert plan(7, 50, VICTIMS) == plan(7, 50, VICTIMS) != plan(8, 50, VICTIMS)


@pytest.mark.parametrize("kills", [6, 50, 300])
def test_a_plan_has_its_kills_and_every_blow_at_least_once(kills: int) -> None:
    faults = plan(3, kills, VICTIMS)
    blows = Counter((VICTIMS[fault.victim], fault.blow) for fault in faults)
    assert sum(fault.blow == "kill" for fault in faults) == kills
    assert {kind for kind, blow in blows if blow == "kill"} == {"api", "worker", "inference", "postgres", "redis"}
    assert {kind for kind, blow in blows if blow == "stop"} == set(VICTIMS.values())
    assert blows["s3", "cut"] > 0
    assert [fault.due for fault in faults] == sorted(fault.due for fault in faults)


def test_no_two_wishes_have_a_text_a_seed_or_a_key_in_common() -> None:
    voices = [Voice(f"user_{number}", f"vc_{number}", b"", "") for number in range(3)]
    made = wishes(Storm(seed=5, kills=0, jobs=2000), voices)
    # The chunks of a job have the seeds that follow its own.
    assert min(abs(one.seed - other.seed) for one, other in pairwise(made)) >= 16
    assert len({wish.text for wish in made}) == len({wish.seed for wish in made}) == 2000
    keys = [wish.key for wish in made if wish.key]
    assert len(keys) == len(set(keys)) > 1000


async def test_a_gate_that_is_cut_resets_what_is_open_and_refuses_what_comes() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)

    server_port, port = free_port(), free_port()
    gate = Gate(port, server_port)
    async with await asyncio.start_server(echo, "127.0.0.1", server_port):
        await gate.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        await gate.cut()
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await gate.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"again\n")
        assert await reader.readline() == b"again\n"
        writer.close()
        await gate.cut()


@pytest.mark.timeout(600)
async def test_nothing_is_lost_when_everything_is_killed_once() -> None:
    after = await weather(Storm(seed=11, kills=5, jobs=24, people=2, at_once=8, voices=1, topology="embedded"), print)
    found = summary(after)
    assert after.problems == [], page(found)
    assert sum(found["kills"].values()) == 5
    assert found["jobs"]["completed"] >= 12
    assert found["sounds"]["compared"] >= found["jobs"]["completed"]
    assert found["sounds"]["smallest difference to that"] > 0.05
    assert "Nothing was lost." in page(found)
