"""Each check finds what it is there for: a state in which all is well, spoilt in one place at a time."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from tests.chaos.checks import CHECKS, Problem, Recovery, problems, recoveries
from tests.chaos.evidence import Connections, Evidence, Row, Step, Survivor
from tests.chaos.faults import Fault, Struck
from tests.chaos.ledger import Ledger, Said, Voice, VoiceWish, Wish
from tests.chaos.report import page, summary
from tests.chaos.sounds import Heard, difference, voice_recording
from tests.chaos.storm import Aftermath, Storm

ADA, BEN = Voice("user_ada", "vc_ada", b"ada", "Hello."), Voice("user_ben", "vc_ben", b"ben", "Hello.")


def wish(number: int, voice: Voice = ADA, **known: object) -> Wish:
    made = Wish(number=number, voice=voice, text=f"Tale {number}.", seed=number, format="wav", key=f"key-{number}", manner="watch", posts=1)
    made.accepted(f"job_{number}")
    for name, value in known.items():
        setattr(made, name, value)
    return made


def steps(job_id: str, *became: str | None) -> list[Step]:
    """From nothing over each of these, a second apart, every lease good for long."""
    was = (None, *became)
    return [Step(job_id, before, after, 1, float(at), 100.0) for at, (before, after) in enumerate(zip(was, became, strict=False))]


def row(of: Wish, status: str, **columns: object) -> Row:
    spoken = status == "completed"
    made = Row(
        of.job_id or "", of.voice.owner_id, "synthesis", status, 1, of.text, of.seed, of.voice.voice_id, of.key,
        f"jobs/{of.job_id}/1-abc.wav" if spoken else None, 96_044 if spoken else None, 2.0 if spoken else None, None,
    )  # fmt: skip
    return replace(made, **columns)  # type: ignore[arg-type]


State = tuple[Ledger, Evidence]


def sound_state() -> State:
    """Ada has a job that completed, one that she cancelled and tried again, and one that she deleted; Ben has one whose answer was lost."""
    done = wish(1, streams=1, streams_ended=1, ends=["completed"], downloads={"digest-1"})
    again = wish(2, cancels=Said(1, 1), retries=Said(1, 1), ends=["completed"])
    gone = wish(3, deletes=Said(1, 1), ends=["completed"])
    lost = wish(4, BEN, key=None, job_id=None, ids=set())
    rows = [
        row(done, "completed"),
        row(again, "completed"),
        replace(row(lost, "completed"), id="job_4", output_path="jobs/job_4/1-abc.wav"),
    ]
    evidence = Evidence(
        rows={each.id: each for each in rows},
        steps={
            "job_1": steps("job_1", "pending", "processing", "pending", "processing", "completed"),
            "job_2": steps("job_2", "pending", "cancelled", "pending", "processing", "completed"),
            "job_3": steps("job_3", "pending", "processing", "completed", None),
            "job_4": steps("job_4", "pending", "processing", "completed"),
        },
        objects={each.output_path or "": 96_044 for each in rows},
        named={each.output_path or "": f"jobs {each.id}" for each in rows},
        references={"vc_ada": ("ready", b"ada"), "vc_ben": ("ready", b"ben"), "vc_new": ("ready", b"ada")},
        heard={each.id: Heard(f"digest-{each.id[-1]}", None, 2.0, 2.0, 1e-5, 0.5) for each in rows},
        usage={"vc_ada": 3, "vc_ben": 1},
        listened_to={"vc_ada", "vc_ben", "vc_new"},
        vectors={"vc_ada", "vc_ben", "vc_new"},
        survivors=[Survivor("api-0", "api", 50, 36, 12, 0)],
        connections=Connections(open=20, processes=2, idle_in_transaction=0, waiting_for_locks=0),
    )
    return Ledger([done, again, gone, lost], [VoiceWish(ADA, "vs_new", "vc_new", "ready")]), evidence


def test_a_sound_state_has_no_problems() -> None:
    assert problems(*sound_state()) == []


def change_row(evidence: Evidence, job_id: str, **columns: object) -> None:
    evidence.rows[job_id] = replace(evidence.rows[job_id], **columns)  # type: ignore[arg-type]


def change_heard(evidence: Evidence, job_id: str, **what: object) -> None:
    evidence.heard[job_id] = replace(evidence.heard[job_id], **what)  # type: ignore[arg-type]


Spoil = Callable[[Ledger, Evidence], object]

SPOILT: dict[str, list[tuple[str, Spoil]]] = {
    "no_accepted_job_is_lost": [
        ("its row is gone", lambda _, e: (e.rows.pop("job_1"), e.objects.pop("jobs/job_1/1-abc.wav"), e.named.pop("jobs/job_1/1-abc.wav"))),
        ("never written", lambda w, _: w.wishes.append(wish(9))),
        ("gone, though its deletion was never asked for", lambda w, _: setattr(w.wishes[2], "deletes", Said())),
        ("gone without having been deleted", lambda _, e: e.steps.update(job_3=steps("job_3", "pending", "processing", "completed"))),
        ("a clone that is gone", lambda _, e: e.references.pop("vc_new")),
    ],
    "every_job_has_ended": [
        ("it waits for ever", lambda _, e: change_row(e, "job_1", status="pending")),
        ("it runs for ever", lambda _, e: change_row(e, "job_1", status="processing")),
        ("a clone in the making for ever", lambda _, e: e.references.update(vc_new=("processing", None))),
    ],
    "every_job_ends_once": [
        ("twice", lambda _, e: e.steps.update(job_1=steps("job_1", "pending", "processing", "completed", "completed"))),
        ("completed after its cancel", lambda _, e: e.steps.update(job_1=steps("job_1", "pending", "cancelled", "completed"))),
        (
            "failed after it was completed",
            lambda _, e: e.steps.update(job_1=steps("job_1", "pending", "processing", "completed", "failed")),
        ),
        (
            "run again by itself after it had ended",
            lambda _, e: e.steps.update(job_1=steps("job_1", "pending", "cancelled", "pending", "processing", "completed")),
        ),
        ("cancelled by nobody", lambda w, _: setattr(w.wishes[1], "cancels", Said())),
        ("a cancel that was granted and did nothing", lambda w, _: setattr(w.wishes[0], "cancels", Said(1, 1))),
        ("another end than its last step", lambda _, e: change_row(e, "job_1", status="failed")),
        ("a step from another state than it was in", lambda _, e: e.steps["job_1"].pop(2)),
    ],
    "an_end_that_was_seen_stays": [
        ("seen as failed before", lambda w, _: w.wishes[0].ends.insert(0, "failed")),
        ("seen as cancelled and completed", lambda _, e: change_row(e, "job_1", status="cancelled")),
    ],
    "one_wish_is_one_job": [
        ("two jobs of one wish", lambda w, e: e.rows.update(job_9=row(wish(1, job_id="job_9"), "failed"))),
        ("two answers", lambda w, _: w.wishes[0].ids.add("job_9")),
        ("a job of nobody", lambda _, e: e.rows.update(job_9=row(wish(9), "failed"))),
    ],
    "a_job_is_what_its_owner_asked_for": [
        ("another owner", lambda _, e: change_row(e, "job_1", user_id=BEN.owner_id)),
        ("another voice", lambda _, e: change_row(e, "job_1", voice_id=BEN.voice_id)),
        ("another seed", lambda _, e: change_row(e, "job_1", seed=99)),
        ("another key", lambda _, e: change_row(e, "job_1", key="key-99")),
        ("another id than was answered", lambda _, e: change_row(e, "job_1", id="job_99")),
    ],
    "a_completed_job_has_its_whole_sound": [
        ("its object is gone", lambda _, e: e.objects.pop("jobs/job_1/1-abc.wav")),
        ("it names none", lambda _, e: change_row(e, "job_1", output_path=None)),
        ("half of it", lambda _, e: e.objects.update({"jobs/job_1/1-abc.wav": 48_000})),
        ("not listened to", lambda _, e: e.heard.pop("job_1")),
        ("not to be decoded", lambda _, e: change_heard(e, "job_1", problem="cannot be decoded")),
        ("too short", lambda _, e: change_heard(e, "job_1", seconds=1.9)),
        ("of another length than the row says", lambda _, e: change_row(e, "job_1", duration=1.9)),
    ],
    "every_sound_is_its_owners": [
        ("another sound of the same length", lambda _, e: change_heard(e, "job_1", difference=0.2)),
        ("another person's voice", lambda _, e: change_heard(e, "job_1", nearest_other=1e-5)),
        ("downloaded as something else", lambda w, _: w.wishes[0].downloads.add("digest-2")),
    ],
    "a_clone_is_of_its_own_recording": [
        ("somebody else's", lambda _, e: e.references.update(vc_new=("ready", b"ben"))),
        ("one that changed", lambda _, e: e.references.update(vc_ada=("ready", b"ben"))),
        ("no reference", lambda _, e: e.references.update(vc_new=("ready", None))),
    ],
    "rows_and_objects_agree": [
        ("an object that nothing names", lambda _, e: e.objects.update({"jobs/job_1/2-def.wav": 1})),
        ("a name without an object", lambda _, e: e.named.update({"samples/vs_1/prepared.wav": "samples vs_1"})),
        ("one object of two jobs", lambda _, e: change_row(e, "job_2", output_path="jobs/job_1/1-abc.wav")),
    ],
    "rows_and_vectors_agree": [
        ("one too many", lambda _, e: e.vectors.add("vc_gone")),
        ("one too few", lambda _, e: e.vectors.discard("vc_ben")),
    ],
    "every_stream_came_to_its_end": [
        ("one that did not", lambda w, _: setattr(w.wishes[0], "streams_ended", 0)),
        ("a client that gave up", lambda w, _: setattr(w.wishes[0], "gave_up", "the job's end")),
    ],
    "ends_were_counted_once": [
        ("twice", lambda _, e: e.usage.update(vc_ben=3)),
        ("not at all", lambda _, e: e.usage.pop("vc_ben")),
    ],
    "nothing_leaks": [
        ("files", lambda _, e: e.survivors.append(Survivor("api-1", "api", 200, 36, 12, 0))),
        ("processes", lambda _, e: e.survivors.append(Survivor("api-1", "api", 40, 36, 12, 1))),
        ("connections", lambda _, e: setattr(e, "connections", Connections(41, 2, 0, 0))),
        ("a transaction", lambda _, e: setattr(e, "connections", Connections(20, 2, 1, 0))),
        ("a lock", lambda _, e: setattr(e, "connections", Connections(20, 2, 0, 1))),
    ],
}


@pytest.mark.parametrize(("check", "how", "spoil"), [(check, *spoilt) for check, ways in SPOILT.items() for spoilt in ways])
def test_a_check_finds_what_it_is_there_for(check: str, how: str, spoil: Spoil) -> None:
    ledger, evidence = copy.deepcopy(sound_state())
    spoil(ledger, evidence)
    assert check in {problem.check for problem in problems(ledger, evidence)}, how


def test_every_check_is_tried() -> None:
    assert [check.__name__ for check in CHECKS] == list(SPOILT)


def test_recovery_counts_from_the_last_sign_of_life_to_the_next_claim() -> None:
    taken_back = [
        Step("job_1", None, "pending", 0, 0.0, None),
        Step("job_1", "pending", "processing", 1, 1.0, None),
        Step("job_1", "processing", "pending", 1, 21.0, 20.0),
        Step("job_1", "pending", "processing", 2, 23.0, None),
        Step("job_1", "processing", "completed", 2, 25.0, 28.0),
    ]
    assert recoveries(taken_back, lease_s=5.0) == [Recovery(6.0, 8.0)]


def test_a_job_that_is_given_up_has_recovered_with_its_end() -> None:
    given_up = [
        Step("job_1", "pending", "processing", 3, 1.0, None),
        Step("job_1", "processing", "failed", 3, 21.5, 20.0),
        Step("job_1", "failed", None, 3, 60.0, None),
    ]
    assert recoveries(given_up, lease_s=5.0) == [Recovery(6.5, 6.5)]


def test_what_its_holder_gave_back_was_not_left_behind() -> None:
    given_back = [Step("job_1", "processing", "pending", 1, 3.0, 8.0), Step("job_1", "pending", "processing", 1, 9.0, None)]
    assert recoveries(given_back, lease_s=5.0) == []


def test_two_sounds_differ_by_their_largest_sample_and_by_their_length() -> None:
    one = np.array([0.0, 0.5, -0.5], dtype=np.float32)
    assert difference(one, one) == 0.0
    assert difference(one, np.array([0.0, 0.5, -0.75], dtype=np.float32)) == 0.25
    assert difference(one, one[:2]) == 1.0


def test_every_person_has_a_recording_of_their_own() -> None:
    recordings = [voice_recording(number) for number in range(8)]
    assert len({len(each) for each in recordings}) == len(recordings)
    assert all(soundfile.info(io.BytesIO(each)).duration > 3 for each in recordings)


def test_a_report_says_what_is_wrong_and_what_was_done() -> None:
    ledger, evidence = sound_state()
    after = Aftermath(Storm(seed=1, kills=1, jobs=4), ledger, evidence, "A house", [Struck(Fault("api-0", "kill", 1.0, 0.1), 2.0, 3.5)])
    found = summary(after)
    assert (found["kills"], found["jobs"]["completed"], found["jobs"]["deleted"], found["problems"]) == ({"api-0": 1}, 3, 1, [])
    assert "Nothing was lost." in page(found)
    after.problems = [Problem("every_job_has_ended", "job_1", "is still pending (synthesis, attempt 1)")]
    assert "every_job_has_ended: job_1: is still pending" in page(summary(after))
    assert "Nothing was lost." not in page(summary(after))
