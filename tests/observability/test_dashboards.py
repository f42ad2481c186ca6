"""Alerts and dashboards: what they ask for is there, and the alerts fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, CollectorRegistry

from api.health.metrics import Metrics
from tests.servers import ROOT, need

FOLDER = ROOT / "deploy" / "observability"
RULES = FOLDER / "rules" / "voxify.yml"
RULES_TEST = ROOT / "tests" / "observability" / "rules_test.yml"
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
# Prometheus' own, and what it adds to every series.
PROMETHEUS_METRICS = {"up": set[str]()}
PROMETHEUS_LABELS = {"job", "instance"}

_METRIC = re.compile(r"\b(up|(?:voxify|process|bentoml)_[a-z0-9_]+)\b(?:\{([^}]*)\})?")
_BY = re.compile(r"\bby \(([^)]*)\)")


def exported() -> dict[str, set[str]]:
    """Every series that the tiers export, and its labels."""
    import inference.metrics  # noqa: F401 - registers its own

    found: dict[str, set[str]] = dict(PROMETHEUS_METRICS)
    for registry in (Metrics().registry, REGISTRY):
        found |= _series(registry)
    return found


def _series(registry: CollectorRegistry) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for collector, names in registry._collector_to_names.items():
        labels = set(getattr(collector, "_labelnames", ()))
        for name in names:
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield f"{path.stem}: {panel['title']}", target["expr"]


@pytest.mark.parametrize(("where", "expression"), [pytest.param(*each, id=each[0]) for each in expressions()])
def test_every_metric_and_label_that_is_asked_for_is_exported(where: str, expression: str) -> None:
    there = exported()
    asked = _METRIC.findall(expression)
    assert asked
    known = set(PROMETHEUS_LABELS)
    for name, selectors in asked:
        assert name in there, name
        named = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selectors))
        assert named <= there[name] | PROMETHEUS_LABELS, name
        known |= there[name]
    for labels in _BY.findall(expression):
        assert {label.strip() for label in labels.split(",")} <= known


def test_a_metric_that_is_not_there_would_be_noticed() -> None:
    with pytest.raises(AssertionError, match="voxify_nothing"):
        test_every_metric_and_label_that_is_asked_for_is_exported("", "rate(voxify_nothing_total[5m])")
    with pytest.raises(AssertionError):
        test_every_metric_and_label_that_is_asked_for_is_exported("", 'voxify_queue_depth{colour="red"}')
    with pytest.raises(AssertionError):
        test_every_metric_and_label_that_is_asked_for_is_exported("", "sum by (colour) (voxify_queue_depth)")


def test_every_metric_of_ours_is_shown_somewhere() -> None:
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for _, expression in expressions() for name, _ in _METRIC.findall(expression)}
    ours = {name for name in exported() if name.startswith("voxify_") and not name.endswith("_created")}
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours}
    # A counter is known by its name with and without `_total`.
    assert {base for base in bases if base not in shown and f"{base}_total" not in shown} == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_whole(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels if panel["type"] != "row")
    places = [panel["gridPos"] for panel in panels]
    squares = {(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])}
    assert len(squares) == sum(p["w"] * p["h"] for p in places), "panels overlap"
    assert max(x for x, _ in squares) < 24


def promtool(*arguments: str) -> str:
    program = shutil.which("promtool")
    need(program, "promtool")
    assert program is not None
    done = subprocess.run([program, *arguments], check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_sound() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(RULES))


def test_the_rules_fire_when_they_should() -> None:
    promtool("test", "rules", str(RULES_TEST))
    fires: dict[str, set[bool]] = {}
    for test in yaml.safe_load(RULES_TEST.read_text())["tests"]:
        for expected in test["alert_rule_test"]:
            fires.setdefault(expected["alertname"], set()).add(bool(expected["exp_alerts"]))
    assert fires == {rule["alert"]: {True, False} for rule in rules()}


def test_every_alert_is_explained() -> None:
    explained = (ROOT / "docs" / "observability.md").read_text()
    assert [rule["alert"] for rule in rules() if f"`{rule['alert']}`" not in explained] == []


def test_the_collector_example_is_wired() -> None:
    collector = yaml.safe_load((FOLDER / "otel-collector.yaml").read_text())
    pipeline = collector["service"]["pipelines"]["traces"]
    for part in ("receivers", "processors", "exporters"):
        assert set(pipeline[part]) == set(collector[part])
