"""The vocabulary of a checkpoint, and the way from text to its tokens.

The checkpoints were trained on characters, with Chinese in pinyin: ``tokenise`` makes the same tokens as the conversion of f5-tts
(``f5_tts.model.utils.convert_char_to_pinyin``), which cannot be imported without torch, and knows where each came from.
"""

# Marks and letters that look alike are what this module is about.
# ruff: noqa: RUF001, RUF002

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from inference.text_clean import REPLACEMENT
from inference.text_types import Unsupported, UnsupportedCharactersError

# Marks that stand in for one another, the best substitute first. A mark is spoken by its pause alone, so nothing is lost.
_SUBSTITUTES: dict[str, str] = {
    "，": ",", "、": "，,", "。": ".", "！": "!", "？": "?", "；": "，,", "：": "，,", ":": ",", "…": ".。", "—": "–-,", "–": "—-,",
    "؟": "?", "،": ",", "؛": ",", "۔": ".", "।": ".", "॥": ".", "။": ".", "·": "・ ", "・": "· ", "〜": "-", "⋯": "….",
    "「": "\"", "」": "\"", "『": "「\"", "』": "」\"", "《": "\"", "》": "\"", "〈": "《\"", "〉": "》\"", "【": "[\"", "】": "]\"",
    "〔": "[(\"", "〕": "])\"", "(": ",", ")": ",", "[": "(,", "]": "),", "{": "(,", "}": "),", "\"": "' ", "'": " ",
    "¿": " ", "¡": " ", "-": " ", "?": ".", "!": ".", ",": " ", ".": ", ",
}  # fmt: skip

# Upstream's own substitutions, made before the text is cut.
_UPSTREAM = str.maketrans({";": ",", "“": '"', "”": '"', "‘": "'", "’": "'"})


def _is_chinese(character: str) -> bool:
    return "\u3100" <= character <= "\u9fff"


@lru_cache(maxsize=8192)
def _pinyin(text: str) -> tuple[str, ...]:
    from pypinyin import Style, lazy_pinyin

    return tuple(lazy_pinyin(text, style=Style.TONE3, tone_sandhi=True))


def tokenise(text: str) -> list[tuple[str, int]]:
    """Tokens of ``text`` with the offset of the character that each stands for; an inserted space has that of the character after it.

    Chinese characters become a space and a syllable with its tone (``" ", "ni3"``); all other characters stay. ``text`` must hold no lone
    surrogate (UnicodeEncodeError).
    """
    import rjieba

    return list(_tokens(rjieba.cut(text.translate(_UPSTREAM))))


def _tokens(segments: Sequence[str]) -> Iterator[tuple[str, int]]:
    at = 0
    last = ""
    for segment in segments:
        size = len(segment.encode())
        if size == len(segment):
            if last and size > 1 and last not in " :'\"":
                yield " ", at
            tokens = [(character, at + i) for i, character in enumerate(segment)]
        elif size == 3 * len(segment):
            tokens = _syllables(segment, at)
        else:
            tokens = []
            for i, character in enumerate(segment):
                if ord(character) >= 256 and _is_chinese(character):
                    tokens += [(" ", at + i), *((token, at + i) for token in _pinyin(character))]
                else:
                    tokens.append((character, at + i))
        yield from tokens
        last = tokens[-1][0] if tokens else last
        at += len(segment)


def _syllables(segment: str, at: int) -> list[tuple[str, int]]:
    syllables = _pinyin(segment)
    if len(syllables) != len(segment):
        # pypinyin joins characters without a reading; one by one the tokens keep in step with the text.
        syllables = tuple(_pinyin(character)[0] for character in segment)
    tokens = []
    for i, (character, syllable) in enumerate(zip(segment, syllables, strict=True)):
        if _is_chinese(character):
            tokens.append((" ", at + i))
        tokens.append((syllable, at + i))
    return tokens


class Vocabulary:
    """The tokens of a checkpoint; a token's index is its place in ``tokens``.

    Where upstream speaks an unknown token as index 0, the space, this one says so: ``unsupported`` lists what the checkpoint has no token
    for, and ``encode`` refuses it. Punctuation that is missing is read as its nearest relative (``，`` as ``,``). The first token must be
    the space (ValueError), as upstream's checkpoints have it.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        if not tokens or tokens[0] != " ":
            raise ValueError("The first token of a vocabulary is the space")
        self._index = {token: i for i, token in enumerate(tokens)}
        self._size = len(tokens)

    @classmethod
    def from_file(cls, path: str | Path) -> Vocabulary:
        """Upstream's ``vocab.txt``: UTF-8, one token a line, the line number its index, the first line a space."""
        content = Path(path).read_text(encoding="utf-8")
        lines = content.split("\n")
        return cls(lines[:-1] if lines[-1] == "" else lines)

    def __len__(self) -> int:
        return self._size

    def __contains__(self, token: str) -> bool:
        return token in self._index

    def encode(self, text: str, language: str) -> list[int]:
        """Indices of the tokens of normalised ``text``. Raises UnsupportedCharactersError with positions in ``text``."""
        missing = self.unsupported(text, language)
        if missing:
            raise UnsupportedCharactersError(missing)
        return [index for index, _, _ in self._lookup(text) if index is not None]

    def unsupported(self, text: str, language: str) -> list[Unsupported]:  # noqa: ARG002 - one tokeniser serves all languages so far
        """The characters of normalised ``text`` that the checkpoint has no token for, in order; positions are offsets into ``text``."""
        readable = "".join(REPLACEMENT if "\ud800" <= character <= "\udfff" else character for character in text)
        found: list[Unsupported] = []
        for index, _, at in self._lookup(readable):
            if index is None and (not found or found[-1].position != at):
                character = text[at]
                found.append(Unsupported(f"U+{ord(character):04X}" if "\ud800" <= character <= "\udfff" else character, at))
        return found

    def drop(self, text: str, language: str) -> str:
        """Normalised ``text`` without the characters that the checkpoint lacks; a letter with a mark it lacks loses only the mark."""
        repairs = self.repairs(text, language)
        return "".join(repairs.get(i, character) for i, character in enumerate(text))

    def repairs(self, text: str, language: str) -> dict[int, str]:
        """What ``drop`` puts in the place of each unsupported character, by its offset: its bare letter, or nothing."""
        out = {}
        for item in self.unsupported(text, language):
            character = text[item.position]
            bare = "".join(c for c in unicodedata.normalize("NFD", character) if not unicodedata.combining(c))
            usable = len(bare) == 1 and bare.isalpha() and bare != character and not self.unsupported(bare, language)
            out[item.position] = bare if usable else ""
        return out

    def _lookup(self, text: str) -> Iterator[tuple[int | None, str, int]]:
        for token, at in tokenise(text):
            yield self._find(token, text[at]), token, at

    def _find(self, token: str, character: str) -> int | None:
        # The replacement character is in upstream's vocabulary, but says only that something was lost on the way here.
        if token == REPLACEMENT:
            return None
        if token in self._index:
            return self._index[token]
        # A vocabulary of characters may know the Chinese character itself.
        if len(token) > 1 and character in self._index:
            return self._index[character]
        seen = {token}
        for substitute in _SUBSTITUTES.get(token, ""):
            if substitute not in seen and substitute in self._index:
                return self._index[substitute]
            seen.add(substitute)
        return None
