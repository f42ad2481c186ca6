"""Plans: where texts are cut, how long the chunks are, and what is refused."""

from __future__ import annotations

import math
import time
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from inference.text import EmptyTextError, Plan, ReferenceTooLongError, Unsupported, UnsupportedCharactersError, Vocabulary, normalise, plan

BASE = Vocabulary.from_file(str(files("f5_tts") / "infer/examples/vocab.txt"))
SECOND = 93.75
REFERENCE = "Some call me nature, others call me mother nature."
ZH_REFERENCE = "对，这就是我，万人敬仰的太乙真人。"


def make(text: str, language: str = "en-US", **options: Any) -> Plan:
    options = {"vocabulary": BASE, "reference_text": REFERENCE, "reference_frames": 330, **options}
    return plan(text, language=language, **options)


def check(text: str, result: Plan, reference_frames: int = 330, max_frames: int = 2812) -> None:
    assert "".join(text[chunk.start : chunk.end] for chunk in result.chunks) == text
    assert [chunk.index for chunk in result.chunks] == list(range(len(result.chunks)))
    assert all(0 <= chunk.start <= chunk.end <= len(text) for chunk in result.chunks)
    for chunk in result.chunks:
        assert chunk.frames + reference_frames <= max_frames
        assert chunk.text == chunk.text.strip() != ""
        assert len(BASE.encode(chunk.text, "en")) <= chunk.frames


STORY = (
    "Dr. Smith arrived at 3.14 p.m. yesterday, carrying a letter from the U.S. embassy, which, as everyone knew, had been closed for "
    "years. Nobody asked him why. The letter was addressed to Mr. Jones of 221B Baker St. in London, and it contained $1,234.56 in cash, "
    'a photograph, and a short note. "Read it," he said, "and then burn it." We read it twice, slowly, and we burned it; the smoke rose '
    "above the roofs and drifted toward the river, where the boats were waiting for the tide. See https://www.example.com/a/b?c=d "
    "for more. In the evening he left without a word, and we never saw him again."
)


def test_a_story() -> None:
    result = make(STORY)
    check(STORY, result)
    assert " ".join(chunk.text for chunk in result.chunks) == normalise(STORY, "en-US").text
    assert all(chunk.text[-1] in '.,;"' for chunk in result.chunks)
    first, *rest = result.chunks
    assert 1.5 * SECOND <= first.frames <= 6 * SECOND
    assert all(6 * SECOND <= chunk.frames <= 18 * SECOND for chunk in rest)


def test_a_short_text_is_one_chunk() -> None:
    assert [(chunk.text, chunk.start, chunk.end) for chunk in make("Hi there.").chunks] == [("Hi there.", 0, 9)]


def test_the_first_chunk_is_short_on_demand() -> None:
    text = "It was a bright cold day in April. " * 4
    short, plain = make(text).chunks, make(text, first_chunk_short=False).chunks
    assert short[0].text == "It was a bright cold day in April."
    assert 1.5 * SECOND <= short[0].frames <= 4 * SECOND
    assert plain[0].frames > 5 * SECOND


def test_without_a_clause_the_first_chunk_is_not_torn_off() -> None:
    text = "we went over the hills and through the woods to the river by the old mill without a word about it all"
    assert len(make(text).chunks) == 1


def test_no_orphan_at_the_end() -> None:
    sentence = "The rain kept falling on the roofs of the old town all night. "
    for count in range(2, 16):
        text = sentence * count + "Stop."
        lengths = [chunk.frames for chunk in make(text, first_chunk_short=False).chunks]
        assert min(lengths) > 0.4 * max(lengths), (count, lengths)


def test_words_are_cut_evenly_where_there_is_nothing_better() -> None:
    text = "word " * 150
    result = make(text)
    check(text, result)
    lengths = [chunk.frames for chunk in result.chunks]
    assert len(lengths) > 2
    assert min(lengths) > 0.85 * max(lengths)
    assert all(set(chunk.text.split()) == {"word"} for chunk in result.chunks)


@pytest.mark.parametrize("language", ["en-US", "de", "fr", "xx"])
@pytest.mark.parametrize("joint", [" ", ", "])
def test_numbers_abbreviations_and_addresses_are_never_cut(language: str, joint: str) -> None:
    grouped = "12,345" if language == "en-US" else "12 345"
    whole = ["Dr. Smith", "3.14", "U.S. troops", "e.g. this", "J. Lee", grouped, "a. m.", "5 km", "1.234,5"]
    text = joint.join(f"and they went with {item} over there" for item in whole * 6)
    result = make(text, language, reference_frames=1900, reference_text=REFERENCE * 6)
    assert len(result.chunks) > 15
    for left, right in pairwise(result.chunks):
        assert not any(text[:right.start].rstrip().endswith(item[:i].rstrip()) and text[right.start :].startswith(item[i:].lstrip())
                       for item in whole for i in range(1, len(item)) if item[i - 1] in " .,"), (left, right)  # fmt: skip


def test_what_one_token_became_stays_together() -> None:
    text = "and so on and on we paid $1,234,567.89 and then we wrote to john.doe@example.co.uk " * 12
    result = make(text, reference_frames=1900, reference_text=REFERENCE * 6)
    assert len(result.chunks) > 5
    for chunk in result.chunks:
        assert text[: chunk.end].count("$1,234") == text[: chunk.end].count("67.89")
        assert text[: chunk.end].count("john") == text[: chunk.end].count("co.uk")


@pytest.mark.parametrize(
    ("language", "text", "reference"),
    [
        ("zh", "今天天气很好，我们一起去公园散步吧。春天来了，花都开了，孩子们在草地上跑来跑去。" * 6, ZH_REFERENCE),
        ("zh", "我们一起去公园散步吧" * 40, ZH_REFERENCE),
        ("zh", "一二三四五六七八九" * 40, ZH_REFERENCE),
        ("xx", "กขงจตทนปยรวสหอ" * 60, REFERENCE),
        ("xx", "あかさたなはまやらわ" * 60, REFERENCE),
        ("en", "supercalifragilistic" * 60, REFERENCE),
        ("en", "1234567890" * 40, REFERENCE),
        ("en", "https://example.com/" + "path/" * 200, REFERENCE),
        ("en", "x" * 3000, REFERENCE),
        ("en", "a. b! c? d; " * 200, REFERENCE),
        ("en", '"("' * 500 + "word", REFERENCE),
    ],
)
def test_scripts_without_spaces_and_endless_words(language: str, text: str, reference: str) -> None:
    result = make(text, language, reference_text=reference)
    check(text, result)
    assert len(result.chunks) > 1 or len(result.chunks[0].text) < 20


def test_chinese_is_cut_between_words_and_after_marks() -> None:
    result = make("今天天气很好，我们一起去公园散步吧。" * 12, "zh", reference_text=ZH_REFERENCE)
    assert all(chunk.text[-1] in "。，" for chunk in result.chunks)
    unbroken = make("公园散步" * 60, "zh", reference_text=ZH_REFERENCE)
    assert all(chunk.text.startswith(("公园", "散步")) and chunk.text.endswith(("公园", "散步")) for chunk in unbroken.chunks)


def test_unsupported_characters_are_named_by_their_place_in_the_original() -> None:
    text = "**Pay** $5 now 😀 or नहीं."
    with pytest.raises(UnsupportedCharactersError) as caught:
        make(text)
    found = caught.value.details["characters"]
    assert found[0] == {"character": "😀", "position": text.index("😀")}
    assert found[1] == {"character": "न", "position": text.index("न")}
    result = make(text, on_unsupported="drop")
    check(text, result)
    assert result.chunks[0].text == "Pay five dollars now or."
    assert [(item.character, item.position) for item in result.unsupported] == [(item["character"], item["position"]) for item in found]


def test_dropping_keeps_the_letter_and_says_what_it_lost() -> None:
    result = make("Okay, ḗ.", on_unsupported="drop")
    assert result.chunks[0].text == "Okay, e."
    assert result.unsupported == [Unsupported("ḗ", 6)]


@pytest.mark.parametrize("text", ["", "   \n\t", "...", "**", "\u200b", "?! -- ()"])
def test_nothing_to_speak(text: str) -> None:
    with pytest.raises(EmptyTextError) as caught:
        make(text)
    assert caught.value.code == "EMPTY_TEXT"


def test_only_unsupported_characters() -> None:
    with pytest.raises(UnsupportedCharactersError):
        make("😀")
    with pytest.raises(EmptyTextError):
        make("😀", on_unsupported="drop")


def test_reference_too_long() -> None:
    make("Hello there.", reference_frames=2812 - 281)
    with pytest.raises(ReferenceTooLongError) as caught:
        make("Hello there.", reference_frames=2812 - 280)
    assert caught.value.code == "REFERENCE_TOO_LONG"
    assert caught.value.details == {"reference_frames": 2532, "max_frames": 2812}


@pytest.mark.parametrize("options", [{"speed": 0.49}, {"speed": 3.01}, {"speed": math.nan}, {"reference_frames": 0}])
def test_values_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"speed|reference_frames"):
        make("Hello.", **options)


def test_speed_shortens_chunks() -> None:
    slow, fast = (sum(chunk.frames for chunk in make(STORY, speed=speed).chunks) for speed in (0.5, 2.0))
    assert slow == pytest.approx(4 * fast, rel=0.1)


PIECES = [
    *"aZ5.,;:!?-—*#`[](){}|@%$ \n½²é\u0301\u200b\ud800😀你，。あガ가สเนע",
    "Dr. ",
    "3.14",
    "one two three. ",
    "word, ",
    "你好。",
    "10:30",
    "$5 ",
]
TEXTS = st.one_of(
    st.text(max_size=80), st.lists(st.sampled_from(PIECES), max_size=120).map("".join), st.text(max_size=8).map(lambda unit: unit * 60)
)


@settings(max_examples=250, deadline=None)
@given(
    TEXTS, st.sampled_from(["en", "zh", "de", "th"]), st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([1, 330, 1200, 2531]), st.booleans()
)
def test_every_plan_holds_what_it_promises(text: str, language: str, speed: float, reference_frames: int, short: bool) -> None:
    try:
        result = make(
            text, language, speed=speed, reference_frames=reference_frames, first_chunk_short=short, on_unsupported="drop", max_frames=2812
        )
    except EmptyTextError:
        assume(False)
        return
    check(text, result, reference_frames)
    positions = [item.position for item in result.unsupported]
    assert positions == sorted(positions)


@pytest.mark.parametrize("unit", ["a ", "a", "a, ", "a. ", "你", "你。", "5", "one two three. ", "\u0301a", ". a", "ก"])
def test_planning_ten_thousand_characters_is_quick(unit: str) -> None:
    text = (unit * 10_000)[:10_000]
    make(text[:100], "xx", on_unsupported="drop")
    start = time.process_time()
    make(text, "xx", on_unsupported="drop")
    # About 0.1 s; the bound leaves room for a busy machine and none for quadratic work.
    assert time.process_time() - start < 2
