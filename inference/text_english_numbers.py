"""English numbers as words, spelled by num2words."""

from __future__ import annotations

from functools import lru_cache

from num2words import num2words

from inference.text_english_words import MAGNITUDES

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@lru_cache(maxsize=4096)
def cardinal(number: str) -> str:
    """``1,234.50`` to words; digits one by one behind the point and where leading zeros say that it is a code."""
    whole, _, fraction = number.replace(",", "").partition(".")
    if whole.startswith("0") and len(whole) > 1 and not fraction:
        return digits(whole)
    words = str(num2words(int(whole or "0"))).replace(",", "")
    return f"{words} point {digits(fraction)}" if fraction else words


@lru_cache(maxsize=1024)
def ordinal(number: int) -> str:
    return str(num2words(number, to="ordinal")).replace(",", "")


def digits(text: str) -> str:
    return " ".join(_DIGITS[int(digit)] for digit in text if digit.isdigit())


@lru_cache(maxsize=1024)
def year(number: int) -> str:
    """1905 nineteen oh five, 2005 two thousand and five, 2024 twenty twenty-four."""
    return str(num2words(number, to="year")).replace("oh-", "oh ")


def _is_year(number: str) -> bool:
    return len(number) == 4 and number.isdigit() and (1100 <= int(number) < 2000 or 2001 <= int(number) < 2100)


def number(text: str) -> str:
    return year(int(text)) if _is_year(text) else cardinal(text)


def money(amount: str, magnitude: str | None, names: tuple[str, str, str, str]) -> str:
    """``1.50`` dollars to words. ``names``: one, many, one hundredth, many hundredths; ``magnitude``: ``k``, ``million``, ..."""
    one, many, cent, cents = names
    if magnitude:
        return f"{cardinal(amount)} {MAGNITUDES[magnitude.lower()]} {many}"
    whole, _, fraction = amount.replace(",", "").partition(".")
    if not fraction:
        return f"{cardinal(whole)} {one if int(whole) == 1 else many}"
    if len(fraction) != 2 or not cent:
        return f"{cardinal(amount)} {many}"
    small = f"{cardinal(str(int(fraction)))} {cent if int(fraction) == 1 else cents}"
    if not int(fraction):
        return money(whole, None, names)
    return small if not int(whole) else f"{money(whole, None, names)} and {small}"
