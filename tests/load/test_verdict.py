"""Events to numbers, and numbers to a verdict: what is over a limit, and what was never measured, does not pass."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_tests.events import ROUND, Event, EventLog, Outcome, read, refusal_s
from load_tests.profiles import PROFILES, REQUESTS_MS, WAITS_MS, Limit, Profile, Stage
from load_tests.verdict import Server, failures, judge, percentile, rows
from tests.servers import ROOT


def event(name: str = "POST /job", ms: float = 100.0, outcome: Outcome = "ok", journey: str = "JobUser", at: float = 1.0) -> Event:
    return Event(at, journey, name, ms, outcome, "why" if outcome == "failed" else "")


class TestEvents:
    def test_come_back_as_they_were_written(self, tmp_path: Path) -> None:
        written = [event(), event(outcome="failed"), event("job", 12.5, at=2.25)]
        log = EventLog(tmp_path / "events")
        for each in written:
            log.add(each)
        assert read(tmp_path / "events") == written

    def test_a_line_that_was_cut_off_is_left_out(self, tmp_path: Path) -> None:
        EventLog(tmp_path / "events").add(event())
        with (tmp_path / "events").open("a") as file:
            file.write('{"at": 1, "jour')
        assert read(tmp_path / "events") == [event()]
        assert read(tmp_path / "nothing") == []

    @pytest.mark.parametrize(
        ("status", "told", "pause"), [(429, "7", 7.0), (503, "30", 30.0), (503, None, None), (429, "soon", None), (500, "7", None)]
    )
    def test_only_a_refusal_with_a_time_is_one(self, status: int, told: str | None, pause: float | None) -> None:
        assert refusal_s(status, told) == pause


class TestRows:
    def test_times_are_those_of_good_answers(self) -> None:
        (row,) = rows([event(ms=10), event(ms=20), event(ms=9000, outcome="failed"), event(ms=1, outcome="refused")])
        assert (row.count, row.failed, row.refused) == (4, 1, 1)
        assert (row.p50_ms, row.p95_ms, row.most_ms) == (10, 20, 20)

    @given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
    def test_so_many_do_not_exceed_the_percentile(self, values: list[float], share: float) -> None:
        found = percentile(values, share)
        assert found in values
        assert sum(value <= found for value in values) >= share * len(values) - 1e-6

    def test_the_most_frequent_failures_come_first(self) -> None:
        told = failures([event(outcome="failed"), event("job", outcome="failed"), event("job", outcome="failed"), event()])
        assert told == [("JobUser: job: why", 2), ("JobUser: POST /job: why", 1)]


class TestJudge:
    @pytest.mark.parametrize(
        ("limit", "passed"),
        [
            (Limit("JobUser", "errors", 0.25), True),
            (Limit("JobUser", "errors", 0.24), False),
            (Limit("JobUser", "refusals", 0.25), True),
            (Limit("JobUser", "refusals", 0.2), False),
            (Limit("JobUser", "p95_ms", 100, "POST /job"), True),
            (Limit("JobUser", "p95_ms", 99, "POST /job"), False),
            (Limit("JobUser", "rounds", 1), True),
            (Limit("JobUser", "rounds", 2), False),
        ],
    )
    def test_each_measure_has_its_limit(self, limit: Limit, passed: bool) -> None:
        happened = [event(), event(outcome="failed"), event(outcome="refused"), event(ROUND)]
        (verdict,) = judge([limit], happened)
        assert verdict.passed is passed

    @pytest.mark.parametrize(
        "limit", [Limit("Browser", "errors", 1), Limit("JobUser", "p95_ms", 1e9, "job"), Limit("Browser", "rounds", 1)]
    )
    def test_what_was_not_measured_does_not_pass(self, limit: Limit) -> None:
        (verdict,) = judge([limit], [event(), event("job", outcome="failed")])
        assert not verdict.passed

    def test_a_round_that_failed_is_an_error_and_no_round(self) -> None:
        told = judge([Limit("JobUser", "rounds", 1), Limit("JobUser", "errors", 0)], [event(ROUND, outcome="failed")])
        assert [verdict.passed for verdict in told] == [False, False]

    def test_others_do_not_count(self) -> None:
        (verdict,) = judge([Limit("JobUser", "errors", 0)], [event(), event(outcome="failed", journey="Browser")])
        assert verdict.passed

    def test_patience_is_for_times_alone(self) -> None:
        limits = [Limit("JobUser", "p95_ms", 30, "POST /job"), Limit("JobUser", "errors", 0.2)]
        told = judge(limits, [event(), event(outcome="failed")], patience=4)
        assert [(verdict.allowed, verdict.passed) for verdict in told] == [(120, True), (0.2, False)]

    @pytest.mark.parametrize(("last", "passed"), [(219.0, True), (222.0, False)])
    def test_memory_is_that_of_the_end_against_that_when_caches_are_full(self, last: float, passed: bool) -> None:
        # The start is lower, and a moment is no trend.
        api = [90.0] * 10 + [200.0] * 29 + [900.0] + [last] * 10
        servers = [Server(11.0 * look, mb, 500.0, 0.4, 1.2, 2.0) for look, mb in enumerate(api)]
        told = judge([Limit("API", "memory", 1.1), Limit("inference", "memory", 1.1)], [event()], servers)
        assert [verdict.passed for verdict in told] == [passed, True]
        assert told[0].measured == last / 200

    def test_memory_that_was_not_looked_at_for_long_is_no_verdict(self) -> None:
        limit = Limit("API", "memory", 1.1)
        assert judge([limit], [event()]) == []
        short = [Server(float(look), 200.0 * (1 + look), 500.0, 0.4, 1.2, 2.0) for look in range(400)]
        assert judge([limit], [event()], short) == []


class TestProfiles:
    def test_stages_follow_one_another(self) -> None:
        profile = Profile("made up", [Stage(10, 4, 1), Stage(5, 40, 8)], [])
        assert [stage and stage.users for stage in map(profile.at, (0, 9.9, 10, 14.9, 15))] == [4, 4, 40, 40, None]

    def test_a_longer_run_keeps_its_shape(self) -> None:
        longer = PROFILES["spike"].lasting(720)
        assert longer.seconds == pytest.approx(720)
        assert [stage.users for stage in longer.stages] == [stage.users for stage in PROFILES["spike"].stages]
        assert longer.stages[0].seconds == pytest.approx(240)

    def test_more_or_fewer_people_are_of_all_kinds(self) -> None:
        spike = PROFILES["spike"]
        for people, users in ((640, [160, 640, 160]), (40, [10, 40, 10]), (8, [8, 8, 8])):
            assert [stage.users for stage in spike.among(people).stages] == users
        assert [stage.rate for stage in spike.among(640).stages] == [10 * stage.rate for stage in spike.stages]
        with pytest.raises(ValueError, match="at least 8"):
            spike.among(7)

    def test_everybody_in_the_mix_has_a_journey(self) -> None:
        # Read and not imported: locust would replace the sockets of this process.
        module = ast.parse((ROOT / "load_tests" / "journeys.py").read_text(encoding="utf-8"))
        written = {node.name for node in module.body if isinstance(node, ast.ClassDef)} - {"Speaker"}
        assert {frozenset(profile.mix) for profile in PROFILES.values()} == {frozenset(written)}

    @pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
    def test_each_judges_every_journey(self, profile: Profile) -> None:
        for measure in ("errors", "refusals", "rounds", "p95_ms"):
            assert {limit.journey for limit in profile.limits if limit.measure == measure} == set(profile.mix)
        assert {(limit.journey, limit.name) for limit in profile.limits if limit.measure == "p95_ms"} == set(WAITS_MS | REQUESTS_MS)
        assert min(stage.users for stage in profile.stages) >= sum(profile.mix.values())  # or somebody would never come
