"""Sentences and captions out of words: nothing lost, nothing that a player would choke on."""

from __future__ import annotations

import html
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.jobs.captions import LINE_WIDTH, LINES, LONGEST_CUE_S, Word, lines, readable, sentences, srt, vtt, width

TIME = re.compile(r"(\d\d):(\d\d):(\d\d)[.,](\d{3})")
TEXTS = st.text(st.sampled_from(" ab.,!?\"'«»()<>&-\n\té漢字、。ｱ{\\1"), min_size=1, max_size=200)


def spoken(text: str, *, word_s: float = 0.4) -> list[Word]:
    found = [match.span() for match in re.finditer(r"[^\W_]+", text)]
    return [Word(start, end, n * word_s, (n + 1) * word_s, 0.9) for n, (start, end) in enumerate(found)]


def said(text: str, cues: list[Word]) -> list[str]:
    return [text[cue.start : cue.end] for cue in cues]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ('He said: "Go." "Where?" she asked.', ['He said: "Go."', '"Where?"', "she asked."]),
        ("Mr. Smith met J. Doe. They left.", ["Mr. Smith met J. Doe.", "They left."]),
        ("It costs e.g. five. Or six.", ["It costs e.g. five.", "Or six."]),
        ("First line\n\nSecond line", ["First line", "Second line"]),
        ("你好。再见。", ["你好。", "再见。"]),
        ("Wait ... what? (Yes.) No.", ["Wait ...", "what?", "(Yes.)", "No."]),
        ("¿Qué? ¡Nada!", ["¿Qué?", "¡Nada!"]),
    ],
)
def test_sentences_have_their_marks(text: str, expected: list[str]) -> None:
    assert said(text, sentences(text, spoken(text))) == expected


@given(TEXTS)
def test_every_word_is_in_one_sentence_and_in_one_cue(text: str) -> None:
    words = spoken(text)
    for made in (sentences(text, words), readable(text, words)):
        places = [(cue.start, cue.end) for cue in made]
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(places)), "they do not overlap"
        for word in words:
            (home,) = [cue for cue in made if cue.start <= word.start and word.end <= cue.end]
            assert home.start_s <= word.start_s <= word.end_s <= home.end_s


@given(TEXTS)
def test_cues_can_be_read(text: str) -> None:
    words = spoken(text)
    for cue in readable(text, words):
        inside = [word for word in words if cue.start <= word.start < cue.end]
        if len(inside) > 1:
            assert cue.end_s - cue.start_s <= LONGEST_CUE_S + 1e-9
    for block in vtt(text, readable(text, words)).split("\n\n")[1:]:
        shown = [html.unescape(line) for line in block.strip().split("\n")[1:]]
        assert len(shown) <= LINES or any(len(line.split()) == 1 for line in shown)


def test_long_sentences_part_at_a_comma() -> None:
    text = "When the rain had stopped and the roads were dry again, the whole family went down to the old harbour to look at ships."
    first, second = said(text, readable(text, spoken(text, word_s=0.2)))
    assert first.endswith("again,")
    assert second.startswith("the whole")


@given(TEXTS)
def test_lines_keep_the_text(text: str) -> None:
    shown = " ".join(text.split())
    broken = lines(shown)
    assert "".join("".join(broken).split()) == "".join(shown.split())
    assert all(width(line) <= LINE_WIDTH or " " not in line for line in broken)
    assert lines("漢" * 30) == ["漢" * 15, "漢" * 15], "two columns each, and two even lines"


def test_subrip() -> None:
    text = "Is 2 < 3? <b>Yes</b> --> {\\an8}fine."
    cues = [Word(0, 9, 0.0, 1.25), Word(10, len(text), 3_661.5, 3_661.5)]
    assert srt(text, cues) == (
        "1\n00:00:00,000 --> 00:00:01,250\nIs 2 ‹ 3?\n\n2\n01:01:01,500 --> 01:01:01,501\n‹b›Yes‹/b› → { \\an8}fine.\n"
    )


def test_webvtt() -> None:
    text = "A & B\n\n--> C"
    assert vtt(text, [Word(0, len(text), 0.5, 2)]) == "WEBVTT\n\n00:00:00.500 --> 00:00:02.000\nA &amp; B --&gt; C\n"
    assert vtt("", []) == "WEBVTT\n"


@given(TEXTS)
def test_files_can_be_read_back(text: str) -> None:
    cues = readable(text, spoken(text))
    captions, subtitles = vtt(text, cues), srt(text, cues)
    assert captions.startswith("WEBVTT\n")
    for file, separator in ((captions, "."), (subtitles, ",")):
        timed = [line for line in file.split("\n") if " --> " in line]
        assert len(timed) == len(cues) == file.count("-->")
        for line in timed:
            start, end = line.split(" --> ")
            assert TIME.fullmatch(start)
            assert TIME.fullmatch(end)
            assert separator in start
            assert start < end
    blocks = [block for block in subtitles.split("\n\n") if block.strip()]
    assert [block.split("\n")[0] for block in blocks] == [str(n) for n in range(1, len(cues) + 1)]
    assert all(len(block.strip().split("\n")) >= 3 for block in blocks), "a number, a time and a text"
