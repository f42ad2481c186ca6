"""The report: everything is in it, nothing is fetched, and what came from outside cannot act in it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_tests.events import ROUND, Event
from load_tests.plots import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, plot, top_of
from load_tests.profiles import Limit
from load_tests.report import as_json, page
from load_tests.verdict import Server, judge

TOLD = {"profile": "smoke", "machine": "two cores"}
EVENTS = [
    Event(100.0 + second, journey, name, 50.0 + second, users=8)
    for second in range(60)
    for journey, name in (("JobUser", "POST /job"), ("Browser", "GET /voice/models"), ("JobUser", ROUND))
]
SERVERS = [Server(100.0 + second, 200.0, 900.0, 0.4, 1.2, 2.0) for second in range(0, 60, 2)]
LIMITS = [Limit("JobUser", "p95_ms", 1000, "POST /job"), Limit("JobUser", "errors", 0)]


def report(events: list[Event] = EVENTS, servers: list[Server] = SERVERS, told: dict[str, Any] = TOLD) -> str:
    return page(told, events, judge(LIMITS, events), servers)


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "action", "data"}]


def test_nothing_is_fetched_and_nothing_runs() -> None:
    links = Links()
    links.feed(report())
    assert not links.addresses
    assert not links.tags & {"script", "link", "iframe", "img"}
    assert "url(" not in report()
    assert "@import" not in report()


def test_what_was_measured_is_in_the_page() -> None:
    told = report()
    assert "passed" in told
    assert "POST /job" in told
    assert "two cores" in told
    assert told.count("<svg") == 5
    assert report(servers=[]).count("<svg") == 3


def test_a_failure_is_said_with_its_reason() -> None:
    told = report([*EVENTS, Event(120.0, "JobUser", "POST /job", 9.0, "failed", "500 of all things")])
    assert "Load test “smoke”: failed" in told
    assert "500 of all things" in told


def test_text_from_answers_is_escaped() -> None:
    told = report([*EVENTS, Event(120.0, "JobUser", "POST /<b>", 9.0, "failed", "<script>alert(1)</script>")])
    assert "<script>" not in told
    assert "&lt;script&gt;" in told
    assert "POST /<b>" not in told


def test_a_run_without_events_has_a_page_too() -> None:
    told = report([])
    assert "Nothing was measured" in told
    assert "failed" in told


def test_json_says_the_same() -> None:
    told = json.loads(json.dumps(as_json(TOLD, EVENTS, judge(LIMITS, EVENTS), SERVERS)))
    assert told["passed"] is True
    assert told["profile"] == "smoke"
    assert {(row["journey"], row["name"], row["count"]) for row in told["rows"]} >= {("JobUser", "POST /job", 60)}
    assert len(told["servers"]) == len(SERVERS)


@given(st.floats(1e-6, 1e9))
def test_an_axis_ends_just_above(value: float) -> None:
    assert value <= top_of(value) <= value * 5.01


@pytest.mark.parametrize("points", [[], [(0.0, 0.0)], [(0.0, 3.0), (10.0, 7.0)]])
def test_a_plot_stays_in_its_frame(points: list[tuple[float, float]]) -> None:
    drawn = ElementTree.fromstring(plot("<title>", {"a & b": points}, "s"))
    line = drawn.find(".//polyline")
    assert (line is None) == (not points)
    if line is not None:
        for x, y in re.findall(r"([\d.]+),([\d.]+)", line.get("points", "")):
            assert LEFT <= float(x) <= WIDTH - RIGHT
            assert TOP <= float(y) <= HEIGHT - BOTTOM


def test_what_stands_at_the_ends_of_the_axes_is_not_cut_off() -> None:
    drawn = ElementTree.fromstring(plot("memory", {"API": [(0.0, 1.0), (86_400.0, 12_345.0)]}, "MB"))
    for text in drawn.iter("text"):
        x, length = float(text.get("x", "")), 7.5 * len(text.text or "")
        left = {"end": x - length, "middle": x - length / 2}[text.get("text-anchor", "")]
        assert left >= 0
        assert left + length <= WIDTH


def test_every_line_has_a_colour_on_light_and_on_dark_screens() -> None:
    told = report()
    light, _, dark = told.partition("prefers-color-scheme:dark")
    for number in range(COLOURS):
        assert f"--{number}:#" in light
        assert f"--{number}:#" in dark
        assert f".line{number}{{color:var(--{number})}}" in told
    assert 'name="viewport"' in told
