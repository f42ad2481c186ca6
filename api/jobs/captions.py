"""Words and their times as sentences, and as captions in SubRip and WebVTT. Pure functions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

LINE_WIDTH = 42
"""Columns of a line of captions, of which letters of East Asian scripts take two."""
LINES = 2
LONGEST_CUE_S = 7.0

_SENTENCE_ENDS = frozenset(".!?…。！？｡؟۔।॥")  # noqa: RUF001 - marks of other scripts
_CLAUSE_ENDS = frozenset(",;:，、；：،؛—–")  # noqa: RUF001
_CLOSING = frozenset("\"'”’»)]}」』》）】")  # noqa: RUF001
_OPENING = frozenset("\"'“‘«([{「『《（【¿¡„")  # noqa: RUF001
# A full stop behind these ends a sentence only by chance, and those who say them seldom stop there.
_ABBREVIATIONS = frozenset(
    (
        *("mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "gen", "col", "lt", "sgt", "capt", "rev", "hon"),
        *("vs", "etc", "no", "vol", "fig", "approx", "dept", "est", "inc", "ltd", "co", "e.g", "i.e", "cf", "al", "mt", "ft"),
    )
)


@dataclass(frozen=True, slots=True)
class Word:
    """A stretch of the original text, from character `start` to before `end`, and when it is said, in seconds."""

    start: int
    end: int
    start_s: float
    end_s: float
    score: float | None = None


def sentences(text: str, words: Sequence[Word]) -> list[Word]:
    """The sentences that the words make up, each with the marks around it. Every word is in one, and the scores are left out."""
    return [_joined(text, words, first, behind) for first, behind in _grouped(words, lambda i: _ends_sentence(text, words, i))]


def srt(text: str, cues: Sequence[Word]) -> str:
    """SubRip. It knows no escapes: what players would take for markup or for a time line is written with marks that look alike."""
    blocks = [
        f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(_later(cue), ',')}\n{_srt_text(_shown(text, cue))}\n"
        for number, cue in enumerate(cues, start=1)
    ]
    return "\n".join(blocks)


def vtt(text: str, cues: Sequence[Word]) -> str:
    """WebVTT."""
    blocks = [f"{_clock(cue.start_s, '.')} --> {_clock(_later(cue), '.')}\n{_vtt_text(_shown(text, cue))}\n" for cue in cues]
    return "\n".join(["WEBVTT\n", *blocks])


def readable(text: str, words: Sequence[Word]) -> list[Word]:
    """Cues that can be read: at most two lines and seven seconds, never across the end of a sentence, rather parted at a comma.

    A single word that is longer than that stays whole.
    """
    cues: list[Word] = []
    for first, behind in _grouped(words, lambda i: _ends_sentence(text, words, i)):
        at = first
        while at < behind:
            last = _fitting(text, words, at, behind)
            cues.append(_joined(text, words, at, last))
            at = last
    return cues


def lines(shown: str) -> list[str]:
    """What is shown at once as lines of at most `LINE_WIDTH` columns, about equally long; a word that is wider stands alone."""
    if width(shown) <= LINE_WIDTH:
        return [shown]
    pieces = _pieces(shown)
    broken: list[str] = []
    # Narrower first: of two lines the shorter the longer one, the better they read.
    for most in range(min(LINE_WIDTH, -(-width(shown) // LINES)), LINE_WIDTH + 1):
        broken = _broken(pieces, most)
        if len(broken) <= LINES:
            break
    return broken


def width(shown: str) -> int:
    """Columns that it takes."""
    return sum(2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1 for character in shown)


def _grouped(words: Sequence[Word], ends: Callable[[int], bool]) -> Iterator[tuple[int, int]]:
    """First and behind the last of each run of words that ends where `ends` says of its last."""
    first = 0
    for i in range(len(words)):
        if i + 1 == len(words) or ends(i):
            yield first, i + 1
            first = i + 1


def _ends_sentence(text: str, words: Sequence[Word], i: int) -> bool:
    between = text[words[i].end : words[i + 1].start]
    if between.count("\n") > 1:
        return True
    mark = next((character for character in between if character in _SENTENCE_ENDS), None)
    if mark is None:
        return False
    said = text[words[i].start : words[i].end].casefold()
    if between.strip() == ".":
        # No end: an abbreviation, an initial, or what goes on in small letters.
        return not (said in _ABBREVIATIONS or (len(said) == 1 and said.isalpha()) or text[words[i + 1].start].islower())
    return True


def _fitting(text: str, words: Sequence[Word], first: int, behind: int) -> int:
    """Where a cue that begins with the first word ends: where there is room no more, or at the last comma in its second half."""
    last = first + 1
    while last < behind:
        cue = _joined(text, words, first, last + 1)
        broken = lines(_shown(text, cue))
        if cue.end_s - cue.start_s > LONGEST_CUE_S or len(broken) > LINES or max(map(width, broken)) > LINE_WIDTH:
            break
        last += 1
    if last == behind:
        return behind
    for i in range(last - 1, first + (last - first) // 2, -1):
        if any(character in _CLAUSE_ENDS for character in text[words[i].end : words[i + 1].start]):
            return i + 1
    return last


def _joined(text: str, words: Sequence[Word], first: int, behind: int) -> Word:
    """The words from the first to before the other as one, with the marks that belong to them."""
    start, end = _seam(text, words, first), _seam(text, words, behind)
    while text[start].isspace():
        start += 1
    while text[end - 1].isspace():
        end -= 1
    return Word(start, end, words[first].start_s, words[behind - 1].end_s)


def _seam(text: str, words: Sequence[Word], i: int) -> int:
    """Where the text is parted before word i: what opens it goes with it, all other marks with the word before."""
    if i == 0 or i == len(words):
        return 0 if i == 0 else len(text)
    at = words[i].start
    while at > words[i - 1].end and text[at - 1] in _OPENING and not _closes(text, at - 1):
        at -= 1
    return at


def _closes(text: str, at: int) -> bool:
    """Whether a mark that may open or close does close: it stands straight behind something."""
    return text[at] in _CLOSING and at > 0 and not text[at - 1].isspace()


def _shown(text: str, cue: Word) -> str:
    """The text of the cue on one line, without what has no place in a caption: a blank line would end it."""
    kept = "".join(" " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in text[cue.start : cue.end])
    return " ".join(kept.split())


def _pieces(shown: str) -> list[str]:
    """Where a line may be broken: behind spaces, and between the letters of scripts that are written without."""
    return re.findall(r"\s*(?:[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]|[^\s\u2e80-\u9fff\uf900-\ufaff]+)[^\w\s]*", shown)


def _broken(pieces: Sequence[str], most: int) -> list[str]:
    out = [""]
    for piece in pieces:
        if out[-1] and width(out[-1] + piece) > most:
            out.append(piece.lstrip())
        else:
            out[-1] += piece if out[-1] else piece.lstrip()
    return out


def _srt_text(shown: str) -> str:
    plain = shown.replace("-->", "→").replace("<", "‹").replace(">", "›").replace("{\\", "{ \\")  # noqa: RUF001 - meant to look alike
    return "\n".join(lines(plain))


def _vtt_text(shown: str) -> str:
    # Broken first: an entity takes one column.
    return "\n".join(line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in lines(shown))


def _later(cue: Word) -> float:
    """The end of a cue, which both formats want behind its start."""
    return max(cue.end_s, cue.start_s + 0.001)


def _clock(seconds: float, point: str) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"
