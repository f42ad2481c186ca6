"""What the text room knows of languages other than English: numbers through num2words, Chinese numerals, and how an address is read out."""

# Marks and letters that look alike are what this module is about.
# ruff: noqa: RUF001

from __future__ import annotations

import re
from functools import lru_cache

from num2words import CONVERTER_CLASSES, num2words

from inference.text_trace import Rewrite, Trace

# "." "@" "/" "-" "_" of an address.
_ADDRESS = {
    "en": ("dot", "at", "slash", "dash", "underscore"),
    "de": ("Punkt", "at", "Schrägstrich", "Bindestrich", "Unterstrich"),
    "es": ("punto", "arroba", "barra", "guion", "guion bajo"),
    "fr": ("point", "arobase", "barre oblique", "tiret", "tiret bas"),
    "it": ("punto", "chiocciola", "barra", "trattino", "trattino basso"),
    "nl": ("punt", "apenstaartje", "schuine streep", "streepje", "laag streepje"),
    "pl": ("kropka", "małpa", "ukośnik", "myślnik", "podkreślnik"),
    "pt": ("ponto", "arroba", "barra", "hífen", "sublinhado"),
    "ru": ("точка", "собака", "слэш", "дефис", "подчёркивание"),
    "sv": ("punkt", "snabel-a", "snedstreck", "bindestreck", "understreck"),
    "fi": ("piste", "ät", "kauttaviiva", "viiva", "alaviiva"),
    "tr": ("nokta", "et", "eğik çizgi", "tire", "alt çizgi"),
    "vi": ("chấm", "a còng", "gạch chéo", "gạch ngang", "gạch dưới"),
    "zh": ("点", "艾特", "斜杠", "横杠", "下划线"),
    "ja": ("ドット", "アット", "スラッシュ", "ハイフン", "アンダーバー"),
    "ko": ("점", "골뱅이", "슬래시", "하이픈", "밑줄"),
    "hi": ("डॉट", "ऐट", "स्लैश", "डैश", "अंडरस्कोर"),
    "ar": ("نقطة", "آت", "شرطة مائلة", "شرطة", "شرطة سفلية"),
    "th": ("จุด", "แอท", "ทับ", "ขีด", "ขีดล่าง"),
}

_TOP_LEVEL = (
    "com|org|net|edu|gov|io|ai|dev|app|info|biz|me|tv|co|uk|us|de|fr|es|it|nl|pl|pt|ru|cn|jp|kr|in|br|ca|au|ch|at|se|no|fi|dk|be|eu|cz|tr|"
    "vn|th|mx|ar|cl|nz|ie|xyz|tech|online|site|cloud"
)
_LABELS = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,8}"
_EMAIL = re.compile(rf"(?<![\w.+-])(?:mailto:)?([A-Za-z0-9](?:[\w.+-]{{0,63}}))@({_LABELS}[A-Za-z]{{2,24}})(?![\w@])", re.ASCII)
_URL = re.compile(r"(?<!\w)(?:https?|ftp)://([^\s<>\"'{}|\\^`\u3000-\u9fff\uff00-\uffef]{1,2000})", re.IGNORECASE)
_DOMAIN = re.compile(
    rf"(?<![\w.@/-])((?:www\.)?{_LABELS}(?:{_TOP_LEVEL})(?![\w-])(?!\.[a-z])(?:[:/?#][^\s<>\"'{{}}|\\^`\u3000-\u9fff\uff00-\uffef]{{0,2000}})?)",
    re.IGNORECASE | re.ASCII,
)


def primary(language: str) -> str:
    """``pt-BR`` or ``pt_BR`` to ``pt``."""
    return re.split("[-_]", language.strip().lower(), maxsplit=1)[0]


def region(language: str) -> str:
    """``en-GB`` to ``GB``; empty where the tag names none."""
    parts = [part for part in re.split("[-_]", language.strip())[1:] if len(part) == 2]
    return parts[0].upper() if parts else ""


def _spoken(address: str, language: str) -> str:
    dot, at, slash, dash, underscore = _ADDRESS.get(language, _ADDRESS["en"])
    names = {".": dot, "@": at, "/": slash, "-": dash, "_": underscore}
    out = re.sub(r"[./@_-]", lambda m: f" {names[m[0]]} ", address)
    # Queries are noise to the ear, but none of it is dropped: each separator is a pause.
    return re.sub(r" {2,}", " ", re.sub(r"[?&#=:;,~%+!$*()\[\]]+", ", ", out)).replace(" ,", ",").strip(" ,")


def addresses(trace: Trace, language: str) -> Trace:
    """E-mail addresses, web addresses and domains as they are read out. The scheme and ``www.`` are not spoken."""

    def email(match: re.Match[str]) -> Rewrite:
        return f" {_spoken(match[1].rstrip('.') + '@' + match[2], language)} "

    def url(match: re.Match[str]) -> Rewrite:
        kept = match[1].rstrip(".,;:!?)]*")
        if not any(character.isalnum() for character in kept):
            return None
        spoken = _spoken(re.sub(r"^www\.", "", kept.rstrip("/"), flags=re.IGNORECASE), language)
        return [f" {spoken}", (match.start(1) + len(kept), match.end())]

    if "." not in trace.text and "://" not in trace.text:
        return trace
    return trace.sub(_EMAIL, email).sub(_URL, url).sub(_DOMAIN, url)


# How decimals are read: the word of the separator. These languages write a comma for it, unless they are in the second table.
_COMMA = {
    "de": "Komma", "es": "coma", "fr": "virgule", "it": "virgola", "pt": "vírgula", "nl": "komma", "pl": "przecinek", "ru": "запятая",
    "sv": "komma", "da": "komma", "no": "komma", "fi": "pilkku", "tr": "virgül", "vi": "phẩy", "cs": "celá", "uk": "кома", "id": "koma",
}  # fmt: skip
_POINT = {"th": "จุด", "ko": "점", "he": "נקודה"}
_CONVERTERS = {"pt_BR", "fr_CH", "fr_BE"}

_PLAIN_NUMBER = re.compile(
    r"(?<![\w])(?<![0-9][.,])[0-9]{1,3}(?:[ .,'][0-9]{3}){1,4}(?![0-9])(?:[.,][0-9]{1,15})?|(?<![0-9])[0-9]+(?:[.,][0-9]+)?"
)


@lru_cache(maxsize=4096)
def _words(number: int, language: str) -> str:
    return str(num2words(number, lang=language)).replace(",", "")


def _number(text: str, language: str, converter: str) -> str | None:
    decimal = "." if language in _POINT else ","
    thousands = "," if decimal == "." else "."
    cleaned = text.replace(" ", "").replace("'", "")
    whole, separator, fraction = cleaned.rpartition(decimal)
    if not separator:
        whole, fraction = cleaned, ""
        groups = whole.split(thousands)
        # A point before anything but three digits is a decimal point, whatever the language writes.
        if len(groups) == 2 and len(groups[1]) != 3:
            whole, fraction = groups
    whole = whole.replace(thousands, "").replace(decimal, "")
    if not whole.isdigit() or len(whole) > 12 or (len(whole) > 1 and whole[0] == "0"):
        parts = [_words(int(digit), converter) for digit in cleaned if digit.isdigit()]
        return " ".join(parts)
    words = _words(int(whole), converter)
    if fraction:
        point = (_POINT if language in _POINT else _COMMA)[language]
        words = " ".join([words, point, *(_words(int(digit), converter) for digit in fraction)])
    return words


def numbers(trace: Trace, language: str, tag: str) -> Trace:
    """Plain numbers as words where num2words knows the language and its way with decimals is known; else the digits stay."""
    if language not in CONVERTER_CLASSES or (language not in _COMMA and language not in _POINT):
        return trace
    converter = f"{language}_{region(tag)}" if f"{language}_{region(tag)}" in _CONVERTERS else language

    def rewrite(match: re.Match[str]) -> Rewrite:
        words = _number(match[0], language, converter)
        before, after = match.string[match.start() - 1 : match.start()], match.string[match.end() : match.end() + 1]
        return words and (" " * before.isalpha() + words + " " * after.isalpha())

    if language == "de":
        trace = trace.sub(_GERMAN_DAY, _german_day)
    return trace.sub(_PLAIN_NUMBER, rewrite)


_GERMAN_DAY = re.compile(
    r"(?<![0-9.])([0-9]{1,2})\. ?(?=(?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember)(?!\w))"
)


def _german_day(match: re.Match[str]) -> Rewrite:
    """The point of a German ordinal would read as the end of a sentence: am 3. Mai, am dritten Mai; der 3. Mai, der dritte Mai."""
    nominative = match.string[max(0, match.start() - 4) : match.start()].lower() == "der "
    return str(num2words(int(match[1]), lang="de", to="ordinal")) + (" " if nominative else "n ")


_HAN_DIGITS = "零一二三四五六七八九"
_HAN_NUMBER = re.compile(r"(?<![0-9])(?<![0-9]\.)(-?)([0-9]{1,3}(?:,[0-9]{3}){1,3}|[0-9]+)(?:\.([0-9]+))?(%?)(?=(年)?)")


def han_integer(number: int) -> str:
    """A whole number below 10^12 in Chinese numerals: 10 十, 105 一百零五, 12000 一万两千 as 一万二千."""
    if number == 0:
        return _HAN_DIGITS[0]
    out = ""
    for power, name in ((10**8, "亿"), (10**4, "万"), (1, "")):
        section, number = divmod(number, power)
        if not section:
            out += "零" if out and number and not out.endswith("零") else ""
            continue
        out += "零" if out and section < 1000 and not out.endswith("零") else ""
        gap = False
        for unit, unit_name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
            digit, section = divmod(section, unit)
            if digit:
                out += ("零" if gap else "") + _HAN_DIGITS[digit] + unit_name
                gap = False
            elif out and not out.endswith(("零", "万", "亿")) and section:
                gap = True
        out += name
    return out.removeprefix("一") if out.startswith("一十") else out


def _han(match: re.Match[str]) -> Rewrite:
    sign, whole, fraction, percent, is_year = match[1], match[2].replace(",", ""), match[3], match[4], match[5]
    code = len(whole) > 12 or (len(whole) > 1 and whole[0] == "0") or (bool(is_year) and len(whole) == 4 and not fraction)
    words = "".join(_HAN_DIGITS[int(digit)] for digit in whole) if code else han_integer(int(whole))
    if fraction:
        words += "点" + "".join(_HAN_DIGITS[int(digit)] for digit in fraction)
    negative = bool(sign) and not match.string[: match.start()][-1:].isalnum()
    return ("负" if negative else sign) + ("百分之" if percent else "") + words


# The Chinese part of the training text has these marks in full width, which NFKC takes away.
_HAN_MARKS = {",": "，", "!": "！", "?": "？", ";": "，", ":": "，"}
_HAN_MARK = re.compile(r"(?<=[\u3400-\u9fff])[,!?;:] ?(?=[\u3400-\u9fff\"']|$)|(?<=[\u3400-\u9fff])[,!?] ?")
_HAN_STOP = re.compile(r"(?<=[\u3400-\u9fff])\.(?![\w.])")


def chinese(trace: Trace) -> Trace:
    """Numbers in Chinese numerals, and the marks between Chinese characters as the models were trained on them."""
    trace = trace.sub(_HAN_NUMBER, _han)
    return trace.sub(_HAN_MARK, lambda m: _HAN_MARKS[m[0][0]]).sub(_HAN_STOP, "。")
