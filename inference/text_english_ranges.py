"""English tokens of several numbers: ranges of money and time, time stamps, numbers that are called digit by digit."""

from __future__ import annotations

import re
from collections.abc import Callable

from inference.text_english_numbers import cardinal, digits, money
from inference.text_english_words import CURRENCIES, CURRENCY_CODES
from inference.text_trace import Rewrite

_DAYS = {
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday", "Thur": "Thursday", "Thurs": "Thursday",
    "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip
_DAY = "|".join(sorted(_DAYS, key=len, reverse=True))
_MERIDIEM = r"(?: ?[AaPp](?:\.[Mm]\.|[Mm]))"

_CLOCK = rf"[0-9]{{1,2}}(?::[0-9]{{2}}(?![0-9:])|{_MERIDIEM}(?!\w))"

_BEFORE_ADJECTIVE = re.compile(r"(?:^|[^\w])(?:an?|the|this|that|his|her|its|our|my|their|your|another|every|one) $", re.IGNORECASE)
_ADJECTIVE = re.compile(
    r" (?:bill|note|coin|fee|fine|tip|prize|deal|ticket|gift|question|house|budget|investment|loan|reward|bet|discount|subscription|"
    r"item|meal|contract|project|company|donation|bonus|deposit|raise|purchase|phone|car|bottle|book|lawsuit|settlement|grant|fund)(?!\w)"
)


def money_names(match: re.Match[str], sign: str) -> tuple[str, str, str, str]:
    """The words of a currency; before a noun it is one dollar however many there are: a twenty dollar bill."""
    names = CURRENCIES.get(sign) or CURRENCY_CODES[sign]
    text = match.string
    adjective = _BEFORE_ADJECTIVE.search(text[max(0, match.start() - 10) : match.start()]) and _ADJECTIVE.match(
        text[match.end() : match.end() + 14]
    )
    return (names[0], names[0], names[2], names[2]) if adjective else names


def _money_range(match: re.Match[str]) -> Rewrite:
    sign, low, high, magnitude = match[1], match[2], match[3], match[4]
    names = money_names(match, sign)
    first = money(low, None, names) if "." in low and not magnitude else cardinal(low)
    return f"{first} to {money(high, magnitude, names)}"


def _money_after_code(match: re.Match[str]) -> Rewrite:
    return money(match[2], match[3], CURRENCY_CODES[match[1]])


def called(match: re.Match[str]) -> Rewrite:
    """Digit by digit, a pause between the groups."""
    groups = re.findall(r"[0-9]+", match[0])
    return ("plus " if match[0].startswith("+") else "") + ", ".join(digits(group) for group in groups)


def _abroad(match: re.Match[str]) -> Rewrite:
    return called(match) if 8 <= sum(character.isdigit() for character in match[0]) <= 15 else None


def _scientific(match: re.Match[str]) -> Rewrite:
    sign = "minus " if match[2] == "-" else ""
    return f"{cardinal(match[1])} times ten to the power of {sign}{cardinal(str(int(match[3])))}"


def _weekdays(match: re.Match[str]) -> Rewrite:
    return f"{_DAYS[match[1]]} to {_DAYS[match[2]]}" + ("." if match[0].endswith(".") and not match.string[match.end() :].strip() else "")


def first(number: str, signs: str, magnitude: str) -> list[tuple[re.Pattern[str], Callable[[re.Match[str]], Rewrite] | str]]:
    """The rules, which come before those of single numbers.

    Args:
        number, signs, magnitude: patterns of a number, of the signs of currencies, and of what may follow both (one group).
    """
    compile_ = re.compile
    codes = "|".join(CURRENCY_CODES)
    return [
        (compile_(r"(?<=[0-9]{4}-[0-9]{2}-[0-9]{2})T(?=[0-9]{2}:[0-9]{2})"), " at "),
        (compile_(r"(?<=:[0-9]{2})(?:\.[0-9]{1,9})?Z(?!\w)"), " U T C"),
        (compile_(r"(?<!\w)Rs\.? ?(?=[0-9])"), "₹"),
        (compile_(rf"(?<!\w)({signs}) ?({number}) ?- ?(?:\1 ?)?({number})(?![0-9]|[.,-][0-9]){magnitude}"), _money_range),
        (compile_(rf"(?<!\w)({codes}) ({number})(?![0-9]|[.,][0-9]){magnitude}"), _money_after_code),
        (compile_(rf"(?<![\w:.-])([0-9]{{1,2}}(?::[0-9]{{2}})?{_MERIDIEM}?) ?- ?(?={_CLOCK})"), lambda m: [m.span(1), " to "]),
        (compile_(rf"(?<!\w)({_DAY})\.?-({_DAY})(?!\w)\.?"), _weekdays),
        (compile_(r"(?<![\w.])([0-9](?:\.[0-9]{1,15})?)[eE]([-+]?)([0-9]{1,3})(?![\w.])"), _scientific),
        (compile_(r"(?<![\w.,:-])50-50(?![\w-])"), "fifty-fifty"),
        (compile_(r"(?<=[0-9]) / (?=[0-9])"), " divided by "),
        (compile_(r"(?<![\w/])[wW]/o(?![\w/])"), "without"),
        (compile_(r"(?<![\w/])w/ ?(?=[A-Za-z])(?!w)"), "with "),
        (compile_(r"(?<!\w)\+[0-9]{1,3}(?:[ .-]\(?[0-9]{1,5}\)?){2,5}(?!\w)"), _abroad),
        (compile_(r"(?<![\w.,-])0[0-9]{2,4}(?: [0-9]{3,4}){1,3}(?![\w-])"), called),
    ]  # fmt: skip


CODE = re.compile(r"(?<![\w.,-])(?![0-9]{1,2}-[0-9]{1,2}-[0-9]{4}(?![0-9]))[0-9]{1,5}(?:-[0-9]{1,7}){2,4}(?![\w-])")
"""Three groups and more are called digit by digit: account numbers, ISBNs. After the dates."""
