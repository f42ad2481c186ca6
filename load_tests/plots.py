"""Line plots as SVG in the page, without a library and without the network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

# Small, so that its numbers can still be read where the page is as narrow as a phone.
WIDTH, HEIGHT = 480, 220
LEFT, RIGHT, TOP, BOTTOM = 48, 8, 10, 26
COLOURS = 7
"""Of the classes `line0`, `line1` … that the page gives a colour each, one for light and one for dark screens."""

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
    called = escape(f"{title}, {unit}" if unit else title, quote=True)
    parts = [f'<figure><figcaption>{called}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{called}">']
    for quarter in range(5):
        y = HEIGHT - BOTTOM - quarter * (HEIGHT - TOP - BOTTOM) / 4
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * quarter / 4:g}</text>')
        x = LEFT + quarter * (WIDTH - LEFT - RIGHT) / 4
        # The last one ends where the plot does: in its middle it would be cut off.
        anchor = "end" if quarter == 4 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{end * quarter / 4:.3g} s</text>')
    legend = []
    for number, (name, points) in enumerate(lines.items()):
        style = f"line{number % COLOURS}"
        drawn = " ".join(f"{LEFT + x * across:.1f},{HEIGHT - BOTTOM - y * up:.1f}" for x, y in points)
        if drawn:
            parts.append(f'<polyline points="{drawn}" class="{style}"/>')
        legend.append(f'<span class="{style}">{escape(name)}</span>')
    return "".join([*parts, f"</svg><p>{' '.join(legend)}</p></figure>"])
