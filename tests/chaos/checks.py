"""What must be true when all is over. Pure functions of what the clients saw and what the stores hold: each names what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from store.database import CONNECTIONS, LOOKING
from tests.chaos.evidence import Evidence, Row, Step
from tests.chaos.ledger import FINAL, Ledger, Wish

PENDING, PROCESSING, COMPLETED, CANCELLED = "pending", "processing", "completed", "cancelled"
SYNTHESIS = "synthesis"
STEPS = {
    (None, PENDING), (PENDING, PROCESSING), (PENDING, CANCELLED), (PENDING, "failed"), (PROCESSING, PENDING), (PROCESSING, COMPLETED),
    (PROCESSING, "failed"), (PROCESSING, CANCELLED), ("failed", PENDING), (CANCELLED, PENDING),
    (PENDING, None), (COMPLETED, None), ("failed", None), (CANCELLED, None),
}  # fmt: skip

DIFFERENCE = 2e-3
"""Of full scale: what rounding to 16 bit and another batch may change. Another voice, text or seed changes a hundred times as much."""
SECONDS = 0.002
KEPT_ALIVE = 16
"""Connections to the inference service, Redis and the bucket that a process at rest keeps for the next time."""


@dataclass(frozen=True, slots=True)
class Problem:
    check: str
    subject: str
    what: str

    def __str__(self) -> str:
        return f"{self.check}: {self.subject}: {self.what}"


Found = Iterator[tuple[str, str]]


def no_accepted_job_is_lost(ledger: Ledger, evidence: Evidence) -> Found:
    for wish in ledger.wishes:
        for job_id in wish.ids:
            if job_id not in evidence.rows and not (wish.deletes.sent and _steps(evidence, job_id)[-1:] == [None]):
                yield job_id, "was accepted and is gone"
    for voice in ledger.voices:
        if voice.clone_id is not None and voice.clone_id not in evidence.references:
            yield voice.clone_id, "was accepted and is gone"


def every_job_has_ended(_ledger: Ledger, evidence: Evidence) -> Found:
    for row in evidence.rows.values():
        if row.status not in FINAL:
            yield row.id, f"is still {row.status} ({row.kind}, attempt {row.attempt})"
    for clone_id, (status, _) in evidence.references.items():
        if status not in {"ready", "failed"}:
            yield clone_id, f"is still {status}"


def every_job_ends_once(ledger: Ledger, evidence: Evidence) -> Found:
    wishes = _by_job(ledger)
    for job_id, steps in evidence.steps.items():
        at: str | None = None
        for step in steps:
            if (step.was, step.became) not in STEPS or step.was != at:
                yield job_id, f"became {step.became} from {step.was}, when it was {at}"
            at = step.became
        row = evidence.rows.get(job_id)
        if at != (row.status if row else None):
            yield job_id, f"its last step was to {at}, and it is {row.status if row else 'gone'}"
        revivals = sum(step.was in FINAL and step.became == PENDING for step in steps)
        wish = wishes.get(job_id)
        least, most = (wish.retries.granted, wish.retries.sent) if wish else (0, 0)
        if not least <= revivals <= most:
            yield job_id, f"was tried again {revivals} times, and its owner asked for it {least} to {most} times"
        cancels = sum(step.became == CANCELLED for step in steps)
        least, most = (wish.cancels.granted, wish.cancels.sent) if wish else (0, 0)
        if not least <= cancels <= most:
            yield job_id, f"was cancelled {cancels} times, and its owner did so {least} to {most} times"


def an_end_that_was_seen_stays(ledger: Ledger, evidence: Evidence) -> Found:
    for wish in ledger.wishes:
        row = evidence.rows.get(wish.job_id or "")
        ends = set(wish.ends) | ({row.status} if row is not None and row.status in FINAL and wish.ends else set())
        # A retry that may not have arrived leaves the end before it in sight for a moment.
        if len(ends) > 1 and wish.retries.sent == wish.retries.granted:
            yield str(wish.job_id), f"was seen to end as {' and as '.join(sorted(ends))}"


def one_wish_is_one_job(ledger: Ledger, evidence: Evidence) -> Found:
    jobs = Counter(row.text for row in evidence.rows.values() if row.kind == SYNTHESIS)
    for wish in ledger.wishes:
        if len(wish.ids) > 1:
            yield f"wish {wish.number}", f"was answered with the jobs {', '.join(sorted(wish.ids))}"
        if jobs[wish.text] > 1:
            yield f"wish {wish.number}", f"was made {jobs[wish.text]} jobs of, with {wish.posts} posts"
    texts = {wish.text for wish in ledger.wishes}
    for row in evidence.rows.values():
        if row.kind == SYNTHESIS and row.text not in texts:
            yield row.id, "is a job that nobody wanted"


def a_job_is_what_its_owner_asked_for(ledger: Ledger, evidence: Evidence) -> Found:
    wanted = {wish.text: wish for wish in ledger.wishes}
    for row in evidence.rows.values():
        wish = wanted.get(row.text)
        if row.kind != SYNTHESIS or wish is None:
            continue
        is_it = (row.user_id, row.voice_id, row.seed, row.key)
        if is_it != (wish.voice.owner_id, wish.voice.voice_id, wish.seed, wish.key) or (wish.job_id or row.id) != row.id:
            yield row.id, f"is not what wish {wish.number} says"


def a_completed_job_has_its_whole_sound(ledger: Ledger, evidence: Evidence) -> Found:
    for row in _completed(evidence):
        size = evidence.objects.get(row.output_path or "")
        if size is None:
            yield row.id, f"names {row.output_path}, which is not there"
            continue
        if size != row.output_size:
            yield row.id, f"has {size} bytes and says {row.output_size}"
        heard = evidence.heard.get(row.id)
        if heard is None:
            yield row.id, "was not listened to"
        elif heard.problem:
            yield row.id, heard.problem
        elif abs(heard.seconds - heard.wanted_s) > SECONDS or abs(heard.seconds - (row.duration or 0)) > SECONDS:
            yield row.id, f"is {heard.seconds:.3f} s, says {row.duration} s and should be {heard.wanted_s:.3f} s"


def every_sound_is_its_owners(ledger: Ledger, evidence: Evidence) -> Found:
    """Text, voice and seed: any other of these sounds far from what is wanted."""
    for job_id, heard in evidence.heard.items():
        if heard.problem is None and heard.difference > DIFFERENCE:
            yield job_id, f"differs by {heard.difference:.4f} from what its text, voice and seed make"
        if heard.nearest_other is not None and heard.nearest_other <= DIFFERENCE:
            yield job_id, "sounds as it would in another person's voice"
    for wish in ledger.wishes:
        heard_now = evidence.heard.get(wish.job_id or "")
        if heard_now is not None and wish.downloads - {heard_now.digest}:
            yield str(wish.job_id), "was downloaded as something else than it is now"


def a_clone_is_of_its_own_recording(ledger: Ledger, evidence: Evidence) -> Found:
    made = [(wish.clone_id, wish.voice) for wish in ledger.voices] + [(wish.voice.voice_id, wish.voice) for wish in ledger.wishes]
    for clone_id, voice in dict(made).items():
        status, reference = evidence.references.get(clone_id or "", ("", None))
        if status == "ready" and reference != voice.reference:
            yield str(clone_id), "has another reference than its recording makes" if reference else "has no reference"


def rows_and_objects_agree(_ledger: Ledger, evidence: Evidence) -> Found:
    for key in sorted(evidence.objects.keys() - evidence.named.keys()):
        yield key, "is an object that no row names"
    for key in sorted(evidence.named.keys() - evidence.objects.keys()):
        yield key, f"is named by {evidence.named[key]} and not there"
    parts = Counter(row.output_path for row in evidence.rows.values() if row.output_path)
    for key, times in parts.items():
        if times > 1:
            yield key, f"belongs to {times} jobs"


def rows_and_vectors_agree(_ledger: Ledger, evidence: Evidence) -> Found:
    for id_ in sorted(evidence.vectors - evidence.listened_to):
        yield id_, "is in the index of voices and in no row"
    for id_ in sorted(evidence.listened_to - evidence.vectors):
        yield id_, "is not in the index of voices"


def every_stream_came_to_its_end(ledger: Ledger, _evidence: Evidence) -> Found:
    for wish in ledger.wishes:
        if wish.streams_ended != wish.streams:
            yield str(wish.job_id), f"{wish.streams} streams were followed and {wish.streams_ended} ended"
        if wish.gave_up:
            yield str(wish.job_id or f"wish {wish.number}"), f"its owner gave up waiting for {wish.gave_up}"


def ends_were_counted_once(_ledger: Ledger, evidence: Evidence) -> Found:
    """The counters of the voices, kept in the transactions that end jobs, against the steps of the jobs."""
    ended: Counter[str] = Counter()
    voices = {row.id: row.voice_id for row in evidence.rows.values() if row.kind == SYNTHESIS}
    gone = {job_id for job_id, steps in evidence.steps.items() if steps[-1].became is None}
    for job_id, steps in evidence.steps.items():
        if (voice_id := voices.get(job_id)) is not None:
            ended[voice_id] += sum(step.became == COMPLETED for step in steps)
    for voice_id in ended | Counter(evidence.usage):
        missing = evidence.usage.get(voice_id, 0) - ended[voice_id]
        # Whose voice a deleted job had is not known any more.
        if not 0 <= missing <= len(gone):
            yield voice_id, f"has counted {evidence.usage.get(voice_id, 0)} completed jobs, and there were {ended[voice_id]}"


def nothing_leaks(_ledger: Ledger, evidence: Evidence) -> Found:
    for process in evidence.survivors:
        allowed = process.files_at_start + CONNECTIONS + LOOKING + KEPT_ALIVE
        if process.kind in {"api", "worker", "beat", "inference"} and process.files > allowed:
            yield process.name, f"holds {process.files} files; {process.files_at_start} at its start, {process.faults_survived} faults ago"
        if process.left_behind:
            yield process.name, f"{process.left_behind} children of killed processes still run"
    there = evidence.connections
    if there is not None:
        if there.open > there.processes * (CONNECTIONS + LOOKING):
            yield "postgres", f"{there.open} connections of {there.processes} processes"
        if there.idle_in_transaction or there.waiting_for_locks:
            yield "postgres", f"{there.idle_in_transaction} idle in a transaction, {there.waiting_for_locks} waiting for locks"


CHECKS: tuple[Callable[[Ledger, Evidence], Found], ...] = (
    no_accepted_job_is_lost,
    every_job_has_ended,
    every_job_ends_once,
    an_end_that_was_seen_stays,
    one_wish_is_one_job,
    a_job_is_what_its_owner_asked_for,
    a_completed_job_has_its_whole_sound,
    every_sound_is_its_owners,
    a_clone_is_of_its_own_recording,
    rows_and_objects_agree,
    rows_and_vectors_agree,
    every_stream_came_to_its_end,
    ends_were_counted_once,
    nothing_leaks,
)


def problems(ledger: Ledger, evidence: Evidence) -> list[Problem]:
    """Everything that is wrong; empty where all is well."""
    return [Problem(check.__name__, subject, what) for check in CHECKS for subject, what in check(ledger, evidence)]


@dataclass(frozen=True, slots=True)
class Recovery:
    """A job that its holder had left, in seconds from its last sign of life: until it was `taken_back`, and until it was `begun` again.

    One that had no attempts left, or was cancelled, has both with its end.
    """

    taken_back: float
    begun: float


def recoveries(steps: list[Step], lease_s: float) -> list[Recovery]:
    """Those of one job, whose leases were of this length."""
    found = []
    for step, after in pairwise([*steps, None]):
        if step is not None and step.lease_ran_out and step.lease_until is not None:
            left = step.lease_until - lease_s
            begun = step if step.became in FINAL or after is None else after
            found.append(Recovery(step.at - left, begun.at - left))
    return found


def _steps(evidence: Evidence, job_id: str) -> list[str | None]:
    return [step.became for step in evidence.steps.get(job_id, [])]


def _by_job(ledger: Ledger) -> dict[str, Wish]:
    return {job_id: wish for wish in ledger.wishes for job_id in wish.ids}


def _completed(evidence: Evidence) -> Iterator[Row]:
    return (row for row in evidence.rows.values() if row.kind == SYNTHESIS and row.status == COMPLETED)
