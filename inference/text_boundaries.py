"""Where a text may be cut: after sentences, after clauses, between words, and only then anywhere.

Nothing is cut inside a number, after the point of an abbreviation, inside an address, or inside words that one token was read out as.
"""

# Marks and letters that look alike are what this module is about.
# ruff: noqa: RUF001

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from inference.text_english_words import ABBREVIATIONS, TITLES


class Kind(IntEnum):
    """What a boundary follows, the weakest last."""

    SENTENCE = 0
    CLAUSE = 1
    WORD = 2
    FORCED = 3


@dataclass(frozen=True, slots=True)
class Boundary:
    """A cut before ``position`` of the normalised text, white space having gone to the part before it."""

    position: int
    kind: Kind


# Of all languages together: what is an abbreviation in one is seldom a sentence's last word in another.
_OTHER_ABBREVIATIONS = """
    dr st nr bzw usw vgl evtl ggf inkl zzgl str hr fr frl z.b d.h u.a z.t i.d.r mme mlle m p.ex c.-à-d sr sra srta dra ud uds pág núm tel
    av avda p.ej dott sig sigra ecc dhr mevr mw bijv enz p pp s t q u г ул им т д п р стр см рис тыс руб т.е т.д т.п и.о
    jan feb apr jun jul aug sep oct nov dec
"""
_ABBREVIATIONS = frozenset(ABBREVIATIONS) | frozenset(_OTHER_ABBREVIATIONS.split())

# A title read out stays with its name as its abbreviation would.
_TITLES = frozenset([*TITLES.values(), "doctor", "mister", "missus", "miss", "saint", "number"])

_CLOSING = "\"'”’)\\]」』》】）"
_SENTENCE = re.compile(rf"[.!?…।॥؟۔။]{{1,3}}[{_CLOSING}]{{0,3}}[ ]+|[。！？]{{1,3}}[{_CLOSING}]{{0,3}}[ ]*")
_CLAUSE = re.compile(rf"[,;:،؛—–][{_CLOSING}]{{0,3}}[ ]+|[，、；：][{_CLOSING}]{{0,3}}[ ]*|(?<=[ ])-[ ]+")
_LAST_TOKEN = re.compile(r"[^\s\"'(\[“«]{1,12}$")

# Scripts that are written without spaces.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_HAN = re.compile(r"[\u3400-\u9fff]")
_HAN_NUMERALS = frozenset("零一二三四五六七八九十百千万亿点分之〇两")
_NOT_AT_START = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮーヽヾゝゞ々ๆฯ")


def _abbreviation(text: str, point: int) -> bool:
    """Whether the point at ``point`` belongs to an abbreviation, an initial or an ordinal number, and ends no sentence."""
    token = _LAST_TOKEN.search(text, max(0, point - 12), point)
    if token is None:
        return False
    word = token[0]
    initial = len(word) == 1 and word.isupper() and word != "I" and not _UNSPACED.match(word)
    numeral = word.isdigit() and len(word) <= 2
    return initial or numeral or word.lower() in _ABBREVIATIONS or bool(re.fullmatch(r"(?:\w\.){1,6}\w", word))


def strong(text: str, offsets: Sequence[int]) -> list[Boundary]:
    """Boundaries after sentences and clauses, in order. ``offsets`` as in ``Normalised``."""
    found: dict[int, Kind] = {}
    for match in _SENTENCE.finditer(text):
        end = match.end()
        following = text[end : end + 3].lstrip("\"'(“«¿¡")[:1]
        if match[0][0] == "." and (following.islower() or _abbreviation(text, match.start())):
            continue
        if match[0].rstrip()[-1:] == "…" or match[0].startswith("..."):
            found[end] = Kind.CLAUSE if following.islower() else Kind.SENTENCE
        else:
            found[end] = Kind.SENTENCE
    for match in _CLAUSE.finditer(text):
        found.setdefault(match.end(), Kind.CLAUSE)
    return [Boundary(at, found[at]) for at in sorted(found) if 0 < at < len(text) and not _within_expansion(offsets, at)]


def _within_expansion(offsets: Sequence[int], at: int) -> bool:
    return offsets[at] == offsets[at - 1]


def words(text: str, offsets: Sequence[int]) -> list[Boundary]:
    """Boundaries between words, for scripts without spaces between what serves as words."""
    found = []
    for match in re.finditer(r"[ ]+", text):
        at = match.end()
        before, after = text[match.start() - 1 : match.start()], text[at : at + 1]
        if not before or not after or before in ".(" or (before.isdigit() and (after.isdigit() or after.islower())):
            continue
        token = _LAST_TOKEN.search(text, max(0, match.start() - 12), match.start())
        if token is None or token[0].lower() not in _TITLES:
            found.append(at)
    found.extend(_unspaced(text))
    return [Boundary(at, Kind.WORD) for at in sorted(set(found)) if 0 < at < len(text) and not _within_expansion(offsets, at)]


def _unspaced(text: str) -> Iterator[int]:
    if _HAN.search(text):
        import rjieba

        at = 0
        cuts = set()
        for segment in rjieba.cut(text):
            at += len(segment)
            cuts.add(at)
    else:
        cuts = set(range(1, len(text)))
    for at in range(1, len(text)):
        before, after = text[at - 1], text[at]
        if not (_UNSPACED.match(before) and _UNSPACED.match(after)) or _joins(before, after):
            continue
        if (_HAN.match(before) and _HAN.match(after) and at not in cuts) or (before in _HAN_NUMERALS and after in _HAN_NUMERALS):
            continue
        yield at


def _joins(before: str, after: str) -> bool:
    """Whether a cut here would part what is read as one: a sign from its mark, a Thai vowel from its consonant."""
    if unicodedata.category(after)[0] == "M" or after in _NOT_AT_START:
        return True
    return "\u0e40" <= before <= "\u0e44" or "\u0e30" <= after <= "\u0e3a" or after == "\u0e45"


def forced(text: str) -> list[Boundary]:
    """Cuts of last resort, for what has no better ones within a chunk's length: between characters, never before a mark."""
    return [Boundary(at, Kind.FORCED) for at in range(1, len(text)) if not _joins(text[at - 1], text[at])]


def gaps(text: str) -> list[Boundary]:
    """White space wherever it is, inside expansions too."""
    return [Boundary(match.end(), Kind.FORCED) for match in re.finditer(r"[ ]+", text) if match.end() < len(text)]
