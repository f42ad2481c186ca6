"""The whole exercise: a house, people who use it, faults that befall it, and what is left when they are over."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from store.database import Database
from store.models import Clone
from store.stores import Stores
from tests.chaos import evidence
from tests.chaos.checks import Problem, problems
from tests.chaos.evidence import Evidence, Survivor
from tests.chaos.faults import Hand, Struck, plan
from tests.chaos.house import House, Topology, house
from tests.chaos.ledger import Ledger, Manner, Voice, VoiceWish, Wish
from tests.chaos.people import Person
from tests.chaos.programs import open_files
from tests.chaos.sounds import listen
from worker.inference import InferenceClient
from worker.run import JobRunner
from worker.sweeper import Sweeper

MANNERS: dict[Manner, int] = {"watch": 45, "poll": 25, "cancel": 12, "cancel and retry": 10, "delete": 8}
WORDS = ("heron", "amber", "harbour", "violet", "copper", "meadow", "lantern", "willow", "marble", "thunder", "saffron", "orchard")
NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gina", "Hugo", "Iris", "Jon"]
SETTLE_S = 240.0
AHEAD = 0.15
"""How far, as a share of the whole, the jobs may be ahead of the faults, so that both end together."""


@dataclass(frozen=True, slots=True)
class Storm:
    """What is to be done. The faults, the wishes and whose they are follow from the seed; how they meet does not.

    minutes: after which nothing more is begun, however much of it is left.
    """

    seed: int
    kills: int
    jobs: int
    people: int = 4
    at_once: int = 12
    voices: int = 4
    topology: Topology = "workers"
    replicas: int = 1
    minutes: float = 600


@dataclass(slots=True)
class Aftermath:
    """What is left when all is over."""

    storm: Storm
    ledger: Ledger
    evidence: Evidence
    topology: str = ""
    struck: list[Struck] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    failed_starts: dict[str, int] = field(default_factory=dict)
    orphans: int = 0
    storm_s: float = 0.0
    settle_s: float = 0.0


async def weather(storm: Storm, tell: Callable[[str], None], logs: Path | None = None) -> Aftermath:
    """Let it happen, and look at everything afterwards. `logs`: a folder to keep the logs of all processes in."""
    ledger, seen = Ledger(), Evidence()
    result = Aftermath(storm, ledger, seen)
    async with house(storm.topology, storm.replicas, logs) as there, _stores(there) as stores:
        result.topology = there.topology
        await evidence.install_recorder(stores.database)
        async with _people(storm, there, ledger) as people:
            voices = await asyncio.gather(*(person.make_voice(stores.objects, _reference_of(stores.database)) for person in people))
            ledger.wishes = wishes(storm, voices)
            ledger.voices = [VoiceWish(voices[number % len(voices)]) for number in range(storm.voices)]
            await _until_settled(stores.database, SETTLE_S)  # the voices are still being measured
            tell(f"{len(voices)} voices are ready; {storm.kills} kills and {storm.jobs} jobs begin")
            began = time.monotonic()
            hand = Hand(there, plan(storm.seed, storm.kills, {name: program.kind for name, program in there.programs.items()}), lambda: 0.0)
            await _let_live(storm, ledger, people, hand, tell)
            result.storm_s = time.monotonic() - began
        result.struck = hand.struck
        result.settle_s = await _until_settled(stores.database, SETTLE_S)
        tell(f"the storm took {result.storm_s:.0f} s, and after {result.settle_s:.0f} s more every job had ended or was waited for in vain")
        seen.survivors = await _survivors(there)
        seen.connections = await evidence.gather_connections(stores.database, len(there.of_kind("api", "worker", "beat")))
        result.failed_starts = {name: program.failed_starts for name, program in there.programs.items() if program.failed_starts}
        result.orphans = await _sweep(stores)
        await evidence.gather_rows(seen, stores)
        await _listen(there, stores, ledger, seen)
        result.problems = problems(ledger, seen)
    return result


def wishes(storm: Storm, voices: list[Voice]) -> list[Wish]:
    """Jobs that are all different: no two have a text or a seed in common, whoever's they are."""
    dice = random.Random(storm.seed)
    made = []
    for number in range(storm.jobs):
        voice = voices[number % len(voices)]
        sentences = dice.choices([1, 2, 6], [70, 20, 10])[0]
        said = " ".join(f"The {dice.choice(WORDS)} and the {dice.choice(WORDS)} met." for _ in range(sentences))
        made.append(
            Wish(
                number=number,
                voice=voice,
                text=f"{NAMES[number % len(voices) % len(NAMES)]} tells tale {number}. {said}",
                seed=storm.seed * 1_000_003 % 2**20 * 1024 + number * 16,
                format=dice.choice(["wav", "wav", "flac"]),
                key=f"key-{storm.seed}-{number}" if dice.random() < 0.75 else None,
                manner=dice.choices(list(MANNERS), list(MANNERS.values()))[0],
            )
        )
    return made


async def _let_live(storm: Storm, ledger: Ledger, people: list[Person], hand: Hand, tell: Callable[[str], None]) -> None:
    """All wishes and all faults, each in step with the other."""
    begun, over = 0, time.monotonic() + storm.minutes * 60
    begun_voices: list[VoiceWish] = []

    async def share() -> None:
        nonlocal begun
        while begun < len(ledger.wishes) and time.monotonic() < over:
            wish, begun = ledger.wishes[begun], begun + 1
            while begun / len(ledger.wishes) > hand.share + AHEAD and time.monotonic() < over:
                await asyncio.sleep(0.05)
            await people[wish.number % len(people)].have(wish)
            if (wish.number + 1) % 100 == 0:
                tell(f"{wish.number + 1} jobs, {sum(hand.kills.values())} kills")

    async def voice(number: int, wish: VoiceWish) -> None:
        while hand.share < (number + 0.5) / len(ledger.voices):
            if time.monotonic() > over:
                return
            await asyncio.sleep(0.1)
        begun_voices.append(wish)
        await people[number % len(people)].have_voice_made(wish)

    hand.under_way = lambda: begun / len(ledger.wishes)
    async with asyncio.TaskGroup() as living:
        living.create_task(hand.strike_all(over))
        for number, wish in enumerate(ledger.voices):
            living.create_task(voice(number, wish))
        for _ in range(storm.at_once):
            living.create_task(share())
    ledger.wishes, ledger.voices = ledger.wishes[:begun], begun_voices


@asynccontextmanager
async def _people(storm: Storm, there: House, ledger: Ledger) -> AsyncIterator[list[Person]]:
    people = [Person(number, there.api_urls, ledger, storm.seed) for number in range(storm.people)]
    try:
        await asyncio.gather(*(person.sign_up() for person in people))
        yield people
    finally:
        await asyncio.gather(*(person.close() for person in people))


@asynccontextmanager
async def _stores(there: House) -> AsyncIterator[Stores]:
    stores = there.stores()
    try:
        yield stores
    finally:
        await stores.close()


def _reference_of(database: Database) -> Callable[[str], Awaitable[tuple[str, str]]]:
    async def reference_of(clone_id: str) -> tuple[str, str]:
        async with database.read() as session:
            clone = await session.get_one(Clone, clone_id)
        assert clone.reference_path is not None
        assert clone.reference_text is not None
        return clone.reference_path, clone.reference_text

    return reference_of


async def _until_settled(database: Database, patience_s: float) -> float:
    """Until no job waits or runs, or the patience is at its end; how many seconds that took."""
    began = time.monotonic()
    while await evidence.unfinished(database) and time.monotonic() - began < patience_s:
        await asyncio.sleep(0.2)
    return time.monotonic() - began


async def _survivors(there: House) -> list[Survivor]:
    """What each process holds at rest, after it has once more used what it has: what a fault broke is let go of then."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        await asyncio.gather(*(http.get(f"{url}/health/ready") for url in there.api_urls * 3))
    await asyncio.sleep(1)  # for the connections of those who asked just now to be closed on the other side too
    return [
        Survivor(
            program.name,
            program.kind,
            open_files(program.pid),
            program.files_at_start,
            program.faults_survived,
            len(program.left_behind()),
        )
        for program in there.programs.values()
    ]


async def _sweep(stores: Stores) -> int:
    """What the sweeper of a worker does every quarter of an hour, with no grace: nothing is under way any more. How much there was."""
    runner = JobRunner(stores, {}, lease_s=1, max_attempts=1, notify=lambda _: None)
    return await Sweeper(runner, orphan_grace_s=0).remove_orphans()


async def _listen(there: House, stores: Stores, ledger: Ledger, seen: Evidence) -> None:
    # A process that was there in the storm could be wrong in the same way as what it is to be held against.
    services = there.of_kind("inference")
    for service in services:
        await asyncio.to_thread(service.kill)
    await asyncio.gather(*(asyncio.to_thread(service.start) for service in services))
    by_text = {wish.text: wish for wish in ledger.wishes}
    spoken = {row.id: row for row in seen.rows.values() if row.output_path in seen.objects and row.text in by_text}
    files = {job_id: await stores.objects.get(row.output_path or "") for job_id, row in spoken.items()}
    client = InferenceClient(",".join(there.inference_urls), timeout_s=60)
    try:
        seen.heard = await listen({job_id: by_text[row.text] for job_id, row in spoken.items()}, files, client)
    finally:
        await client.close()
