"""Sentences to speak: WordNet's glosses and examples (Debian ``wordnet-base``), and patterns with names, numbers and questions."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path

WORDNET = Path("/usr/share/wordnet")
_PART = re.compile(r'[;"()]')
_PLAIN = re.compile(r"[A-Za-z][A-Za-z ,']*[A-Za-z]")

# Lists of words read better as a line than as a column.
# ruff: noqa: SIM905
_NAMES = "Anna Maria John Peter Alice Robert Helen George Laura Victor Emma Martin Clara Henry Sophie Oscar".split()
_PLACES = "London Boston Vienna Tokyo Denver Madrid Oslo Cairo Chicago Lisbon Dublin Sydney Berlin Geneva".split()
_ONES = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_THINGS = "train letter bridge doctor garden window market river story teacher number island machine picture question answer".split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_PATTERNS = (
    "{n} said that the {t} from {p} costs {k} dollars.",
    "Did {n} see the {t} in {p}?",
    "Where is the {t}, {n}?",
    "On {d} we had {k} of them, and on {d} only {k}.",
    "The {t} is {k} miles from {p}.",
    "Please tell {n} to call me at {k} on {d}!",
    "What a beautiful {t}!",
    "How many people live in {p}, {n} asked.",
    "Yes, {n}, the {t} and the {t} are both here.",
    "No.",
    "Hello, {n}!",
    "Can you hear me?",
    "Thank you very much.",
    "The number is {k}, {k}, {k}.",
    "{n} and {n} went to {p} with a {t}.",
    "Why did you leave the {t} in {p} on {d}?",
)


def wordnet(folder: Path = WORDNET, *, shortest: int = 12, longest: int = 110) -> list[str]:
    """Glosses and examples of letters, commas and apostrophes, ``shortest`` to ``longest`` characters; sorted, each once."""
    found = set()
    for file in sorted(folder.glob("data.*")):
        for line in file.read_text(encoding="latin-1").splitlines():
            _, bar, gloss = line.partition(" | ")
            if not bar:
                continue
            for part in _PART.split(gloss):
                sentence = part.strip()
                if shortest <= len(sentence) <= longest and sentence.count(" ") >= 2 and _PLAIN.fullmatch(sentence):
                    found.add(sentence)
    return sorted(found)


def _number(rng: random.Random) -> str:
    n = rng.randrange(1, 1000)
    if n < 20:
        return _ONES[n - 1]
    if n < 100:
        return _TENS[n // 10 - 2] + (f" {_ONES[n % 10 - 1]}" if n % 10 else "")
    rest = rng.choice(_ONES)
    return f"{_ONES[n // 100 - 1]} hundred and {rest}"


def patterned(rng: random.Random) -> str:
    """A sentence with names, places, days or numbers in words; some ask, some call out."""
    fill = {"n": _NAMES, "p": _PLACES, "t": _THINGS, "d": _DAYS}
    pattern = rng.choice(_PATTERNS)
    return re.sub(r"\{(\w)\}", lambda m: _number(rng) if m[1] == "k" else rng.choice(fill[m[1]]), pattern)


def punctuated(sentence: str, rng: random.Random) -> str:
    """A gloss as a sentence: a capital and a mark at its end, mostly a full stop."""
    return sentence[0].upper() + sentence[1:] + rng.choices((".", "?", "!"), (0.85, 0.1, 0.05))[0]


def split(sentences: Iterable[str], *, held_out: int, seed: int = 7) -> tuple[list[str], list[str]]:
    """The sentences in random order: those to train on, and ``held_out`` that no training ever sees."""
    shuffled = sorted(sentences)
    random.Random(seed).shuffle(shuffled)
    return shuffled[held_out:], shuffled[:held_out]
