"""Text as people write it to text as it is spoken, with the way back to the original."""

from __future__ import annotations

import re

from inference import text_clean, text_english, text_languages
from inference.text_trace import Trace
from inference.text_types import Normalised

_MAX_PASSES = 6
_SUPERSCRIPT = re.compile(r"(?<=\w)\^(?=[-+]?[0-9])")


def normalise(text: str, language: str) -> Normalised:
    """Clean ``text`` and read out what is not words.

    ``language`` is a BCP 47 tag such as ``en-US``; only its language and region count. English gets numbers, dates, times, money, units
    and abbreviations as words; Chinese its numerals; other languages plain numbers where num2words knows them. Characters that nothing is
    known about (emoji, other scripts, lone surrogates) stay, for the vocabulary to judge. Normalising twice gives what normalising once
    gives: the rules are applied until they change nothing.
    """
    trace = Trace(text)
    for _ in range(_MAX_PASSES):
        following = _once(trace, language)
        if following.text == trace.text:
            break
        trace = following
    return Normalised(trace.text, tuple(trace.offsets))


def _once(trace: Trace, language: str) -> Trace:
    primary = text_languages.primary(language)
    trace = text_clean.blocks(text_clean.characters(trace))
    trace = text_clean.emphasis(text_languages.addresses(trace, primary))
    trace = text_clean.spaces(trace)
    if primary == "en":
        trace = text_english.verbalise(trace, region=text_languages.region(language))
    else:
        trace = trace.sub(_SUPERSCRIPT, " ")
        trace = text_languages.chinese(trace) if primary == "zh" else text_languages.numbers(trace, primary, language)
    return text_clean.spaces(trace)
