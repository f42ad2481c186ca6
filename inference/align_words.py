"""The words of a text as it was sent, and what is spoken at each: the common ground of exact and of estimated times."""

# Marks and letters that look alike are what this module is about.
# ruff: noqa: RUF001

from __future__ import annotations

import itertools
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from inference import text_boundaries
from inference.text import normalise

_SENTENCE_MARKS = frozenset(".!?。！？…।؟။۔॥")
_CLAUSE_MARKS = frozenset(",;:，、；：،؛—–")
_SPOKEN_SYMBOLS = frozenset("%&#@°§+=€$£¥₹")
_TOKEN = re.compile(r"\S+")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_KANA = re.compile(r"[\u3040-\u309f]+|[\u30a0-\u30ff]+")
_CLUSTERED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+")
_MARKS = re.compile(r"[^\w\s]+")
_UNSPACED = re.compile("|".join(pattern.pattern for pattern in (_HAN, _KANA, _CLUSTERED)))


class Break(IntEnum):
    """What the text puts between a word and the next."""

    NONE = 0
    CLAUSE = 1
    SENTENCE = 2


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of the original text.

    Attributes:
        start, end: code point offsets into the original text, without the punctuation around the word.
        spoken: the normalised text that is said there: ``five dollars`` for ``$5``.
        after: the mark that follows it before the next word.
        marks_end: offset in the original behind the marks that stand directly after the word; ``end`` where there are none.
    """

    start: int
    end: int
    spoken: str
    after: Break
    marks_end: int


def is_spoken(character: str) -> bool:
    """Whether a character is heard as such: letters, digits, their marks, and symbols that are read as words."""
    return character.isalnum() or unicodedata.category(character) in {"Mn", "Mc"} or character in _SPOKEN_SYMBOLS


def words(text: str, language: str) -> list[SpokenWord]:
    """The words of ``text`` in order, none overlapping; empty where nothing in it is spoken.

    ``language`` is a BCP 47 tag. White space parts words, and in scripts without it a dictionary (Chinese), a change of script (kana) or
    a letter and its marks (Thai and its neighbours). Words that are read out together (``5 km``) are one.
    """
    raw = list(_raw(text))
    if not raw:
        return []
    normalised = normalise(text, language)
    # White space goes to the word behind it: an expansion may begin there.
    begins = [0, *(end for _, end in raw[:-1])]
    said: dict[int, list[int]] = {}
    for i, character in enumerate(normalised.text):
        if is_spoken(character):
            said.setdefault(bisect_right(begins, normalised.offsets[i]) - 1, []).append(i)
    found: list[tuple[int, int, int, int]] = []
    for index, (start, end) in enumerate(raw):
        if index in said:
            found.append((*_trim(text, start, end), said[index][0], said[index][-1] + 1))
        elif found and any(character.isalnum() for character in text[start:end]):
            before = found[-1]
            rewritten = _letters(normalised.text[before[2] : before[3]]) != _letters(text[before[0] : before[1]])
            if rewritten and not any(is_spoken(character) for character in text[before[1] : start]):
                found[-1] = (before[0], _trim(text, start, end)[1], before[2], before[3])
    out = []
    for k, (start, end, first, after) in enumerate(found):
        following = found[k + 1] if k + 1 < len(found) else (len(text), 0, len(normalised.text), 0)
        mark = _strongest(normalised.text[after : following[2]])
        out.append(SpokenWord(start, end, normalised.text[first:after], mark, min(end + len(_marks(text, end)), following[0])))
    return out


def _raw(text: str) -> Iterator[tuple[int, int]]:
    """Spans without white space, parted where a script has none."""
    for match in _TOKEN.finditer(text):
        cuts = {match.start(), match.end()}
        for run in _UNSPACED.finditer(text, match.start(), match.end()):
            cuts |= {run.start(), *_inside(run[0], run.start())}
            # A mark that closes stays with the word before it.
            follow = run.end()
            while follow < match.end() and not is_spoken(text[follow]):
                follow += 1
            cuts.add(follow)
        ordered = sorted(cuts)
        yield from itertools.pairwise(ordered)


def _inside(run: str, at: int) -> Iterator[int]:
    if _HAN.match(run):
        import rjieba

        for segment in rjieba.cut(run):
            yield at
            at += len(segment)
    elif _CLUSTERED.match(run):
        for boundary in text_boundaries.forced(run):
            yield at + boundary.position


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the punctuation around; the sign of a number stays. All of it where nothing else is there."""
    first, last = start, end
    while first < end and not is_spoken(text[first]) and not (text[first] in "-−." and text[first + 1 : first + 2].isdigit()):
        first += 1
    while last > first and not is_spoken(text[last - 1]):
        last -= 1
    return (first, last) if first < last else (start, end)


def _marks(text: str, end: int) -> str:
    """The marks that stand directly behind a word, without those that open what comes next."""
    run = _MARKS.match(text, end)
    if run is None:
        return ""
    joined = text[run.end() : run.end() + 1].strip() and not _UNSPACED.match(text, run.end())
    return run[0].rstrip("“‘«„([{「『《（¿¡" + ("\"'" if joined else ""))


def _letters(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def _strongest(between: str) -> Break:
    if any(character in _SENTENCE_MARKS for character in between):
        return Break.SENTENCE
    return Break.CLAUSE if any(character in _CLAUSE_MARKS for character in between) else Break.NONE
