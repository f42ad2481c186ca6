"""The simulation of a day: it loses no job, agrees with what theory says of simple cases, and scales by the rules of Kubernetes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import autoscale_capacity
from benchmarks.autoscale import BY_AGE, BY_REQUESTS, REPLICAS, WORKERS, scenarios, simulate, traffic_for
from benchmarks.autoscale_model import ServiceTime, fitted
from benchmarks.autoscale_scaler import AGE, BUSY, BUSY_WINDOW_S, JOBS, MANIFESTS, PERIOD_S, REQUESTS, Rule, Scaler, rule_of
from benchmarks.autoscale_simulation import Outcome, Plant, Simulation
from benchmarks.autoscale_traffic import Arrival, Burst, Traffic, arrivals, chunks

SERVICE = ServiceTime(0.1, 0.4, "made up")
QUIET = Traffic(jobs=2000, seconds=20_000, night=1.0, bursts=())


def by_requests(minimum: int, maximum: int, target: float, down_window_s: float = 300) -> Rule:
    return Rule(minimum, maximum, {REQUESTS: target}, down_window_s)


def decided(scaler: Scaler, at_s: float, requests: float, current: int) -> int:
    return scaler.decide(at_s, {REQUESTS: requests}, current)


def plant(workers: Rule | None = None, replicas: Rule | None = None, **other: float) -> Plant:
    return replace(Plant(workers or Rule.fixed(2), replicas or Rule.fixed(2), SERVICE), **other)


def run(served_by: Plant, jobs: list[Arrival]) -> Outcome:
    return Simulation(served_by).run(jobs)


class TestServiceTime:
    def test_gives_back_the_throughput_that_it_was_fitted_to(self, tmp_path: Path) -> None:
        rows = [{"contender": "voxify", "concurrency": n, "audio_s_per_s": speed} for n, speed in ((1, 2.5), (8, 4.0))]
        told = {"architecture": "small", "type": "float32", "device": "a device", "steps": 16}
        (tmp_path / "result.json").write_text(json.dumps(told | {"rows": rows}))
        service = fitted(tmp_path / "result.json")
        assert 4 / service.of([4]) == pytest.approx(2.5)
        assert 32 / service.of([4] * 8) == pytest.approx(4.0)
        assert "a device" in service.source

    def test_refuses_a_result_with_one_point(self, tmp_path: Path) -> None:
        (tmp_path / "result.json").write_text(json.dumps({"rows": [{"contender": "voxify", "concurrency": 1, "audio_s_per_s": 2}]}))
        with pytest.raises(ValueError, match="with more"):
            fitted(tmp_path / "result.json")

    def test_the_committed_result_can_be_used(self) -> None:
        service = fitted()
        assert 0 < service.a_batch_s < 1
        assert 0.1 < service.a_second_s < 1

    def test_an_assumption_is_named(self) -> None:
        assert SERVICE.faster(10).of([1]) == pytest.approx(0.05)
        assert "assumed to be 10 times as fast" in SERVICE.faster(10).source


class TestTraffic:
    def test_the_same_seed_is_the_same_day(self) -> None:
        assert arrivals(QUIET, 5) == arrivals(QUIET, 5)
        assert arrivals(QUIET, 5) != arrivals(QUIET, 6)

    def test_as_many_jobs_as_expected_in_order(self) -> None:
        day = Traffic(jobs=10_000, bursts=[Burst(3600, 600, 500)])
        jobs = arrivals(day, 1)
        assert abs(len(jobs) - 10_500) < 4 * 10_500**0.5
        assert [job.at_s for job in jobs] == sorted(job.at_s for job in jobs)
        assert sum(3600 <= job.at_s < 4200 for job in jobs) > 400

    def test_nights_are_quiet(self) -> None:
        day = Traffic(night=0.1, bursts=())
        assert day.rate(day.busiest_s - 43_200) == pytest.approx(0.1 * day.rate(day.busiest_s))

    @given(st.floats(0.1, 600))
    def test_chunks_keep_the_length(self, sound_s: float) -> None:
        assert sum(chunks(sound_s)) == pytest.approx(sound_s)
        assert max(chunks(sound_s)) <= 6.0 + 1e-9


class TestScaler:
    def test_the_metric_over_the_target_rounded_up(self) -> None:
        assert decided(Scaler(by_requests(1, 10, 8)), 0, 33, 2) == 5

    def test_of_several_metrics_the_one_that_wants_most(self) -> None:
        scaler = Scaler(Rule(1, 10, {REQUESTS: 8, BUSY: 65}))
        assert scaler.decide(0, {REQUESTS: 33, BUSY: 100}, 2) == 5
        assert scaler.decide(15, {REQUESTS: 33, BUSY: 400}, 5) == 7

    def test_nothing_within_a_tenth(self) -> None:
        assert decided(Scaler(by_requests(1, 10, 8)), 0, 17, 2) == 2
        assert decided(Scaler(by_requests(1, 10, 8)), 0, 18, 2) == 3

    @pytest.mark.parametrize(("current", "expected"), [(1, 5), (4, 8), (6, 12), (20, 30)])
    def test_at_most_twice_as_many_or_four_more(self, current: int, expected: int) -> None:
        assert decided(Scaler(by_requests(1, 30, 1)), 0, 1000, current) == expected

    def test_fewer_only_after_the_window(self) -> None:
        scaler = Scaler(by_requests(1, 10, 1, down_window_s=300))
        assert decided(scaler, 0, 6, 6) == 6
        assert {decided(scaler, at, 2, 6) for at in range(15, 300, 15)} == {6}
        assert decided(scaler, 300, 2, 6) == 2

    def test_a_peak_within_the_window_holds_the_replicas(self) -> None:
        scaler = Scaler(by_requests(1, 10, 1, down_window_s=300))
        decided(scaler, 0, 6, 6)
        decided(scaler, 150, 4, 6)
        assert decided(scaler, 315, 1, 6) == 4

    @given(st.lists(st.floats(0, 1e4), min_size=1, max_size=60), st.integers(1, 4), st.integers(0, 6))
    def test_never_outside_its_bounds(self, metrics: list[float], least: int, more: int) -> None:
        rule = by_requests(least, least + more, 8)
        scaler, current = Scaler(rule), least
        for number, metric in enumerate(metrics):
            current = decided(scaler, number * PERIOD_S, metric, current)
            assert rule.minimum <= current <= rule.maximum

    def test_rules_are_those_that_are_deployed(self) -> None:
        assert rule_of(REPLICAS).targets.keys() == {BUSY, REQUESTS}
        assert rule_of(WORKERS).targets.keys() == {JOBS}
        assert rule_of("voxify-worker-background").targets == {AGE: 300}
        assert rule_of(WORKERS).down_window_s == 300  # Kubernetes' own
        assert rule_of(WORKERS).minimum >= 1
        assert f"[{BUSY_WINDOW_S / 60:g}m]" in (MANIFESTS / "inference.yaml").read_text()
        with pytest.raises(LookupError):
            rule_of("nobody")

    def test_a_rule_that_cannot_be_simulated_is_refused(self, tmp_path: Path) -> None:
        text = (MANIFESTS / "inference.yaml").read_text().replace("bentoml_service_request_in_progress", "voxify_inference_in_flight")
        (tmp_path / "inference.yaml").write_text(text)
        with pytest.raises(LookupError, match="voxify_inference_in_flight"):
            rule_of(REPLICAS, tmp_path)

    def test_the_slots_of_a_worker_are_more_than_the_jobs_it_is_wanted_for(self) -> None:
        assert rule_of(WORKERS).targets[JOBS] < Plant(BY_AGE, BY_REQUESTS, SERVICE).slots


class TestSimulation:
    @settings(max_examples=30, deadline=None)
    @given(
        gaps=st.lists(st.tuples(st.floats(0, 60), st.floats(0.5, 200)), min_size=1, max_size=60),
        most=st.integers(1, 5),
        start_s=st.floats(1, 400),
    )
    def test_no_job_is_lost_whatever_comes_and_goes(self, gaps: list[tuple[float, float]], most: int, start_s: float) -> None:
        at, jobs = 0.0, []
        for gap, sound_s in gaps:
            at += gap
            jobs.append(Arrival(at, chunks(sound_s)))
        workers, replicas = Rule(1, most, {AGE: 5, JOBS: 3}, 30), Rule(1, most, {REQUESTS: 2, BUSY: 65}, 30)
        scaled = plant(workers, replicas, replica_start_s=start_s, admitted=3)
        outcome = run(scaled, jobs)
        assert (outcome.arrived, outcome.completed, outcome.unfinished) == (len(jobs), len(jobs), 0)
        assert len(outcome.waited) == len(outcome.turnaround) == len(jobs)
        assert outcome.sound_s == pytest.approx(sum(sum(job.chunks) for job in jobs))
        assert outcome.busy_s <= outcome.replica_s + 1e-6

    def test_littles_law(self) -> None:
        outcome = run(plant(), arrivals(QUIET, 3))
        rate, in_system = outcome.arrived / outcome.ended_s, outcome.job_seconds / outcome.ended_s
        assert in_system == pytest.approx(rate * mean(outcome.turnaround), rel=1e-6)

    def test_waiting_before_one_server_is_as_theory_says(self) -> None:
        # M/D/1: service of 0.1 + 0.4 * 2 = 0.9 s, jobs of one chunk, one at a time; waiting is rho * s / 2 / (1 - rho).
        traffic = Traffic(jobs=60_000, seconds=90_000, night=1.0, median_s=2.0, spread=0.0, bursts=())
        outcome = run(plant(Rule.fixed(1), Rule.fixed(1), slots=1), arrivals(traffic, 2))
        load = 0.9 * 60_000 / 90_000
        assert mean(outcome.waited) == pytest.approx(load * 0.9 / 2 / (1 - load), rel=0.05)
        assert outcome.busy_s / outcome.replica_s == pytest.approx(load, rel=0.02)

    def test_batches_share_what_a_batch_costs(self) -> None:
        jobs = [Arrival(0.0, (2.0,)) for _ in range(17)]
        alone = run(plant(Rule.fixed(20), Rule.fixed(1), batch=1), jobs)
        together = run(plant(Rule.fixed(20), Rule.fixed(1), batch=16), jobs)
        assert alone.busy_s == pytest.approx(17 * 0.9)
        assert together.busy_s == pytest.approx(0.9 + 0.1 + 16 * 0.8)

    def test_a_new_replica_works_only_after_its_start(self) -> None:
        jobs = [Arrival(number * 0.5, (3.0, 6.0, 6.0)) for number in range(400)]
        fast, slow = (run(plant(Rule.fixed(10), by_requests(1, 6, 4), replica_start_s=start), jobs) for start in (5.0, 300.0))
        assert fast.started > 0
        assert mean(fast.turnaround) < mean(slow.turnaround)

    def test_replicas_that_are_not_wanted_go(self) -> None:
        rush = [Arrival(number * 0.1, (6.0,)) for number in range(300)]
        later = [Arrival(20_000.0, (1.0,))]
        outcome = run(plant(Rule.fixed(10), by_requests(1, 6, 4)), rush + later)
        assert outcome.most_replicas > 1
        assert outcome.replica_s < 1.3 * outcome.ended_s

    def test_what_a_replica_refuses_is_said_later(self) -> None:
        outcome = run(plant(Rule.fixed(20), Rule.fixed(1), admitted=4), [Arrival(0.0, (3.0, 6.0, 6.0))] * 20)
        assert outcome.refused > 0
        assert outcome.completed == 20

    def test_what_does_not_get_done_is_told(self) -> None:
        outcome = run(plant(Rule.fixed(1), Rule.fixed(1)), [Arrival(0.0, chunks(600.0))] * 100)
        assert outcome.unfinished > 0
        assert outcome.arrived == outcome.completed + outcome.unfinished == 100

    def test_replicas_follow_what_they_compute(self) -> None:
        # Jobs of one chunk, 0.9 s each, 1.4 a second: 1.26 replicas are busy.
        jobs = [Arrival(number / 1.4, (2.0,)) for number in range(3000)]
        outcome = run(plant(Rule.fixed(2), Rule(1, 8, {BUSY: 45}), batch=1), jobs)
        assert outcome.most_replicas == 3


def test_the_rules_of_the_chart_keep_the_queue_young_for_half_of_the_hours() -> None:
    """On a day that they were not chosen on."""
    plants, days = scenarios(fitted()), {7: arrivals(Traffic(), 7)}
    chart, simpler = (simulate(plants[name], days) for name in ("chart, start 60 s", "both"))
    assert chart["queue_age_p95_s"] <= 30
    assert chart["replica_hours"] < 0.5 * 24 * rule_of(REPLICAS).maximum
    assert chart["turnaround_p95_s"] < 0.7 * simpler["turnaround_p95_s"]
    assert chart["replica_hours"] < 1.3 * simpler["replica_hours"]
    assert chart["unfinished"] == 0


def test_scaling_saves_replicas_and_costs_waiting() -> None:
    days = {1: arrivals(traffic_for(3000, 1.0), 1)}
    rows = {name: simulate(served_by, days) for name, served_by in scenarios(fitted()).items()}
    most, chart = rows["always the most"], rows["chart, start 60 s"]
    assert chart["replica_hours"] < most["replica_hours"] / 2
    assert chart["turnaround_p95_s"] >= most["turnaround_p95_s"]
    assert {row["unfinished"] for row in rows.values()} == {0}


class TestCapacity:
    def test_the_bundled_voice_is_taken_from_its_quiet_measurement(self) -> None:
        assert 1 / autoscale_capacity.bundled().a_second_s == pytest.approx(1 / 0.3145, rel=0.3)

    def test_the_rate_that_is_found_is_carried_and_a_higher_one_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(autoscale_capacity, "JOBS", 400)
        one = plant(Rule.fixed(4), Rule.fixed(1))
        carried = autoscale_capacity.most_jobs_a_minute(one)
        assert carried > 0
        assert autoscale_capacity.turnaround_p95_s(one, carried, 1) <= autoscale_capacity.TURNAROUND_S
        assert autoscale_capacity.turnaround_p95_s(one, 2 * carried, 1) > autoscale_capacity.TURNAROUND_S
        assert autoscale_capacity.most_jobs_a_minute(replace(one, replicas=Rule.fixed(2))) > 1.5 * carried
