"""Rewriting text while remembering where each character came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

Slice = tuple[int, int]
"""``(start, end)`` in the text that is being rewritten: these characters stay, each with its own offset."""

Rewrite = str | Sequence[str | Slice] | None
"""What takes the place of a match: new text, a mix of new text and kept slices in order, or None to leave the match alone."""


class Trace:
    """A text and the offset of each of its characters in the original; immutable.

    ``offsets`` has one entry more than ``text``, the last being the length of the original, and never decreases.
    """

    __slots__ = ("offsets", "text")

    def __init__(self, text: str, offsets: Sequence[int] | None = None) -> None:
        self.text = text
        self.offsets: Sequence[int] = range(len(text) + 1) if offsets is None else offsets

    def sub(self, pattern: re.Pattern[str], rewrite: str | Callable[[re.Match[str]], Rewrite]) -> Trace:
        """Replace every match of ``pattern``. New text gets the offset of the source character that it stands at."""
        out: list[str] = []
        offsets: list[int] = []
        done = 0
        for match in pattern.finditer(self.text):
            parts = rewrite if isinstance(rewrite, str) else rewrite(match)
            if parts is None:
                continue
            start, end = match.span()
            out.append(self.text[done:start])
            offsets.extend(self.offsets[done:start])
            at = start
            for part in [parts] if isinstance(parts, str) else parts:
                if isinstance(part, str):
                    out.append(part)
                    offsets.extend([self.offsets[at]] * len(part))
                else:
                    out.append(self.text[part[0] : part[1]])
                    offsets.extend(self.offsets[part[0] : part[1]])
                    at = part[1]
            done = end
        if not done and not out:
            return self
        out.append(self.text[done:])
        offsets.extend(self.offsets[done:])
        return Trace("".join(out), offsets)

    def pieces(self, cuts: Sequence[int], rewrite: Callable[[str], str]) -> Trace:
        """Rewrite the pieces between ``cuts`` (ascending, from 0 to ``len(text)``) one by one; a piece that stays keeps its offsets."""
        out: list[str] = []
        offsets: list[int] = []
        for start, end in pairwise(cuts):
            old = self.text[start:end]
            new = rewrite(old)
            out.append(new)
            offsets.extend(self.offsets[start:end] if new == old else [self.offsets[start]] * len(new))
        offsets.append(self.offsets[-1])
        return Trace("".join(out), offsets)
