"""What befalls the house, drawn from a seed; and the hand that does it."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tests.chaos.house import LEASE_S, House

Blow = Literal["kill", "stop", "cut"]
"""``kill``: SIGKILL, and started again; ``stop``: SIGSTOP and SIGCONT; ``cut``: connections are reset and refused for a while."""

# How often each kind is struck for every hundred blows, and the share of kills among them. The rest are stops, or cuts of the gate.
WEIGHTS = {
    "api": (32, 0.75), "worker": (32, 0.75), "inference": (10, 0.6), "postgres": (10, 0.6), "redis": (8, 0.6), "s3": (8, 0.0),
    "chroma": (4, 0.6), "rabbitmq": (6, 0.6), "beat": (4, 0.7),
}  # fmt: skip
DOWN_S = (0.0, 2.0)
# The longer ones outlast a lease: a process wakes up and finds that its job is somebody else's.
STOP_S = {"api": (0.5, LEASE_S + 3), "worker": (0.5, LEASE_S + 3), "inference": (0.5, 6.0)}
SHORT_STOP_S = (0.3, 3.0)
BLOWS_AT_ONCE = 3
STALLED_S = 20.0


@dataclass(frozen=True, slots=True)
class Fault:
    """`seconds` is how long it lasts: until the killed program is started, the stopped one goes on, the gate opens.

    `due` is the share of the work that is under way or done when it comes, 0 to 1.
    """

    victim: str
    blow: Blow
    seconds: float
    due: float


def plan(seed: int, kills: int, victims: dict[str, str]) -> list[Fault]:
    """Faults with `kills` kills among them, each possible blow at least once where that many kills allow it.

    victims: the kind of each program, by name.
    """
    dice = random.Random(seed)
    kinds = sorted(set(victims.values()) & WEIGHTS.keys())
    wanted = [(kind, "kill") for kind in kinds if WEIGHTS[kind][1] > 0][:kills] + [(kind, "stop") for kind in kinds] + [("s3", "cut")]
    drawn = [(kind, blow) for kind, blow in wanted if kind in kinds]
    while sum(blow == "kill" for _, blow in drawn) < kills:
        [kind] = dice.choices(kinds, [WEIGHTS[kind][0] for kind in kinds])
        killed = dice.random() < WEIGHTS[kind][1]
        drawn.append((kind, "kill" if killed else "cut" if kind == "s3" and dice.random() < 0.6 else "stop"))
    dice.shuffle(drawn)
    faults = []
    for number, (kind, blow) in enumerate(drawn):
        victim = dice.choice(sorted(name for name, of in victims.items() if of == kind))
        seconds = dice.uniform(*DOWN_S) if blow == "kill" else dice.uniform(*STOP_S.get(kind, SHORT_STOP_S))
        faults.append(Fault(victim, blow, round(seconds, 2), (number + dice.random()) / len(drawn)))  # type: ignore[arg-type]
    return faults


@dataclass(frozen=True, slots=True)
class Struck:
    """What was done. `down_s`: until the victim served again, the time that its start took included."""

    fault: Fault
    began_s: float
    down_s: float


@dataclass
class Hand:
    """Strikes when the work has come far enough, a few victims at a time, none before it is up again."""

    house: House
    faults: list[Fault]
    under_way: Callable[[], float]
    struck: list[Struck] = field(default_factory=list)
    _down: set[str] = field(default_factory=set)

    @property
    def share(self) -> float:
        """How much of the plan is done, 0 to 1."""
        return len(self.struck) / len(self.faults) if self.faults else 1.0

    @property
    def kills(self) -> Counter[str]:
        return Counter(done.fault.victim for done in self.struck if done.fault.blow == "kill")

    async def strike_all(self, over: float) -> None:
        """`over`: when no other fault is begun, in monotonic time."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as blows:
            for fault in self.faults:
                stalled = time.monotonic() + STALLED_S
                while self.under_way() < fault.due and time.monotonic() < stalled:
                    await asyncio.sleep(0.05)
                while len(self._down) >= BLOWS_AT_ONCE or fault.victim in self._down:
                    await asyncio.sleep(0.05)
                if time.monotonic() > over:
                    break
                self._down.add(fault.victim)
                blows.create_task(self._strike(fault, began))

    async def _strike(self, fault: Fault, began: float) -> None:
        at = time.monotonic()
        program = self.house.programs[fault.victim]
        try:
            if fault.blow == "kill":
                await asyncio.to_thread(program.kill)
                await asyncio.sleep(fault.seconds)
                await asyncio.to_thread(program.start)
            elif fault.blow == "stop":
                program.pause()
                await asyncio.sleep(fault.seconds)
                program.resume()
            else:
                await self.house.gate.cut()
                await asyncio.sleep(fault.seconds)
                await self.house.gate.open()
        finally:
            self._down.discard(fault.victim)
        for other in self.house.programs.values():
            if other is not program or fault.blow != "kill":
                other.faults_survived += 1
        self.struck.append(Struck(fault, at - began, time.monotonic() - at))
