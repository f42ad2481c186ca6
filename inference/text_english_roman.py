"""Roman numerals as they are read out: ``Henry VIII`` the eighth, ``Chapter IV`` four. What may be a word or an initial stays."""

from __future__ import annotations

import re

from inference.text_english_numbers import cardinal, ordinal
from inference.text_english_words import SENTENCE_STARTERS
from inference.text_trace import Rewrite

_ROMAN = r"(?=[IVX])X{0,3}(?:IX|IV|V?I{0,3})"
# A numeral follows these even where it is a single letter.
_WARS = "World War|Super Bowl"
_PARTS = (
    "Chapter|Part|Act|Scene|Volume|Book|Section|Article|Appendix|Phase|Type|Class|Level|Stage|Grade|Title|Unit|Figure|Table|Schedule|Annex|"
    "Episode|Mark|Game|Vatican"
)
_TITLES = "King|Queen|Pope|Emperor|Empress|Tsar|Czar|Kaiser|Prince|Princess|Duke|Saint|Sultan|Pharaoh"
_NAMES = (
    "Henry|Louis|Edward|George|Charles|James|William|Richard|Elizabeth|Mary|John|Paul|Pius|Benedict|Leo|Gregory|Innocent|Alexander|Peter|"
    "Nicholas|Frederick|Philip|Ferdinand|Catherine|Napoleon|Ramesses|Ramses|Ptolemy|Francis|Urban|Clement|Otto|Albert|Leopold|Victor|"
    "Haakon|Harald|Gustav|Carl|Christian|Olav|Juan|Alfonso|Isabella|Boniface|Sixtus|Julius|Wilhelm|Friedrich|Ivan|Stephen|Robert|David|"
    "Constantine|Theodosius|Mehmed|Murad|Selim|Darius|Xerxes|Artaxerxes|Amenhotep|Thutmose|Seti"
)
_VALUES = {"I": 1, "V": 5, "X": 10}

PART = re.compile(rf"(?<!\w)({_WARS}|{_PARTS}) ({_ROMAN})(?![\w'-])")
RULER = re.compile(rf"(?<!\w)((?:{_TITLES}) )?({_NAMES})(?: Paul)? ({_ROMAN})(?![\w-])")
SEQUEL = re.compile(rf"(?<!\w)([A-Z][a-z]{{2,20}}) ({_ROMAN})(?![\w'-])")


def value(numeral: str) -> int:
    """``XIV`` to 14; of letters up to X, in order."""
    numbers = [_VALUES[letter] for letter in numeral]
    return sum(-n if n < following else n for n, following in zip(numbers, [*numbers[1:], 0], strict=True))


def _before_lower_case(match: re.Match[str]) -> bool:
    return bool(re.match(r" [a-z]", match.string[match.end() : match.end() + 2]))


def part(match: re.Match[str]) -> Rewrite:
    """``the Chapter I read`` speaks of me."""
    if match[2] == "I" and match[1] not in _WARS.split("|") and _before_lower_case(match):
        return None
    return [match.span(1), " ", cardinal(str(value(match[2])))]


def ruler(match: re.Match[str]) -> Rewrite:
    """``King George I`` is a number, ``George, I`` and ``so George I`` are not; ``Charles V. Smith`` has an initial."""
    rest = match.string[match.end() : match.end() + 24]
    if match[3] == "I" and (match[1] is None or rest.startswith("'")):
        return None
    surname = re.match(r"\.? ([A-Z][a-z]*)", rest)
    if len(match[3]) == 1 and surname and surname[1] not in SENTENCE_STARTERS:
        return None
    return [(match.start(), match.start(3)), "the " + ordinal(value(match[3]))]


def sequel(match: re.Match[str]) -> Rewrite:
    """Two letters and more after any name."""
    if len(match[2]) < 2 or match[1] in SENTENCE_STARTERS:
        return None
    return [match.span(1), " ", cardinal(str(value(match[2])))]
