"""The report of a run: one page that needs nothing else, and the same as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from load_tests.events import ROUND, Event
from load_tests.plots import Points, plot
from load_tests.verdict import Row, Server, Verdict, failures, percentile, rows

POINTS = 120  # of a line, at most

STYLE = """
body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:900px;color:#1f2328;background:#fff}
table{border-collapse:collapse;width:100%;margin:.5em 0 2em}td,th{padding:3px 8px;border-bottom:1px solid #d1d9e0;text-align:right}
td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}
.passed{color:#1a7f37}.failed{color:#d1242f;font-weight:600}
svg{width:100%;margin:.5em 0}svg text{font-size:11px}.grid{stroke:#d1d9e0;stroke-width:.5}
"""


def as_json(told: dict[str, Any], events: Sequence[Event], verdicts: Sequence[Verdict], servers: Sequence[Server]) -> dict[str, Any]:
    """Everything that the page says. `told`: what the run was, such as its profile and machine."""
    return told | {
        "passed": all(verdict.passed for verdict in verdicts),
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "rows": [asdict(row) for row in rows(events)],
        "failures": failures(events),
        "servers": [asdict(server) for server in servers],
    }


def page(told: dict[str, Any], events: Sequence[Event], verdicts: Sequence[Verdict], servers: Sequence[Server]) -> str:
    """The page. Nothing in it is fetched from anywhere, and what comes from answers is escaped."""
    passed = all(verdict.passed for verdict in verdicts)
    headline = f"Load test “{told['profile']}”: {'passed' if passed else 'failed'}"
    facts = "".join(f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>" for name, value in told.items())
    why = "".join(f"<li>{count} x {escape(reason)}</li>" for reason, count in failures(events))
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(headline)}</title><style>{STYLE}</style></head><body>",
            f'<h1 class="{"passed" if passed else "failed"}">{escape(headline)}</h1><table>{facts}</table>',
            f"<h2>Limits</h2>{_verdicts(verdicts)}",
            f"<h2>Failures</h2><ul>{why}</ul>" if why else "",
            f"<h2>Over time</h2>{''.join(_plots(events, servers))}",
            f"<h2>All that was measured</h2>{_rows(rows(events))}</body></html>\n",
        )
    )


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    head = "<tr><th>journey</th><th>what</th><th>measured</th><th>limit</th><th></th></tr>"
    lines = []
    for verdict in sorted(verdicts, key=lambda each: (each.passed, each.limit.journey)):
        limit, word = verdict.limit, "passed" if verdict.passed else "failed"
        what = f"{limit.measure} {limit.name}" if limit.measure == "p95_ms" else limit.measure
        bound = f"{'≥' if limit.measure == 'rounds' else '≤'} {verdict.allowed:g}"
        cells = (escape(limit.journey), escape(what), _number(verdict.measured), bound)
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + f'<td class="{word}">{word}</td></tr>')
    return f"<table>{head}{''.join(lines)}</table>"


def _rows(told: Sequence[Row]) -> str:
    heads = ("journey", "what", "number", "failed", "refused", "p50 ms", "p95 ms", "most ms")
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for row in told:
        cells = (
            escape(row.journey),
            escape(row.name),
            row.count,
            row.failed,
            row.refused,
            *map(_number, (row.p50_ms, row.p95_ms, row.most_ms)),
        )
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.3g}"


def _plots(events: Sequence[Event], servers: Sequence[Server]) -> list[str]:
    requests = [event for event in events if event.name != ROUND]
    if not requests:
        return ["<p>Nothing was measured.</p>"]
    began = min(event.at - event.ms / 1000 for event in requests)
    width = max(1.0, (max(event.at for event in requests) - began) / POINTS)
    slots: dict[int, list[Event]] = defaultdict(list)
    for event in requests:
        slots[int((event.at - began) / width)].append(event)

    def line(of: Any) -> Points:
        return [(slot * width, value) for slot, there in sorted(slots.items()) if (value := of(there)) is not None]

    def share(outcome: str) -> Points:
        return line(lambda there: sum(event.outcome == outcome for event in there) / width)

    p95 = {
        journey: line(
            lambda there, journey=journey: percentile([e.ms / 1000 for e in there if e.journey == journey and e.outcome == "ok"], 0.95)
        )
        for journey in sorted({event.journey for event in requests})
    }
    drawn = [
        plot("Answers and people", {"good a second": share("ok"), "people": line(lambda there: max(e.users for e in there))}, ""),
        plot("Failures and refusals", {"refused a second": share("refused"), "failed a second": share("failed")}, "a second"),
        plot("95th percentile of all that was measured", p95, "s"),
    ]
    if servers:
        at = [server.at - began for server in servers]
        cores = {name: list(zip(at, of, strict=True)) for name, of in (
            ("API", [s.api_cores for s in servers]),
            ("inference", [s.inference_cores for s in servers]),
            ("load average", [s.load_average for s in servers]),
        )}  # fmt: skip
        memory = {"API": [(x, s.api_mb) for x, s in zip(at, servers, strict=True)]}
        memory["inference"] = [(x, s.inference_mb) for x, s in zip(at, servers, strict=True)]
        drawn += [plot("Processors", {n: [p for p in points if p[0] >= 0] for n, points in cores.items()}, "cores")]
        drawn += [plot("Memory", {n: [p for p in points if p[0] >= 0] for n, points in memory.items()}, "MB")]
    return drawn
