"""The vocabulary: upstream's tokens and indices, and no character that is silently a space."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.text import TextError, Unsupported, UnsupportedCharactersError, Vocabulary
from inference.text_vocabulary import tokenise

UPSTREAM = Path(str(files("f5_tts") / "infer")).parent
Convert = Callable[[list[str]], list[list[str]]]


@pytest.fixture(scope="module")
def base() -> Vocabulary:
    return Vocabulary.from_file(UPSTREAM / "infer/examples/vocab.txt")


@pytest.fixture(scope="module")
def convert() -> Convert:
    """Upstream's conversion, loaded from its file: the package around it imports the trainer."""
    spec = importlib.util.spec_from_file_location("upstream_utils", UPSTREAM / "model/utils.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.convert_char_to_pinyin


SENTENCES = [
    "你好，世界！",
    "重庆银行的行长，行走在长长的街上。",
    "一不小心，不要不去，一个一个来。",
    "他说：“好的”；然后‘走’了。",
    "我是Tom，今年25岁，AI技术(v2.0)很棒！",
    "今天下雨了…真的——吗？",
    "Hello world, this is it; yes: \"quoted\" 'text'.",
    "对，这就是我，万人敬仰的太乙真人。Some call me nature.",
    "café é好é Привет안녕 สวัสดี 日本語のテキスト、カタカナ",
    "龘㗎𠮶ㄅ😀一二三〇",
]


@pytest.mark.parametrize("text", SENTENCES)
def test_tokens_are_those_of_upstream(convert: Convert, text: str) -> None:
    tokens = tokenise(text)
    assert [token for token, _ in tokens] == convert([text])[0]
    positions = [at for _, at in tokens]
    assert positions == sorted(positions)
    assert {at for token, at in tokens if token != " "} == {at for at, character in enumerate(text) if character != " "}


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="你好世界中国人一不了的行长，。！ aB1.'\":é—…あ가я;😀", max_size=24))
def test_tokens_are_those_of_upstream_whatever_the_mix(convert: Convert, text: str) -> None:
    assert [token for token, _ in tokenise(text)] == convert([text])[0]


def test_index_is_the_line_number(base: Vocabulary) -> None:
    lines = (UPSTREAM / "infer/examples/vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert len(base) == len(lines) == 2545
    assert base.encode(" aZ你", "zh") == [lines.index(token) for token in (" ", "a", "Z", " ", "ni3")]


def test_file_without_a_last_line_break(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text(" \na\nb", encoding="utf-8")
    assert Vocabulary.from_file(path).encode("b a", "en") == [2, 0, 1]


@pytest.mark.parametrize("tokens", [[], ["a", " "]])
def test_the_first_token_is_the_space(tokens: list[str]) -> None:
    with pytest.raises(ValueError, match="space"):
        Vocabulary(tokens)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("plain", []),
        ("a😀b", [Unsupported("😀", 1)]),
        ("नमस्ते"[:1], [Unsupported("न", 0)]),
        ("x\ud800y", [Unsupported("U+D800", 1)]),
        ("x\ufffdy", [Unsupported("\ufffd", 1)]),
        ("你好龘", []),
        ("안녕쀍", [Unsupported("쀍", 2)]),
        ("^|", [Unsupported("^", 0), Unsupported("|", 1)]),
    ],
)
def test_unsupported(base: Vocabulary, text: str, missing: list[Unsupported]) -> None:
    assert base.unsupported(text, "en") == missing


def test_encode_refuses_what_it_cannot_speak(base: Vocabulary) -> None:
    with pytest.raises(UnsupportedCharactersError) as caught:
        base.encode("one 😀 two", "en")
    assert isinstance(caught.value, TextError)
    assert caught.value.code == "UNSUPPORTED_CHARACTERS"
    assert caught.value.details == {"characters": [{"character": "😀", "position": 4}]}
    assert "😀" not in caught.value.message


def test_missing_marks_are_read_as_their_relatives() -> None:
    vocabulary = Vocabulary([" ", ",", ".", "?", "-", '"', "a", "ni3", "hao3"])
    assert vocabulary.encode("a，a。a？a…a—a「a」", "zh") == [vocabulary.encode(c, "en")[0] for c in 'a,a.a?a.a-a"a"']
    assert vocabulary.encode("a;", "en") == [6, 1]


def test_a_vocabulary_of_characters_knows_chinese_as_it_is_written() -> None:
    assert Vocabulary([" ", "你", "好"]).encode("你好", "zh") == [0, 1, 0, 2]


def test_drop(base: Vocabulary) -> None:
    assert base.drop("a😀b ḗ ok", "en") == "ab e ok"


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30))
def test_what_is_left_after_dropping_encodes(base: Vocabulary, text: str) -> None:
    kept = base.drop(text, "en")
    assert all(0 <= index < len(base) for index in base.encode(kept, "en"))
    if not base.unsupported(text, "en"):
        assert kept == text
