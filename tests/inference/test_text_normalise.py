"""Normalised text: examples for each kind of token, and what holds for every text."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.text import normalise
from inference.text_clean import compose
from inference.text_languages import han_integer
from inference.text_trace import Trace

ENGLISH = [
    # Titles, abbreviations, initials, acronyms
    ("Dr. Smith lives on Elm St. in Paris.", "Doctor Smith lives on Elm Street in Paris."),
    ("St. John met Mr. and Mrs. Lee.", "Saint John met Mister and Missus Lee."),
    ("Use oil, e.g. olive oil, i.e. fat, etc. Then stir.", "Use oil, for example olive oil, that is fat, et cetera. Then stir."),
    ("Acme Inc. makes it. He left Acme Inc. He was sad.", "Acme Incorporated makes it. He left Acme Incorporated. He was sad."),
    ("Ph.D., of Acme Inc., spoke.", "P H D, of Acme Incorporated, spoke."),
    ("The U.S. Army of the U.S.A.", "The U S Army of the U S A."),
    ("J. R. R. Tolkien and Plan B. Then C.", "J R R Tolkien and Plan B. Then C."),
    ("See fig. 3 and vol. 2. A fig. Then.", "See figure three and volume two. A fig. Then."),
    ("Gen. Lee gained 5 ft. of ground.", "General Lee gained five feet of ground."),
    # Numbers
    ("I have 3 cats and 1,234,567 fleas.",
     "I have three cats and one million two hundred and thirty-four thousand five hundred and sixty-seven fleas."),
    ("Pi is 3.14, a half is .5.", "Pi is three point one four, a half is point five."),
    ("It is -5 outside.", "It is minus five outside."),
    ("Agent 007 knows.", "Agent zero zero seven knows."),
    ("The 1st, the 22nd and the 103rd.", "The first, the twenty-second and the one hundred and third."),
    ("In 1905, in 1999, in 2000, in 2024.", "In nineteen oh five, in nineteen ninety-nine, in two thousand, in twenty twenty-four."),
    ("The 1990s, the 80s and the '70s.", "The nineteen nineties, the eighties and the seventies."),
    ("Pages 3-5 and 10–15%.", "Pages three to five and ten to fifteen percent."),
    ("It took ½ a cup, 2½ cups or 3/4.", "It took one half a cup, two and a half cups or three quarters."),
    ("Open 24/7.", "Open twenty-four seven."),
    ("Python 3.11.2 at 10.0.0.1", "Python three point eleven point two at ten point zero point zero point one"),
    ("MP3, H2O and COVID-19", "MP three, H two O and COVID-nineteen"),
    ("x² + y³ = 10²", "x squared plus y cubed equals ten squared"),
    ("Ｆｕｌｌ ｗｉｄｔｈ １２", "Full width twelve"),
    ("٣ and १२", "three and twelve"),
    # Dates and times
    ("On March 15, 2024 we met.", "On March fifteenth, twenty twenty-four we met."),
    ("Jan. 3 and 15 March 2021", "January third and the fifteenth of March twenty twenty-one"),
    ("the 4th of July", "the fourth of July"),
    ("2024-03-15", "March fifteenth, twenty twenty-four"),
    ("12/25/2023", "December twenty-fifth, twenty twenty-three"),
    ("At 3:30 p.m. or 9 a.m. He left at 5 p.m. They stayed.", "At three thirty P M or nine A M. He left at five P M. They stayed."),
    ("From 09:05 to 9:00 and 15:45.", "From nine oh five to nine o'clock and fifteen forty-five."),
    ("A 16:9 picture.", "A sixteen to nine picture."),
    ("2024-03-04T10:00:00Z and 2024-03-04T15:45", "March fourth, twenty twenty-four at ten o'clock U T C and March fourth, "
     "twenty twenty-four at fifteen forty-five"),
    ("From 7:30-8:45, 5-6 p.m. and 8am–5pm.", "From seven thirty to eight forty-five, five to six P M and eight A M to five P M."),
    ("Open Mon-Fri.", "Open Monday to Friday."),
    ("On 12-25-2023.", "On December twenty-fifth, twenty twenty-three."),
    # Roman numerals, and what only looks like one
    ("Henry VIII, King George I and Louis XIV's court", "Henry the eighth, King George the first and Louis the fourteenth's court"),
    ("World War II, Chapter IV and Part I.", "World War two, Chapter four and Part one."),
    ("The chapter I read. So did Charles, I think, and Mary I know.", "The chapter I read. So did Charles, I think, and Mary I know."),
    ("Charles V. Smith met Henry V. He left.", "Charles V Smith met Henry the fifth. He left."),
    ("Malcolm X, Vitamin C and an IV drip", "Malcolm X, Vitamin C and an IV drip"),
    # Numbers that are called digit by digit, and others in rows
    ("+44 20 7946 0958 or 0800 123 456", "plus four four, two zero, seven nine four six, zero nine five eight or zero eight zero zero, "
     "one two three, four five six"),
    ("SSN 123-45-6789", "SSN one two three, four five, six seven eight nine"),
    ("1.5e-5 and 50-50", "one point five times ten to the power of minus five and fifty-fifty"),
    ("6 / 2, w/o C# and w/ F#", "six divided by two, without C sharp and with F sharp"),
    # Money, units, percent
    ("$5-10, $5–$10 million and Rs. 500", "five to ten dollars, five to ten million dollars and five hundred rupees"),
    ("A $20 bill and his $1.5 million deal. USD 500 for $20 bills", "A twenty dollar bill and his one point five million dollar deal. "
     "five hundred US dollars for twenty dollars bills"),
    ("$5, $1, $5.50, $0.99 and $1.5 million",
     "five dollars, one dollar, five dollars and fifty cents, ninety-nine cents and one point five million dollars"),
    ("£20, 3.99€, 100 USD, $3k", "twenty pounds, three euros and ninety-nine cents, one hundred US dollars, three thousand dollars"),
    ("5km at 100 km/h, 1 kg, 20°C, 5 m²",
     "five kilometers at one hundred kilometers per hour, one kilogram, twenty degrees Celsius, five square meters"),
    ("12.5% of 5'10\"", "twelve point five percent of five foot ten"),
    # Symbols
    ("Salt & pepper, C++, C#, #1", "Salt and pepper, C plus plus, C sharp, number one"),
    ("5*3 and 5 < 7", "five times three and five less than seven"),
    ("and/or, he/she", "and or, he slash she"),
    # Telephone
    ("Call +1 555-123-4567.", "Call plus one, five five five, one two three, four five six seven."),
    # Addresses
    ("Go to https://www.example.com/path/.", "Go to example dot com slash path."),
    ("Mail john.doe@example.co.uk!", "Mail john dot doe at example dot co dot uk!"),
    ("See example.org, please.", "See example dot org, please."),
    # Typography
    ("“Curly” ‘quotes’ … and — dashes – here", "\"Curly\" 'quotes' ... and, dashes, here"),
    ("Wait!!!! What?? No.....", "Wait! What? No..."),
    ("zero\u200bwidth, soft\u00adhyphen, \ufeffmark, \u202bRTL\u202c", "zerowidth, softhyphen, mark, RTL"),
    ("tab\tand\x00control", "tab and control"),
    ("cafe\u0301", "café"),
    # Markdown and HTML
    ("**Bold**, *italic*, `code`, ~~gone~~, __strong__, snake_case", "Bold, italic, code, gone, strong, snake case"),
    ("See [the docs](https://example.com/a_b) and ![a cat](cat.png).", "See the docs and a cat."),
    ("# Title\n\nText", "Title. Text"),
    ("- one\n- two\n* three", "one. two. three"),
    ("1. first\n2. second", "one. first. two. second"),
    ("> quoted\n\n---\n\nnext", "quoted. next"),
    ("| a | b |\n|---|---|\n| c | d |", "a, b. c, d."),
    ("A line\nthat wraps.\nNext.", "A line that wraps. Next."),
    ("<p>Hello</p><b>you</b>", "Hello. you"),
    ("  many   spaces  ", "many spaces"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ENGLISH)
def test_english(text: str, expected: str) -> None:
    assert normalise(text, "en-US").text == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en-GB", "4/7/2024", "July fourth, twenty twenty-four"),
        ("en-US", "4/7/2024", "April seventh, twenty twenty-four"),
        ("zh-CN", "你好,世界!我有105个苹果。", "你好，世界！我有一百零五个苹果。"),
        ("zh", "2024年涨了50%,花了3.5元", "二零二四年涨了百分之五十，花了三点五元"),
        ("zh", "代码007，号码1234567890123", "代码零零七，号码一二三四五六七八九零一二三"),
        ("zh", "标题\n\n你好\n世界", "标题。你好世界"),
        (
            "de-DE",
            "Es kostet 1.234,50 Euro am 3. Mai.",
            "Es kostet eintausendzweihundertvierunddreißig Komma fünf null Euro am dritten Mai.",
        ),
        ("fr", "Il y a 3,5 km et 80 personnes.", "Il y a trois virgule cinq km et quatre-vingts personnes."),
        ("es-ES", "Tengo 21 años; escribe a ana@foo.es.", "Tengo veintiuno años; escribe a ana arroba foo punto es."),
        ("ru", "Москва — столица, 5 человек", "Москва, столица, пять человек"),
        ("pt-BR", "São 16 casas", "São dezesseis casas"),
        ("pt-PT", "São 16 casas", "São dezasseis casas"),
        ("hi", "मेरे पास 5 हैं", "मेरे पास 5 हैं"),
        ("xx", "abc 12", "abc 12"),
        ("fr", "Dr. Smith, St. John", "Dr. Smith, St. John"),
    ],
)
def test_other_languages(language: str, text: str, expected: str) -> None:
    assert normalise(text, language).text == expected


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "零"), (10, "十"), (11, "十一"), (20, "二十"), (101, "一百零一"), (110, "一百一十"), (1001, "一千零一"), (1010, "一千零一十"),
     (10000, "一万"), (10010, "一万零一十"), (100000, "十万"), (120034, "十二万零三十四"), (100000001, "一亿零一"),
     (20030405, "二千零三万零四百零五")],
)  # fmt: skip
def test_chinese_numerals(number: int, words: str) -> None:
    assert han_integer(number) == words


def test_what_nobody_knows_stays_for_the_vocabulary() -> None:
    assert normalise("a 😀 \ud800 \ufffd ก", "en").text == "a 😀 \ud800 \ufffd ก"


def test_offsets_point_at_the_source() -> None:
    text = "**Pay** $5 to cafe\u0301 “x”"
    result = normalise(text, "en")
    assert result.text == 'Pay five dollars to café "x"'
    at = [result.offsets[result.text.index(word)] for word in ("Pay", "five", "dollars", "to", "café", "é", '"', "x")]
    assert at == [2, 8, 8, 11, 14, 17, 20, 21]
    assert result.offsets[-1] == len(text)


PIECES = [
    *"aA5.,;:!?-–—_*#`~^()[]<>|/\\@&%$€°'\"“”…+= \n½²№™é\u0301\u200b\ufeff\x00\ud800😀你，。あ가สเनע",
    *("Dr.", "St.", "U.S.", "e.g. ", "3.14", "1,234", "12:30", "p.m.", "March ", "2024-01-02", "http://", "www.", "ex.com", "a@b.co", "**"),
    *(
        "[a](b)",
        "## ",
        "\n- ",
        "1. ",
        "5 km",
        "$5",
        "50%",
        "1/2",
        "th",
        "90s",
        "...",
        "--",
        " I",
        "The ",
        "\r\n",
        "| a |",
        "---",
        "<b>",
        "x^2",
    ),
]
TEXTS = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
LANGUAGES = st.sampled_from(["en-US", "en-GB", "zh", "de", "fr-CH", "ja", "th", "hi", "xx"])


@settings(max_examples=300, deadline=None)
@given(TEXTS, LANGUAGES)
def test_normalising_twice_is_normalising_once_and_offsets_never_go_back(text: str, language: str) -> None:
    result = normalise(text, language)
    assert normalise(result.text, language).text == result.text
    assert len(result.offsets) == len(result.text) + 1
    assert list(result.offsets) == sorted(result.offsets)
    assert result.offsets[-1] == len(text)
    assert all(0 <= offset <= len(text) for offset in result.offsets)
    assert result.text == result.text.strip()
    assert "\n" not in result.text
    assert "  " not in result.text


@given(st.text(max_size=40))
def test_composing_in_pieces_is_composing_the_whole(text: str) -> None:
    assert compose(Trace(text)).text == unicodedata.normalize("NFKC", text)


@given(st.text(alphabet=st.characters(categories=["Lu", "Ll"], max_codepoint=0x24F, exclude_characters="ŉ"), min_size=1, max_size=30))
def test_letters_are_never_lost(text: str) -> None:
    assert normalise(text, "de").text == unicodedata.normalize("NFKC", text).strip()


REPEATED = [
    "a", "5", ".", "-", "_", "*", "#", "`", "~", "[", "](", "|", "<", "@", "½", "²", " ", "\n", "你", "\u0301", "😀", "5.", "1,", "1:",
    "5/", "a.", "a@", "a.b", "www.a.", "[a](", "\n- ", "| ", "<b ", "Dr. ", "p.m. ", "$5 ", "5 March ", "555-", "http://", "<http://",
    "x^2", "a@b.com ", ". ",
]  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh", "de"])
def test_time_is_linear(language: str) -> None:
    """Ten times the text may take some thirty times as long, noise included; a quadratic pattern takes a hundred times."""

    def seconds(text: str) -> float:
        start = time.process_time()
        normalise(text, language)
        return time.process_time() - start

    slow = {}
    for unit in REPEATED:
        short, long = (unit * 1000)[:1000], (unit * 10_000)[:10_000]
        seconds(short)
        taken = seconds(long)
        if taken > 0.5 and taken > 30 * min(seconds(short) for _ in range(3)):
            slow[unit] = taken
    assert not slow
