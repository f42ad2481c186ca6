"""The report of a run: one page that needs nothing else, and the same as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from load_tests.events import ROUND, Event
from load_tests.plots import COLOURS, Points, plot
from load_tests.verdict import Row, Server, Verdict, failures, percentile, rows

POINTS = 120  # of a line, at most

STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--ground:#fff;--rule:#d1d9e0;--good:#1a7f37;--bad:#d1242f}
svg,p{--0:#1f6feb;--1:#d1242f;--2:#1a7f37;--3:#9a6700;--4:#8250df;--5:#57606a;--6:#0a7ea4}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--ground:#0d1117;--rule:#3d444d;--good:#3fb950;--bad:#ff7b72}
svg,p{--0:#79c0ff;--1:#ff7b72;--2:#56d364;--3:#e3b341;--4:#d2a8ff;--5:#9198a1;--6:#76e3ea}}
body{font:14px/1.4 system-ui,sans-serif;margin:1.5em auto;padding:0 1em;max-width:1000px;color:var(--ink);background:var(--ground)}
.wide{overflow-x:auto;margin:.5em 0 2em}table{border-collapse:collapse;width:100%}
td,th{padding:3px 8px;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top;white-space:nowrap}
td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}td:nth-child(2){white-space:normal;min-width:9em}
@media(max-width:600px){body{padding:0 .5em}td,th{padding:3px;font-size:12px}td:nth-child(2){min-width:7em}}
.passed{color:var(--good)}.failed{color:var(--bad);font-weight:600}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:1em}
figure{margin:0}figcaption{font-weight:600}figure p{margin:0}figure span{margin-right:1em;white-space:nowrap;font-size:13px}
figure span::before{content:"";display:inline-block;width:1em;height:3px;margin-right:.4em;vertical-align:middle;background:currentColor}
svg{display:block;width:100%}svg text{font-size:13px;fill:currentColor}.grid{stroke:var(--rule);stroke-width:.7}
polyline{fill:none;stroke:currentColor;stroke-width:1.6;stroke-linejoin:round}
""" + "".join(f".line{number}{{color:var(--{number})}}" for number in range(COLOURS))


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
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(headline)}</title><style>{STYLE}</style></head><body>",
            f'<h1 class="{"passed" if passed else "failed"}">{escape(headline)}</h1><div class="wide"><table>{facts}</table></div>',
            f"<h2>Limits</h2>{_verdicts(verdicts)}",
            f"<h2>Failures</h2><ul>{why}</ul>" if why else "",
            f'<h2>Over time</h2><div class="plots">{"".join(_plots(events, servers))}</div>',
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
    return f'<div class="wide"><table>{head}{"".join(lines)}</table></div>'


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
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


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
