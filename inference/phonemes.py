"""The sounds of English that the bundled voice is written in, and the way from text to them. Needs no torch.

The symbols are ARPAbet's in lower case, as flite writes them (``ax`` is the schwa); a vowel carries its stress, 1 or 0. Beside them are
the silences, told apart by the mark that brings them, and :data:`REFERENCE`, which stands where the sounds of a reference are not known.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

VOWELS = ("aa", "ae", "ah", "ao", "aw", "ax", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw")
CONSONANTS = (
    *("b", "ch", "d", "dh", "f", "g", "hh", "jh", "k", "l", "m", "n", "ng", "p", "r", "s", "sh", "t", "th", "v", "w", "y", "z", "zh"),
)
PAUSE = "pau"
PAUSES = (PAUSE, ",", ".", "?", "!")
REFERENCE = "<reference>"
SYMBOLS = (" ", REFERENCE, *PAUSES, *(f"{vowel}{stress}" for vowel in VOWELS for stress in "01"), *CONSONANTS)
"""The vocabulary file of a voice that is written in phonemes; as in upstream's files the first is a space."""
INDEX = {symbol: i for i, symbol in enumerate(SYMBOLS)}

# The International Phonetic Alphabet as gruut writes American English.
# ruff: noqa: RUF001
_IPA = {
    **{"ɑ": "aa", "æ": "ae", "ʌ": "ah", "ɔ": "ao", "aʊ": "aw", "ə": "ax", "aɪ": "ay", "ɛ": "eh", "ɚ": "er", "ɝ": "er", "eɪ": "ey"},
    **{"ɪ": "ih", "i": "iy", "oʊ": "ow", "ɔɪ": "oy", "ʊ": "uh", "u": "uw", "ɜ": "er", "ɐ": "ax", "ᵻ": "ih", "o": "ow", "e": "ey"},
    **{"b": "b", "t͡ʃ": "ch", "d": "d", "ð": "dh", "f": "f", "ɡ": "g", "h": "hh", "d͡ʒ": "jh", "k": "k", "l": "l", "m": "m", "n": "n"},
    **{"ŋ": "ng", "p": "p", "ɹ": "r", "s": "s", "ʃ": "sh", "t": "t", "θ": "th", "v": "v", "w": "w", "j": "y", "z": "z", "ʒ": "zh"},
    **{"a": "aa", "ɾ": "t", "x": "k", "r": "r", "g": "g"},
}
_STRESS = {"ˈ": "1", "ˌ": "1"}
_MARKS = {",": ",", ";": ",", ":": ",", "|": ",", ".": ".", "‖": ".", "?": "?", "!": "!", "…": "."}
_BREAKS = {"-": ",", "–": ",", "—": ","}

_turn = threading.Lock()


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text as it was written, and its symbols; a pause where ``text`` is a mark."""

    text: str
    symbols: tuple[str, ...]


def symbol(ipa: str) -> str | None:
    """The symbol of one phoneme of gruut, stress included; None for one that English does not have."""
    stress = next((_STRESS[mark] for mark in ipa if mark in _STRESS), "0")
    bare = "".join(mark for mark in ipa if mark not in _STRESS and mark not in "ːˑ‿")
    name = _IPA.get(bare)
    if name is None:
        return None
    return f"{name}{stress}" if name in VOWELS else name


@lru_cache(maxsize=512)
def words(text: str) -> tuple[Word, ...]:
    """English ``text``, normalised, as words in symbols with the pauses between them.

    Lexicon and letter-to-sound rules are gruut's. A word of which nothing can be said is left out.
    """
    from gruut import sentences

    found: list[Word] = []
    # gruut keeps one SQLite connection to its lexicon, which belongs to no thread in particular.
    with _turn:
        for sentence in sentences(text, lang="en-us", espeak=False):
            for word in sentence:
                mark = _MARKS.get(word.text) or _BREAKS.get(word.text)
                if mark is not None:
                    found.append(Word(word.text, (mark,)))
                    continue
                said = tuple(s for s in map(symbol, word.phonemes or ()) if s is not None)
                if said:
                    found.append(Word(word.text, said))
    return tuple(found)


def spell(found: Iterable[Word]) -> list[str]:
    """Symbols of an utterance: a pause, the words with at most one pause between two, and that of its last mark (else ``.``)."""
    symbols = [PAUSE]
    for word in found:
        if word.symbols[0] in PAUSES:
            if symbols[-1] not in PAUSES:
                symbols.append(word.symbols[0])
            elif len(symbols) > 1:
                symbols[-1] = word.symbols[0]
        else:
            symbols += word.symbols
    if symbols[-1] not in PAUSES:
        symbols.append(".")
    elif symbols[-1] == ",":
        symbols[-1] = "."
    return symbols
