"""Line plots as SVG in the page, without a library and without the network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 860, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 26, 30
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a", "#0a7ea4")

Points = Sequence[tuple[float, float]]


def top_of(value: float) -> float:
    """A round number, 1, 2 or 5 times a power of ten, that is not under `value`: where an axis ends."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value)


def plot(title: str, lines: Mapping[str, Points], unit: str) -> str:
    """One plot: named lines over seconds. A line without points is named and not drawn."""
    end = max((x for points in lines.values() for x, _ in points), default=0.0) or 1.0
    top = top_of(max((y for points in lines.values() for _, y in points), default=1.0))
    across = (WIDTH - LEFT - RIGHT) / end
    up = (HEIGHT - TOP - BOTTOM) / top
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">',
        f'<text x="{LEFT}" y="14" class="title">{escape(title)}</text>',
    ]
    for quarter in range(5):
        y = HEIGHT - BOTTOM - quarter * (HEIGHT - TOP - BOTTOM) / 4
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * quarter / 4:g}</text>')
        x = LEFT + quarter * (WIDTH - LEFT - RIGHT) / 4
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{end * quarter / 4:.0f} s</text>')
    named = LEFT + 320
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        drawn = " ".join(f"{LEFT + x * across:.1f},{HEIGHT - BOTTOM - y * up:.1f}" for x, y in points)
        if drawn:
            parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{named}" y="14" fill="{colour}">{escape(name)}</text>')
        named += 14 + 7 * len(name)
    return "".join([*parts, f'<text x="4" y="{TOP - 4}">{escape(unit)}</text>', "</svg>"])
