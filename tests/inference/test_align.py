"""Times of words: the words of a text, the exact path, and chunks of a sound."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.align import Chunk, align
from inference.align_ctc import CtcAligner, UnalignableError, best_path, spell
from inference.align_words import Break, SpokenWord, words
from inference.errors import InvalidItemError, ModelUnavailableError
from inference.text import EmptyTextError
from tests.inference.alignments import RATE, bursts, check
from tests.inference.conftest import hum
from tests.inference.recognisers import LETTERS, save_aligner


def said(text: str, language: str = "en-US") -> list[tuple[str, str]]:
    return [(text[word.start : word.end], word.spoken) for word in words(text, language)]


# The words of a text


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Hello, (big) world!", "en-US", [("Hello", "Hello"), ("big", "big"), ("world", "world")]),
        (
            "It cost $5 in 2024.",
            "en-US",
            [("It", "It"), ("cost", "cost"), ("$5", "five dollars"), ("in", "in"), ("2024", "twenty twenty-four")],
        ),
        (
            "Dr. Smith ran 5 km, fast.",
            "en-US",
            [("Dr", "Doctor"), ("Smith", "Smith"), ("ran", "ran"), ("5 km", "five kilometers"), ("fast", "fast")],
        ),
        ("rock & roll -- 50%", "en-US", [("rock", "rock"), ("&", "and"), ("roll", "roll"), ("50%", "fifty percent")]),
        ("他买了苹果，好。", "zh-CN", [("他", "他"), ("买", "买"), ("了", "了"), ("苹果", "苹果"), ("好", "好")]),
        ("ABCはテスト", "ja-JP", [("ABC", "ABC"), ("は", "は"), ("テスト", "テスト")]),
        ("\U0001f600 - ... !", "en-US", []),
        ("", "en-US", []),
    ],
)
def test_words_lie_on_the_original_text(text: str, language: str, expected: list[tuple[str, str]]) -> None:
    assert said(text, language) == expected


def test_words_know_what_follows_them() -> None:
    text = 'She said, "no." And (yes) left\n\nThe end'
    assert [word.after for word in words(text, "en-US")] == [0, Break.CLAUSE, Break.SENTENCE, 0, 0, Break.SENTENCE, 0, 0]
    assert [text[word.end : word.marks_end] for word in words(text, "en-US")] == ["", ",", '."', "", ")", "", "", ""]


def test_an_opening_mark_belongs_to_the_next_word() -> None:
    text = "Well,\u201cno\u201d."
    assert [text[word.start : word.marks_end] for word in words(text, "en-US")] == ["Well,\u201cno\u201d."]
    text = "\u4ed6\u8bf4\uff1a\u201c\u597d\u3002\u201d"
    assert [text[word.start : word.marks_end] for word in words(text, "zh-CN")][-1] == "\u597d\u3002\u201d"
    assert [text[word.start : word.marks_end] for word in words(text, "zh-CN")][-2].endswith("\u8bf4\uff1a")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80), st.sampled_from(["en-US", "de-DE", "zh-CN", "ja-JP", "th-TH"]))
def test_words_are_in_order_and_apart(text: str, language: str) -> None:
    found = words(text, language)
    for word in found:
        assert 0 <= word.start < word.end <= word.marks_end <= len(text)
        assert word.spoken
    assert all(one.marks_end <= other.start for one, other in pairwise(found))


# The exact path


def emissions(path: Sequence[int], letters: int = 6, sure: float = 0.9) -> np.ndarray:
    """Log-probabilities whose likeliest letter is known in each frame."""
    chances = np.full((len(path), letters), (1 - sure) / (letters - 1), np.float32)
    chances[np.arange(len(path)), path] = sure
    return np.log(chances)


def test_the_best_path_is_found_to_the_frame() -> None:
    frames = [0, 0, 1, 1, 2, 0, 0, 5, 0, 3, 0, 3, 3, 0, 0]
    found = best_path(emissions(frames), [[1, 2], [3, 3]], blank=0, delimiter=5)
    assert [(first, after) for first, after, _ in found] == [(2, 5), (9, 13)]
    assert [score for *_, score in found] == pytest.approx([0.9, 0.9])


def test_a_wildcard_takes_the_place_of_letters_the_network_lacks() -> None:
    found = best_path(emissions([0, 1, 0, 4, 4, 0, 2, 0]), [[1], [None], [2]], blank=0)
    assert [(first, after) for first, after, _ in found] == [(1, 2), (3, 5), (6, 7)]


def test_a_path_through_the_first_and_the_last_frame() -> None:
    assert [(a, b) for a, b, _ in best_path(emissions([1, 1, 2]), [[1], [2]], blank=0)] == [(0, 2), (2, 3)]


def test_a_text_with_more_letters_than_frames_has_no_path() -> None:
    with pytest.raises(UnalignableError):
        best_path(emissions([1, 1, 0]), [[1, 1, 1]], blank=0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=12), st.integers(0, 3))
def test_every_path_that_is_written_is_read_back(letters: list[tuple[int, int, int]], lead: int) -> None:
    frames, expected = [0] * lead, []
    for letter, length, rest in letters:
        expected.append((len(frames), len(frames) + length))
        frames += [letter] * length + [0] * rest
    found = best_path(emissions(frames, sure=0.99), [[letter] for letter, _, _ in letters], blank=0)
    assert [(first, after) for first, after, _ in found] == expected


def test_words_are_spelt_in_the_letters_of_the_network() -> None:
    assert spell(words("Caf\u00e9 don't", "en-US"), LETTERS) == [
        [LETTERS[c] for c in "CAFE"],
        [LETTERS[c] for c in "DON'T"],
    ]
    lower = {"<blank>": 0} | {c: i + 1 for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
    assert spell(words("\u4f60\u597d", "zh-CN"), lower) == [[lower[c] for c in "nihao"]]
    assert None in spell(words("abc \u044f", "en-US"), LETTERS)[1]
    with pytest.raises(UnalignableError):
        spell(words("\u0437\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439", "ru-RU"), LETTERS)


@pytest.fixture(scope="module")
def aligner(tmp_path_factory: pytest.TempPathFactory) -> CtcAligner:
    return CtcAligner(save_aligner(tmp_path_factory.mktemp("models") / "aligner"))


def test_a_network_aligns_a_sound(aligner: CtcAligner) -> None:
    text = "Hello there, dear world."
    found = align(hum(3.0), RATE, text, language="en-US", aligner=aligner)
    assert found.method == "ctc"
    assert [text[word.start : word.end] for word in found.words] == ["Hello", "there", "dear", "world"]
    assert all(word.score is not None and word.end_s > word.start_s for word in found.words)
    check(found, text, 3.0)


def test_a_long_sound_is_heard_as_in_one_piece(aligner: CtcAligner, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.concatenate([hum(2.0, frequency, rate=16_000) for frequency in (110, 160, 220, 300)])
    whole = aligner.emissions(sound)
    monkeypatch.setattr("inference.align_ctc._WINDOW", 100 * 320)
    parts = aligner.emissions(sound)
    assert parts.shape == whole.shape
    assert float(np.median(np.abs(parts - whole))) < 0.05


@pytest.mark.parametrize("text", ["\u0437\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439 \u043c\u0438\u0440", "many words " * 200])
def test_what_the_network_cannot_align_is_estimated(aligner: CtcAligner, text: str) -> None:
    found = align(hum(2.0), RATE, text, language="en-US", aligner=aligner)
    assert found.method == "estimated"
    assert {word.score for word in found.words} == {None}
    check(found, text, 2.0)


def test_a_damaged_aligner_says_so(tmp_path: Path) -> None:
    folder = save_aligner(tmp_path / "aligner")
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelUnavailableError, match="aligner"):
        CtcAligner(folder)
    (save_aligner(folder) / "vocab.json").unlink()
    with pytest.raises(ModelUnavailableError):
        CtcAligner(folder)


# Chunks


def test_each_word_lies_in_the_sound_of_its_chunk() -> None:
    text = "One two three. Four five six."
    chunks = [Chunk(0, 15, 0.0, 0.8), Chunk(15, 29, 0.8, 4.0)]
    found = align(bursts([(0.0, 4.0)], 4.0), RATE, text, language="en-US", chunks=chunks).words
    assert [word.end_s <= 0.8 for word in found] == [True] * 3 + [False] * 3
    assert found[3].start_s == pytest.approx(0.8, abs=0.05)


def test_chunks_that_a_cross_fade_lets_overlap_part_in_the_middle() -> None:
    chunks = [Chunk(0, 4, 0.0, 1.4), Chunk(4, 8, 1.0, 2.0)]
    one, two = align(bursts([(0.0, 2.0)], 2.0), RATE, "One two.", language="en-US", chunks=chunks).words
    assert one.end_s == pytest.approx(1.2, abs=0.03)
    assert two.start_s == pytest.approx(1.2, abs=0.03)


def test_times_that_overlap_are_put_in_order() -> None:
    class Careless:
        def align(self, samples: np.ndarray, spoken: Sequence[SpokenWord]) -> list[tuple[float, float, float]]:
            return [(0.5, 1.2, 0.5), (1.0, 0.9, 0.5), (1.1, 99.0, 0.5)]

    found = align(hum(2.0), RATE, "One two three.", language="en-US", aligner=Careless())
    check(found, "One two three.", 2.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.floats(0, 1)), min_size=1, max_size=6), st.floats(0, 0.2), st.text(max_size=60))
def test_any_chunks_in_order(parts: list[tuple[int, float]], overlap: float, text: str) -> None:
    chunks = []
    at, second = 0, 0.0
    for length, seconds in parts:
        end = min(len(text), at + length)
        chunks.append(Chunk(at, end, max(0.0, second - overlap), second + seconds))
        at, second = end, second + seconds
    chunks.sort(key=lambda chunk: (chunk.start_s, chunk.end_s))
    sound = bursts([(0.0, second)], second + 0.1)
    try:
        check(align(sound, RATE, text, language="en-US", chunks=chunks), text, len(sound) / RATE)
    except EmptyTextError:
        assert not words(text, "en-US")
    except InvalidItemError:
        ordered = all(a.start <= a.end <= b.start for a, b in pairwise(chunks))
        assert not ordered


@pytest.mark.parametrize(
    "chunks",
    [
        [Chunk(0, 99, 0, 1)],
        [Chunk(-1, 3, 0, 1)],
        [Chunk(3, 1, 0, 1)],
        [Chunk(0, 3, 1, 0)],
        [Chunk(0, 3, -1, 1)],
        [Chunk(0, 3, 5, 6)],
        [Chunk(0, 3, float("nan"), 1)],
        [Chunk(0, 3, 0, float("nan"))],
        [Chunk(3, 6, 0, 1), Chunk(0, 3, 1, 2)],
        [Chunk(0, 3, 1, 2), Chunk(3, 6, 0, 1)],
    ],
)
def test_chunks_that_cannot_be(chunks: list[Chunk]) -> None:
    with pytest.raises(InvalidItemError) as caught:
        align(hum(2.0), RATE, "abc def", language="en-US", chunks=chunks)
    assert caught.value.details == {"field": "chunks"}


def test_a_chunk_that_the_network_cannot_align_makes_the_whole_estimated() -> None:
    class Half:
        def align(self, samples: np.ndarray, spoken: Sequence[SpokenWord]) -> list[tuple[float, float, float]]:
            if len(spoken) > 1:
                raise UnalignableError("no")
            return [(0.1, 0.2, 0.5)]

    chunks = [Chunk(0, 4, 0.0, 1.0), Chunk(4, 13, 1.0, 2.0)]
    found = align(hum(2.0), RATE, "One. Two, three.", language="en-US", chunks=chunks, aligner=Half())
    assert found.method == "estimated"
    assert [word.score for word in found.words] == [0.5, None, None]
    assert (found.words[0].start_s, found.words[0].end_s) == (0.1, 0.2)
