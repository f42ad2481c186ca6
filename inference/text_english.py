"""English as it is read out: abbreviations, dates, times, money, units, ordinals and numbers become words.

What is here decides which reading a token takes (a year, an ordinal, digits one by one); ``text_english_numbers`` spells it.
Every pattern starts where its kind of token starts and is bounded, so that the work is linear in the length of the text.
"""

# Marks and letters that look alike are what this module is about.
# ruff: noqa: RUF001

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from inference import text_english_ranges, text_english_roman
from inference.text_english_numbers import cardinal, money, number, ordinal, year
from inference.text_english_ranges import called, money_names
from inference.text_english_words import (
    ABBREVIATIONS,
    AFTER_NUMBER,
    BEFORE_NUMBER,
    CURRENCIES,
    CURRENCY_CODES,
    ENDING_ABBREVIATIONS,
    MONTHS,
    SENTENCE_STARTERS,
    SYMBOLS,
    TITLES,
    UNITS,
)
from inference.text_trace import Rewrite, Trace

Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], Rewrite] | str]

_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,4}(?![0-9])(?:\.[0-9]{1,15})?|[0-9]{1,15}(?:\.[0-9]{1,15})?)"
_FRESH = r"(?<![0-9])(?<![0-9][.,])"
_MONTH = "|".join(MONTHS)
_DAY = "([0-9]{1,2})(?:st|nd|rd|th)?"


def _ends_sentence(match: re.Match[str]) -> bool:
    """Whether the point of an abbreviation here is also the end of its sentence."""
    rest = match.string[match.end() : match.end() + 12]
    if not rest.strip(" \"')"):
        return True
    word = re.match(r"[\"')]* +[\"'(]?([A-Z][a-z]*)(?![a-z])", rest)
    return bool(word) and word[1] in SENTENCE_STARTERS  # type: ignore[index]


def _abbreviation(table: Mapping[str, str]) -> Callable[[re.Match[str]], Rewrite]:
    def rewrite(match: re.Match[str]) -> Rewrite:
        short = match[1].lower()
        words = table[short]
        if match[1][0].isupper():
            words = words[0].upper() + words[1:]
        return words + ("." if short in ENDING_ABBREVIATIONS and _ends_sentence(match) else "")

    return rewrite


def _saint_or_street(match: re.Match[str]) -> Rewrite:
    text = match.string
    street = bool(re.search(r"(?:[a-z]|[0-9]|[0-9](?:st|nd|rd|th)) $", text[max(0, match.start() - 4) : match.start()]))
    name_follows = bool(re.match(r" [A-Z]", text[match.end() : match.end() + 2]))
    capital_before = re.search(
        r"(?:^|[^\w])([A-Z][a-z]{1,20}|[0-9]{1,4}(?:st|nd|rd|th)) $", text[max(0, match.start() - 24) : match.start()]
    )
    streetlike = street and bool(capital_before)
    if match[1] == "St":
        words = "Street" if streetlike and not (name_follows and not _ends_sentence(match)) else "Saint"
    else:
        words = "Drive" if streetlike and not (name_follows and not _ends_sentence(match)) else "Doctor"
    return words + ("." if words in {"Street", "Drive"} and _ends_sentence(match) else "")


def _acronym(match: re.Match[str]) -> Rewrite:
    return " ".join(re.sub(r"[. ]", "", match[0]).upper()) + ("." if _ends_sentence(match) else "")


def _initial(match: re.Match[str]) -> Rewrite:
    follower = re.match(r" ?([A-Z][a-z]*)", match.string[match.end() : match.end() + 12])
    return None if match[1] == "I" or (follower and follower[1] in SENTENCE_STARTERS) else match[1]


def _date(month: int, day: int, year_text: str | None) -> str | None:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    end = "" if year_text is None else f", {number(year_text)}"
    return f"{list(MONTHS)[month - 1]} {ordinal(day)}{end}"


def _month_day(match: re.Match[str]) -> Rewrite:
    return _date(list(MONTHS).index(match[1]) + 1, int(match[2]), match[3])


def _day_month(match: re.Match[str]) -> Rewrite:
    day = int(match[1])
    if not 1 <= day <= 31:
        return None
    the = "" if match.string[max(0, match.start() - 4) : match.start()].lower() == "the " else "the "
    return f"{the}{ordinal(day)} of {match[2]}" + (f" {number(match[3])}" if match[3] else "")


def _slash_date(month_first: bool) -> Callable[[re.Match[str]], Rewrite]:
    def rewrite(match: re.Match[str]) -> Rewrite:
        first, second = int(match[1]), int(match[2])
        month, day = (first, second) if month_first else (second, first)
        if month > 12:
            month, day = day, month
        return _date(month, day, match[3] if len(match[3]) == 4 else ("20" if int(match[3]) < 70 else "19") + match[3])

    return rewrite


def _time(match: re.Match[str]) -> Rewrite:
    hour, minute, second = int(match[1]), int(match[2] or 0), match[3]
    if hour > 24 or minute > 59:
        return None
    meridiem = f" {match[4].upper()} M" if match[4] else ""
    words = cardinal(str(hour))
    if minute:
        words += f" {'oh ' if minute < 10 else ''}{cardinal(str(minute))}"
    elif not meridiem and not int(second or 0):
        words += " o'clock" if hour <= 12 else " hundred"
    if second and int(second):
        words += f" and {cardinal(str(int(second)))} seconds"
    dotted = bool(match[4]) and match[0].endswith(".")
    return words + meridiem + ("." if dotted and _ends_sentence(match) else "")


def _money_before(match: re.Match[str]) -> Rewrite:
    return money(match[2], match[3], money_names(match, match[1]))


def _money_after(match: re.Match[str]) -> Rewrite:
    names = CURRENCIES.get(match[2]) or CURRENCY_CODES[match[2]]
    return money(match[1], None, names)


def _unit(match: re.Match[str]) -> Rewrite:
    one, many = UNITS[match[2]]
    return f"{cardinal(match[1])} {one if match[1] == '1' else many}"


def _fraction(match: re.Match[str]) -> Rewrite:
    top, bottom = int(match[2]), int(match[4])
    if not (0 < top < bottom and (bottom <= 10 or bottom in {12, 16, 20, 32, 64, 100} or match[3] == "⁄")):
        return None if match[3] == "/" and match[1] else [(match.start(), match.end(2)), " ", (match.start(4), match.end())]
    name = {2: "half", 4: "quarter"}.get(bottom) or ordinal(bottom)
    plural = {"half": "halves"}.get(name, name + "s")
    words = f"{cardinal(match[2])} {name if top == 1 else plural}"
    if match[1]:
        return f"{cardinal(match[1])} and {'a' + words[3:] if top == 1 and bottom in {2, 4} else words}"
    return words


def _decade(match: re.Match[str]) -> Rewrite:
    value = int(match[2])
    said_so = (
        bool(match[1]) or len(match[2]) == 4 or match.string[max(0, match.start() - 4) : match.start()].lower() in {"the ", "mid-", "ate "}
    )
    if value % 10 or not said_so or value == 0:
        return None
    words = year(value) if len(match[2]) == 4 else cardinal(match[2])
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def _dotted(match: re.Match[str]) -> Rewrite:
    return " point ".join(cardinal(part) for part in match[0].split("."))


def _spell(match: re.Match[str]) -> Rewrite:
    parts: list[str | tuple[int, int]] = []
    for at in range(match.start(), match.end()):
        parts += [" "] * bool(parts) + [(at, at + 1)]
    return parts


def _power(match: re.Match[str]) -> Rewrite:
    sign = {"-": "minus ", "+": ""}.get(match[1], "")
    simple = {"2": " squared", "3": " cubed"}.get(match[2]) if not match[1] else None
    return simple or f" to the power of {sign}{cardinal(match[2])}"


def _symbol(match: re.Match[str]) -> Rewrite:
    return f" {SYMBOLS[match[0]]} "


def _any(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_TITLES = _any([*TITLES, *(title.capitalize() for title in TITLES)])
_BEFORE_NUMBER = _any([*BEFORE_NUMBER, *(word.capitalize() for word in BEFORE_NUMBER if len(word) > 1)])
_UNIT_NAMES = _any(UNITS)
_SIGNS = _any(CURRENCIES)
_MAGNITUDE = r"(?: ?(thousand|million|billion|trillion|(?:[kKmMbB]|[mM]n|[bB]n|[tT]n)(?![\w])))?"
_AFTER_NUMBER = r"(?![0-9]|[.,][0-9])"


def rules(*, month_first: bool) -> list[Rule]:
    """The rules in the order in which they apply. ``month_first``: 3/4/2024 is the fourth of March."""
    compile_ = re.compile
    return [
        (compile_(r"(?i)(?<![\w.])and/or(?!\w)"), "and or"),
        (text_english_roman.PART, text_english_roman.part),
        (text_english_roman.RULER, text_english_roman.ruler),
        (text_english_roman.SEQUEL, text_english_roman.sequel),
        *text_english_ranges.first(_NUMBER, _SIGNS, _MAGNITUDE),
        (compile_(r"#(?=[0-9])"), "number "),
        (compile_(r"(?<![\w#])#(?=[A-Za-z])"), "hashtag "),
        (compile_(r"(?<=[0-9]) - (?=[0-9])"), " minus "),
        (compile_(r"(?<=\w) ?\* ?(?=\w)"), " times "),
        (compile_(r"(?<!\w)~ ?(?=[$£€]?[0-9])"), "about "),
        (compile_(r"(?<=\w) ?< ?(?=[0-9])|(?<=\w) < (?=\w)"), " less than "),
        (compile_(r"(?<=\w) ?> ?(?=[0-9])|(?<=\w) > (?=\w)"), " greater than "),
        (compile_(r"(?<![\w.,'])([0-9])'([0-9]{1,2})\"(?!\w)"), lambda m: f"{cardinal(m[1])} foot {cardinal(m[2])}"),
        (compile_(r"(?<![\w.])(?:Ph\.? ?D|M\.? ?Sc|B\.? ?Sc)\.(?!\w)"), _acronym),
        (compile_(r"(?<![\w/])24/7(?![\w/])"), "twenty-four seven"),
        (compile_(r"(?<![\w.])(Dr|St)\.(?=\s|$|[,;)])"), _saint_or_street),
        (compile_(rf"(?<![\w.])({_TITLES})\.(?= [A-Z])"), _abbreviation(TITLES)),
        (compile_(rf"(?<![\w.'])({_BEFORE_NUMBER})\.(?= [0-9])"), _abbreviation(BEFORE_NUMBER)),
        (compile_(rf"(?<=[0-9] )({_any(AFTER_NUMBER)})\.(?![\w])"), _abbreviation(AFTER_NUMBER)),
        (compile_(rf"(?i)(?<![\w.@])({_any(ABBREVIATIONS)})\.(?![\w@])"), _abbreviation(ABBREVIATIONS)),
        (compile_(r"(?<!\w)(Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)(?:\.(?= ?[0-9])|(?= [0-9]{1,2}(?![0-9]))) ?"),
         lambda m: next(month for month in MONTHS if month.startswith(m[1][:3])) + " "),
        (compile_(rf"(?<!\w)({_MONTH}) {_DAY}(?:,? ([0-9]{{4}})(?![0-9]))?(?![0-9:.,/-][0-9]|[0-9])"), _month_day),
        (compile_(rf"{_FRESH}(?<![\w:/-]){_DAY}(?: of)? ({_MONTH})(?!\w)(?:,? ([0-9]{{4}})(?![0-9]))?"), _day_month),
        (compile_(r"(?<![\w-])([0-9]{4})-([0-9]{2})-([0-9]{2})(?![0-9-])"), lambda m: _date(int(m[2]), int(m[3]), m[1])),
        (compile_(r"(?<![\w/])([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}|[0-9]{2})(?![\w/])"), _slash_date(month_first)),
        (compile_(r"(?<![\w-])([0-9]{1,2})-([0-9]{1,2})-([0-9]{4})(?![\w-])"), _slash_date(month_first)),
        (text_english_ranges.CODE, called),
        (compile_(r"(?<![\w:.])([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?(?: ?([AaPp])(?:\.[Mm]\.|[Mm](?!\w)))?(?![0-9:])"), _time),
        (compile_(r"(?<![\w:.])([0-9]{1,2})()() ?([AaPp])(?:\.[Mm]\.|[Mm](?!\w))"), _time),
        (compile_(r"(?<![0-9])([0-9]{1,3}):([0-9]{1,3})(?![0-9:])"), lambda m: [m.span(1), " to ", m.span(2)]),
        (compile_(r"(?<![\w.-])(?:\+?[0-9]{1,3}[-. ])?\(?[0-9]{3}\)?[-. ][0-9]{3}[-. ][0-9]{4}(?![\w-])"), called),
        (compile_(r"(?<![\w.,-])[0-9]{3}-[0-9]{4}(?![\w-])"), called),
        (compile_(rf"(?<![\w,.])[-](?=(?:{_SIGNS})?[0-9])"), "minus "),
        (compile_(rf"(?<!\w)({_SIGNS}) ?({_NUMBER}){_AFTER_NUMBER}{_MAGNITUDE}"), _money_before),
        (compile_(rf"{_FRESH}({_NUMBER}) ?({_SIGNS}|(?:{'|'.join(CURRENCY_CODES)})(?!\w))"), _money_after),
        (compile_(rf"{_FRESH}(?<![\w:/-])({_NUMBER})-({_NUMBER}){_AFTER_NUMBER}(?![\w]*-)"), lambda m: [m.span(1), " to ", m.span(2)]),
        (compile_(rf"{_FRESH}({_NUMBER}) ?%"), lambda m: cardinal(m[1]) + " percent"),
        (compile_(r"(?<![\w'])(')?([0-9]{4}|[0-9]{2})'?s(?!\w)"), _decade),
        (compile_(rf"{_FRESH}(?<![A-Za-z])({_NUMBER}) ?({_UNIT_NAMES})(?![\w/])"), _unit),
        (compile_(r"\^([-+]?)([0-9]{1,8})"), _power),
        (compile_(r"(?<![\w/⁄.])(?:([0-9]{1,3}) )?([0-9]{1,3})([/⁄])([0-9]{1,3})(?![\w/⁄])"), _fraction),
        (compile_(rf"{_FRESH}([0-9]{{1,3}}(?:,[0-9]{{3}}){{1,4}}|[0-9]{{1,12}})(?:st|nd|rd|th)(?!\w)"),
         lambda m: ordinal(int(m[1].replace(",", "")))),
        (compile_(r"(?<!\w)[vV](?=[0-9]{1,4}\.[0-9])"), "version "),
        (compile_(rf"{_FRESH}[0-9]{{1,6}}(?:\.[0-9]{{1,6}}){{2,6}}(?![0-9])"), _dotted),
        (compile_(r"(?<![\w.])(?:[A-Za-z]\.){2,8}(?![A-Za-z])"), _acronym),
        (compile_(r"(?<![\w.'])([A-Z])\.(?= ?[A-Z][a-z.])"), _initial),
        (compile_(r"(?<![0-9])(?<![0-9],)[0-9]{13,}"), _spell),
        (compile_(r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])"), " "),
        (compile_(r"(?<![\w.])\.(?=[0-9])"), "point "),
        (compile_(rf"(?<![0-9]){_NUMBER}"), lambda m: number(m[0])),
        (compile_(r"(?<![A-Za-z])([A-G])#"), lambda m: [m.span(1), " sharp"]),
        (compile_(_any(SYMBOLS)), _symbol),
        (compile_(r"(?<=[A-Za-z])/(?=[A-Za-z])"), " slash "),
    ]  # fmt: skip


_RULES = {True: rules(month_first=True), False: rules(month_first=False)}


def verbalise(trace: Trace, *, region: str) -> Trace:
    """Everything that is not yet words, as words. ``region``: the upper-case region of the language tag, empty for the United States."""
    for pattern, rewrite in _RULES[region in {"", "US", "PH", "CA"}]:
        trace = trace.sub(pattern, rewrite)
    return trace
