"""Text to phonemes: the symbols, the pauses, and what cannot be said."""

from __future__ import annotations

import concurrent.futures
from itertools import pairwise

from inference import phonemes
from inference.phonemes import INDEX, PAUSES, SYMBOLS, spell, symbol, words


def said(text: str) -> str:
    return " ".join(spell(words(text)))


def test_a_sentence_is_spelled_with_its_stress_and_its_pauses() -> None:
    assert said("Hello, water!") == "pau hh eh0 l ow1 , w ao1 t er0 !"


def test_the_last_mark_decides_the_last_pause() -> None:
    assert said("Is it?").endswith(" ?")
    assert said("It is").endswith(" .")
    assert said("It is,").endswith(" .")
    assert said("Wait - what...").endswith(" .")


def test_two_pauses_never_stand_side_by_side() -> None:
    spelled = said('"Well," she said... (yes?), "go!!"').split()
    assert not [pair for pair in pairwise(spelled) if pair[0] in PAUSES and pair[1] in PAUSES]


def test_every_symbol_is_in_the_vocabulary_once_and_the_first_is_a_space() -> None:
    assert SYMBOLS[0] == " "
    assert len(set(SYMBOLS)) == len(SYMBOLS)
    for text in ("The quick brown fox jumps over the lazy dog.", "Measure the joy of five churches, though thin.", "You would, too."):
        assert all(s in INDEX for s in spell(words(text)))


def test_vowels_carry_stress_and_consonants_do_not() -> None:
    assert (symbol("\u02c8\u026a"), symbol("\u026a"), symbol("\u02cc\u026a")) == ("ih1", "ih0", "ih1")
    assert (symbol("t\u0361\u0283"), symbol("\u0279")) == ("ch", "r")
    assert symbol("\u0281") is None


def test_words_that_no_lexicon_has_are_read_by_rule() -> None:
    assert len(spell(words("blorptastic"))) > 6


def test_many_threads_read_at_once() -> None:
    texts = [f"Number {word} of many." for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]
    alone = [spell(words(text)) for text in texts]
    phonemes.words.cache_clear()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: spell(words(text)), texts)) == alone
