"""What the clients wanted, and all that the house told them: what it is held to afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Manner = Literal["watch", "poll", "cancel", "cancel and retry", "delete"]
"""What its owner does with a job once it is accepted."""

FINAL = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that was made before the first fault. `reference` is what the model is given of it: mono, 24 kHz, 16 bit."""

    owner_id: str
    voice_id: str
    reference: bytes = field(repr=False)
    reference_text: str


@dataclass(slots=True)
class Said:
    """How often something was asked of a job, and how often it was granted; the rest was refused, or the answer never came."""

    sent: int = 0
    granted: int = 0


@dataclass(slots=True)
class Wish:
    """One job that somebody wants: no other has its text or its seed.

    Attributes:
        key: the Idempotency-Key that every repeat of the POST has; None: it is sent once.
        job_id: of the 201 or 200 that the client has seen, if it has seen one.
        ids: of all such answers, of which there must be one.
        ends: what it was seen to end as, since its owner last had it tried again.
        downloads: digests of the files that were downloaded whole since then.
        streams: event streams that were followed, and `streams_ended` those that came to their last event.
    """

    number: int
    voice: Voice
    text: str
    seed: int
    format: str
    key: str | None
    manner: Manner
    posts: int = 0
    job_id: str | None = None
    ids: set[str] = field(default_factory=set)
    ends: list[str] = field(default_factory=list)
    downloads: set[str] = field(default_factory=set)
    streams: int = 0
    streams_ended: int = 0
    cancels: Said = field(default_factory=Said)
    retries: Said = field(default_factory=Said)
    deletes: Said = field(default_factory=Said)
    gave_up: str | None = None  # what the client still wanted when it had waited too long

    def accepted(self, job_id: str) -> None:
        self.ids.add(job_id)
        self.job_id = self.job_id or job_id

    def ended(self, status: str) -> None:
        if status in FINAL:
            self.ends.append(status)

    def begins_anew(self) -> None:
        """Its owner asks for another try: what was seen before says nothing of what comes."""
        self.ends.clear()
        self.downloads.clear()


@dataclass(slots=True)
class VoiceWish:
    """A clone that is made in the middle of the faults, of the very recording that `voice` was made of before."""

    voice: Voice
    sample_id: str | None = None
    clone_id: str | None = None
    status: str | None = None


@dataclass(slots=True)
class Ledger:
    wishes: list[Wish] = field(default_factory=list)
    voices: list[VoiceWish] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)  # how often the clients got which status, or which broken connection

    def note(self, answer: str) -> None:
        self.answers[answer] = self.answers.get(answer, 0) + 1
