"""Cleaning that no language needs to know of: compatibility forms, invisible characters, typography, markdown, white space."""

# Marks and letters that look alike are what this module is about.
# ruff: noqa: RUF001

from __future__ import annotations

import re
import unicodedata

from inference.text_trace import Rewrite, Trace

REPLACEMENT = "\ufffd"

# White space of every kind, and controls, which carry no sound but part words. Format characters (zero width, byte order mark, soft hyphen,
# bidirectional marks, tags) and variation selectors carry neither.
_LINE_BREAK = re.compile(r"\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_INVISIBLE_MARKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")


def _invisible(character: str) -> bool:
    code = ord(character)
    return (
        unicodedata.category(character) == "Cf"
        or character in _INVISIBLE_MARKS
        or 0xFE00 <= code <= 0xFE0F
        or 0xE0100 <= code <= 0xE01EF
        or 0x180B <= code <= 0x180F
    )


def _plain(character: str) -> str:
    if character == "\n":
        return character
    if character.isspace() or unicodedata.category(character) == "Cc":
        return " "
    if _invisible(character):
        return ""
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.decimal(character))
    return character


_NOT_PLAIN = re.compile(r"[^\x21-\x7e\n ]")
_SUPERSCRIPT = re.compile(r"(?<=[^\s^])[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,8}")
_VULGAR_FRACTION = re.compile(r"(?<=[0-9])(?=[¼½¾⅐-⅞])")
_LETTER_SYMBOL = re.compile(r"(?<=\w)(?=[™℠℡№])")


def _composes_backwards(character: str) -> bool:
    """Whether NFKC may join this character with what stands before it: combining marks, and the vowels and finals of Hangul."""
    first = unicodedata.normalize("NFKD", character)[:1]
    return unicodedata.category(first)[0] == "M" or "\u1160" <= first <= "\u11ff"


def compose(trace: Trace) -> Trace:
    """NFKC, a run at a time, so that each character keeps its offset; equal to NFKC of the whole."""
    if trace.text.isascii():
        return trace
    cuts = [0, *(i for i, c in enumerate(trace.text) if i and not (c > "\x7f" and _composes_backwards(c))), len(trace.text)]
    return trace.pieces(cuts, lambda piece: piece if piece.isascii() else unicodedata.normalize("NFKC", piece))


_TYPOGRAPHY = {
    "“": '"', "”": '"', "„": '"', "‟": '"', "«": '"', "»": '"', "″": '"', "〝": '"', "〞": '"',
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "′": "'", "‹": "'", "›": "'", "ʼ": "'",
    "‐": "-", "‑": "-", "‒": "-", "−": "-", "⁃": "-", "﹣": "-",
    "―": "—", "⸺": "—", "⸻": "—",
}  # fmt: skip
_TYPOGRAPHIC = re.compile("[" + "".join(_TYPOGRAPHY) + "]")
_NUMBER_DASH = re.compile(r"(?:(?<=[0-9])|(?<=[0-9][AaPp][Mm])|(?<=[0-9] [AaPp][Mm]))–(?=[$£€¥₹]?[0-9])")
# A dash at the head of a line opens direct speech and is not spoken; elsewhere it is the pause of a comma.
_LEADING_DASH = re.compile(r"(^|\n)[ ]?[—–]{1,3}[ ]?")
_DASH = re.compile(r" ?(?:[—–][—– ]{0,8}|(?<=[^\s-])--(?=[^\s-])|(?<= )--? (?=[^\W\d_]))")


def characters(trace: Trace) -> Trace:
    """Character by character: line breaks, spaces, invisible characters, digits of every script, NFKC, quotes and dashes."""
    trace = trace.sub(_LINE_BREAK, "\n")
    trace = trace.sub(_NOT_PLAIN, lambda m: _plain(m[0]) if _plain(m[0]) != m[0] else None)
    trace = trace.sub(_SUPERSCRIPT, lambda m: ["^", m.span()])
    trace = trace.sub(_VULGAR_FRACTION, " ").sub(_LETTER_SYMBOL, " ")
    trace = compose(trace)
    # Compatibility forms may hide spaces (U+00A8 is a space and a mark).
    trace = trace.sub(_NOT_PLAIN, lambda m: _plain(m[0]) if _plain(m[0]) != m[0] else None)
    trace = trace.sub(_TYPOGRAPHIC, lambda m: _TYPOGRAPHY[m[0]])
    trace = trace.sub(_NUMBER_DASH, "-").sub(_LEADING_DASH, lambda m: [m.span(1)])
    return trace.sub(_DASH, ", ")


# Markdown. Each pattern is bounded, so that no text makes it slow.
_FENCE = re.compile(r"(?m)^ {0,8}(?:```|~~~)[\w+-]{0,20} *$")
_RULE = re.compile(r"(?m)^[ ]{0,8}(?:[-=_*~+#][ ]?){3,}$")
_TABLE_RULE = re.compile(r"(?m)^[ |:-]{0,200}\|[ |:-]{0,200}$")
_TABLE_ROW = re.compile(r"(?m)^ {0,8}\|(?=[^\n]*\|[ ]*$)[^\n]*$")
_HEADING = re.compile(r"(?m)^[ ]{0,8}#{1,6}[ ]++([^\n]*)$")
_BULLET = re.compile(r"(?m)^[ ]{0,16}(?:[-*+•‣◦▪●○]|>)[ ]++")
_NUMBERED = re.compile(r"(?m)^[ ]{0,16}([0-9]{1,3}[.)][ ])(?=[^\n])")
_HTML_BLOCK = re.compile(r"(?i)</?(?:br|p|div|li|ul|ol|h[1-6]|tr|table|hr)(?:\s[^<>\n]{0,300})?/?>")
_HTML_INLINE = re.compile(r"(?i)</?(?:b|i|u|s|a|em|strong|span|code|sup|sub|small|mark|td|th)(?:\s[^<>\n]{0,300})?/?>")
_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]\n]{0,500})\]\((?:[^()\s]{0,1000})(?:[ ]\"[^\"\n]{0,200}\")?\)")
_REFERENCE_LINK = re.compile(r"!?\[([^\[\]\n]{1,500})\]\[[^\[\]\n]{0,100}\]")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^<>\s]{1,1000})>")
_STRIKE = re.compile(r"~~+")
_STARS = re.compile(r"\*+")
_UNDERSCORES = re.compile(r"_+")
_CODE = re.compile(r"`+")

_ENDS = ".!?。！？…:;,：；，、।؟"
_OPEN_LINE_END = re.compile(r"(?<=[^\s" + re.escape(_ENDS) + r"\"')\]])[\"')\]]{0,3}[ ]*\n")


def _stars(match: re.Match[str]) -> Rewrite:
    text, start, end = match.string, match.start(), match.end()
    before, after = text[start - 1 : start], text[end : end + 1]
    alone = match[0] == "*" and before == after == " "
    product = match[0] == "*" and before.isdigit() and after.isdigit()
    return None if alone or product else ""


def _underscores(match: re.Match[str]) -> Rewrite:
    text, start, end = match.string, match.start(), match.end()
    between = text[start - 1 : start].isalnum() and text[end : end + 1].isalnum()
    return " " if between else ""


def _table_row(match: re.Match[str]) -> Rewrite:
    """Cells apart by commas."""
    parts: list[str | tuple[int, int]] = []
    at = match.start()
    for cell in match[0].split("|"):
        stripped = cell.strip()
        if stripped:
            start = at + cell.index(stripped)
            parts += [", "] * bool(parts) + [(start, start + len(stripped))]
        at += len(cell) + 1
    return [*parts, "\n\n"]


def blocks(trace: Trace) -> Trace:
    """Markdown's blocks and links. Headings, list items and table rows become paragraphs of their own."""
    trace = trace.sub(_HTML_BLOCK, "\n\n").sub(_HTML_INLINE, "")
    trace = trace.sub(_FENCE, "").sub(_TABLE_RULE, "").sub(_RULE, "\n")
    trace = trace.sub(_TABLE_ROW, _table_row)
    trace = trace.sub(_HEADING, lambda m: ["\n\n", m.span(1), "\n\n"])
    trace = trace.sub(_BULLET, "\n\n").sub(_NUMBERED, lambda m: ["\n\n", m.span(1)])
    trace = trace.sub(_IMAGE_OR_LINK, lambda m: [m.span(1)]).sub(_REFERENCE_LINK, lambda m: [m.span(1)])
    return trace.sub(_AUTOLINK, lambda m: [m.span(1)])


def emphasis(trace: Trace) -> Trace:
    """Marks of emphasis and code, after addresses have been read out, in which ``_`` is a character."""
    return trace.sub(_CODE, "").sub(_STRIKE, "").sub(_STARS, _stars).sub(_UNDERSCORES, _underscores)


_PARAGRAPH = re.compile(r"[ ]*\n[ ]*(?:\n[ \n]*)")
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff，。！？、；："
_CJK_WRAP = re.compile(rf"(?<=[{_CJK}])[ ]*\n[ ]*(?=[{_CJK}])")
_SPACES = re.compile(r"[ \n]+")
_SPACE_BEFORE = re.compile(r"[ ]+(?=[,.;:!?%)\]}。，！？、](?![\w.]))")
_EDGE = re.compile(r"^[ ]+|[ ]+$")
_PAUSES = re.compile(r"[.,;:!?。，！？…-][.,;:!?。，！？… -]+")
_NOISE = re.compile(r"[]\[(){}\"'.,;:!?/\\=_*~#-][]\[(){}\"'.,;:!?/\\=_*~# -]{8,}")


def _paragraph(match: re.Match[str]) -> Rewrite:
    before = match.string[: match.start()][-3:].rstrip("\"')]”’ ")
    if not before or before[-1] in _ENDS:
        return " "
    return "。" if "\u3040" <= before[-1] <= "\u9fff" else ". "


def _strongest(match: re.Match[str]) -> Rewrite:
    """Several pauses in a row are one: the strongest of them. An ellipsis, ``?!`` and a hyphen inside a word stay."""
    run = match[0].rstrip(" ")
    tail = match[0][len(run) :]
    # A point with one mark after it may belong to an abbreviation ("Inc., ").
    if len(run) == 1 or run in {"...", "?!", "!?"} or (len(run) == 2 and run[0] == "." and run[1] != "."):
        return None
    kept = next((mark for mark in "？?！!。.…；;：:，," if mark in run), "")
    if set(run) <= {".", " ", "…"} and (run.count(".") >= 3 or "…" in run):
        kept = "..."
    if set(run) <= {"-", " "}:
        return ", " if len(run) > 2 else None
    if run in {":-", ",-", "-,", "-.", "?-", "!-"}:
        return None
    return kept + (" " if tail else "")


def spaces(trace: Trace) -> Trace:
    """Paragraphs end as sentences, white space is one space or none, repeated punctuation is one mark."""
    trace = trace.sub(_PARAGRAPH, _paragraph).sub(_CJK_WRAP, "").sub(_SPACES, " ")
    trace = trace.sub(_NOISE, lambda m: next((mark for mark in "?!." if mark in m[0]), ",") + " ")
    trace = trace.sub(_PAUSES, _strongest).sub(_SPACE_BEFORE, "")
    return trace.sub(_SPACES, " ").sub(_EDGE, "")
