"""From boundaries to chunks of balanced length.

The cuts minimise the sum of squared distances from the ideal length plus a price for weak boundaries, as Knuth and Plass break lines
(Software: Practice and Experience 11, 1981): no orphan at the end, no long chunk beside a short one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate, pairwise
from math import ceil

from inference import text_boundaries, text_duration
from inference.text_boundaries import Boundary, Kind
from inference.text_duration import FRAMES_PER_SECOND

_IDEAL_FRAMES = 12 * FRAMES_PER_SECOND
_LONGEST_FRAMES = 18 * FRAMES_PER_SECOND
_CLOSEST_FRAMES = 1 * FRAMES_PER_SECOND
# The first chunk: within the range where it can be, as near to the aim as it can be.
_FIRST_AIM = 3 * FRAMES_PER_SECOND
_FIRST_RANGE = (1.5 * FRAMES_PER_SECOND, 8 * FRAMES_PER_SECOND)
_SENTENCE_BONUS = 0.5 * FRAMES_PER_SECOND
_PRICE = {Kind.SENTENCE: 0.0, Kind.CLAUSE: 0.15, Kind.WORD: 0.6, Kind.FORCED: 2.0}


_Level = Callable[[], list[Boundary]]


@dataclass(frozen=True, slots=True)
class Cut:
    """A slice of the normalised text and its predicted frames."""

    start: int
    end: int
    frames: int


class _Ruler:
    """Lengths of slices of one text, in constant time each."""

    def __init__(self, text: str, per_unit: float, speed: float) -> None:
        self.text = text
        self._units = [0.0, *accumulate(text_duration.weights(text))]
        self._spoken = [0, *accumulate(int(character.isalnum()) for character in text)]
        self._frames = partial(text_duration.frames, per_unit=per_unit, speed=speed)

    def frames(self, start: int, end: int) -> int:
        return self._frames(self._units[end] - self._units[start], end - start)

    def units(self, start: int, end: int) -> float:
        """Weight, with a trace of length so that weightless characters can be parted evenly too."""
        return self._units[end] - self._units[start] + 1e-3 * (end - start)

    def speaks(self, start: int, end: int) -> bool:
        return self._spoken[end] > self._spoken[start]


def cut(text: str, offsets: Sequence[int], *, per_unit: float, speed: float, room: int, first_chunk_short: bool) -> list[Cut]:
    """Cut normalised ``text`` into slices without gap or overlap, none longer than ``room`` frames.

    The length of a slice is that of its part of the whole text: letters do not change their weight where a word had to be cut.
    """
    ruler = _Ruler(text, per_unit, speed)
    longest = min(room, int(_LONGEST_FRAMES))
    boundaries = _refine(ruler, offsets, _thin(ruler, text_boundaries.strong(text, offsets)), longest)
    first = _first(ruler, boundaries, longest) if first_chunk_short else None
    start = 0 if first is None else first
    rest = [boundary for boundary in boundaries if boundary.position > start]
    edges = ([] if first is None else [0]) + _balance(ruler, start, rest, longest)
    return [Cut(left, right, ruler.frames(*_stripped(text, left, right))) for left, right in pairwise(edges)]


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The slice without the white space at its ends."""
    inner = text[start:end]
    return start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())


def _thin(ruler: _Ruler, boundaries: Sequence[Boundary]) -> list[Boundary]:
    """Without those that part nothing speakable, and of those nearer than a second the stronger, so that the search stays linear."""
    end = len(ruler.text)
    closest = _CLOSEST_FRAMES
    kept: list[Boundary] = []
    for boundary in boundaries:
        previous = kept[-1].position if kept else 0
        if not (ruler.speaks(previous, boundary.position) and ruler.speaks(boundary.position, end)):
            continue
        if ruler.frames(previous, boundary.position) >= closest:
            kept.append(boundary)
        elif kept and boundary.kind < kept[-1].kind:
            kept[-1] = boundary
    return kept


def _refine(ruler: _Ruler, offsets: Sequence[int], boundaries: Sequence[Boundary], longest: int) -> list[Boundary]:
    """Cut what is still too long between two boundaries, evenly, at the best kind of boundary that is there."""
    edges = [0, *(boundary.position for boundary in boundaries), len(ruler.text)]
    too_long = [(start, end) for start, end in pairwise(edges) if ruler.frames(start, end) > longest]
    if not too_long:
        return list(boundaries)
    text = ruler.text
    levels = [
        cache(lambda: text_boundaries.words(text, offsets)),
        cache(lambda: text_boundaries.gaps(text)),
        cache(lambda: text_boundaries.forced(text)),
        # What cannot be parted without parting a letter from its marks is parted all the same: a chunk must fit.
        cache(lambda: [Boundary(at, Kind.FORCED) for at in range(1, len(text))]),
    ]
    added = [boundary for start, end in too_long for boundary in _part(ruler, start, end, levels, longest)]
    return sorted([*boundaries, *added], key=lambda boundary: boundary.position)


def _part(ruler: _Ruler, start: int, end: int, levels: Sequence[_Level], longest: int) -> list[Boundary]:
    length = ruler.frames(start, end)
    if length <= longest or not levels:
        return []
    level = levels[0]()
    inside = level[bisect_right(level, start, key=_position) : bisect_left(level, end, key=_position)]
    if not inside:
        return _part(ruler, start, end, levels[1:], longest)
    parts = max(ceil(length / longest), round(length / min(_IDEAL_FRAMES, longest)))
    total = ruler.units(start, end)
    chosen: dict[int, Boundary] = {}
    for i in range(1, parts):
        wanted = total * i / parts
        at = bisect_left(inside, wanted, key=lambda boundary: ruler.units(start, boundary.position))
        near = min(inside[max(0, at - 1) : at + 1], key=lambda boundary: abs(ruler.units(start, boundary.position) - wanted))
        chosen[near.position] = near
    edges = [start, *sorted(chosen), end]
    out = [chosen[at] for at in edges[1:-1]]
    for left, right in pairwise(edges):
        out.extend(_part(ruler, left, right, levels, longest))
    return out


def _position(boundary: Boundary) -> int:
    return boundary.position


def _first(ruler: _Ruler, boundaries: Sequence[Boundary], longest: int) -> int | None:
    """Where the first chunk ends, so that sound starts early; None where the text is short or has no clause to end it at."""
    end = len(ruler.text)
    low, high = _FIRST_RANGE[0], min(_FIRST_RANGE[1], longest)
    best: tuple[float, int] | None = None
    for boundary in boundaries:
        length = ruler.frames(0, boundary.position)
        if length > high:
            break
        if length < low or ruler.frames(boundary.position, end) < low:
            continue
        distance = abs(length - _FIRST_AIM) - (_SENTENCE_BONUS if boundary.kind is Kind.SENTENCE else 0)
        if best is None or distance < best[0]:
            best = (distance, boundary.position)
    return best[1] if best and ruler.frames(0, end) > 2 * _FIRST_AIM else None


def _balance(ruler: _Ruler, start: int, boundaries: Sequence[Boundary], longest: int) -> list[int]:
    """The cheapest way through the boundaries from ``start`` to the end."""
    points = [Boundary(start, Kind.SENTENCE), *boundaries, Boundary(len(ruler.text), Kind.SENTENCE)]
    ideal = min(_IDEAL_FRAMES, longest)
    price: Callable[[int], float] = lambda length: ((length - ideal) / ideal) ** 2  # noqa: E731
    best = [0.0] * len(points)
    source = [0] * len(points)
    for j in range(1, len(points)):
        best[j] = float("inf")
        for i in range(j - 1, -1, -1):
            length = ruler.frames(points[i].position, points[j].position)
            if length > longest and i < j - 1:
                break
            cost = best[i] + price(length) + _PRICE[points[j].kind]
            if cost < best[j]:
                best[j], source[j] = cost, i
    cuts = [len(points) - 1]
    while cuts[-1]:
        cuts.append(source[cuts[-1]])
    return [points[i].position for i in reversed(cuts)]
