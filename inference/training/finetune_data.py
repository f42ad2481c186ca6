"""From a person's recordings and their texts to what a fine-tune learns from: pieces of speech, each with exactly its own words."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from inference import phonemes
from inference.align import Aligner, TimedWord, align
from inference.align_words import Break, SpokenWord, words
from inference.mel import HOP_LENGTH, SAMPLE_RATE, TARGET_RMS, log_mel
from inference.phoneme_timing import spread
from inference.phoneme_vocabulary import PhonemeVocabulary, bare
from inference.phonemes import INDEX, PAUSE, PAUSES
from inference.text import Vocabulary, normalise
from inference.training.corpus import Example
from inference.training.windows import Batch

LONGEST_S = 8.0
"""A piece that is longer is cut where that can be done well."""
SHORTEST_S = 1.5
PAUSE_S, LONG_PAUSE_S = 0.12, 0.25
HELD_OUT_SHARE, HELD_OUT_S = 0.15, 3.0
MARKED_GAP = 5
"""Frames of silence between two words from which on they are heard as a pause."""
HIDDEN = (0.7, 1.0)
"""Share of an utterance that is hidden and learnt, as upstream's ``frac_lengths_mask``."""


@dataclass(frozen=True)
class Piece:
    """What is said in one go: 24 kHz mono sound ``[n]``, its original text, log-mel frames ``[frames, 100]`` and tokens.

    The tokens are one for each frame where the model is written in phonemes, else those of the text.
    """

    sound: NDArray[np.float32]
    text: str
    mel: NDArray[np.float32]
    tokens: NDArray[np.int64]

    @property
    def seconds(self) -> float:
        return len(self.sound) / SAMPLE_RATE

    def example(self) -> Example:
        """As an utterance of a corpus; only for tokens of frames."""
        starts = np.flatnonzero(np.diff(self.tokens, prepend=-1))
        lengths = np.diff(starts, append=len(self.tokens))
        tokens = self.tokens.astype(np.int16)
        return Example("self", self.mel.astype(np.float16), tokens, tokens[starts], lengths.astype(np.int16))


@dataclass(frozen=True)
class _Timed:
    """A word with its times in seconds of the recording, and what the text says there."""

    said: SpokenWord
    time: TimedWord


def pieces(
    sound: NDArray[np.float32],
    text: str,
    *,
    language: str,
    vocabulary: Vocabulary,
    longest_frames: int,
    aligner: Aligner | None = None,
    cut: bool = True,
) -> list[Piece]:
    """A recording in pieces of about `LONGEST_S` seconds at most, cut between words, best in a pause behind a mark.

    Where the times of words are estimated and tokens are characters, it is cut in pauses alone: a wrong word in a piece teaches wrong
    letters. What then is longer than the model carries is left out.

    Args:
        longest_frames: that a piece may have.
        cut: False keeps the recording whole if the model carries it.

    Raises:
        EmptyTextError: nothing in the text is spoken.
    """
    sound = _levelled(sound)
    found = align(sound, SAMPLE_RATE, text, language=language, aligner=aligner)
    timed = [_Timed(said, time) for said, time in zip(words(text, language), found.words, strict=True)]
    limit_s = min(LONGEST_S if cut else float("inf"), longest_frames * HOP_LENGTH / SAMPLE_RATE)
    sure = found.method == "ctc" or isinstance(vocabulary, PhonemeVocabulary)
    runs = _split(timed, 0.0, len(sound) / SAMPLE_RATE, limit_s=limit_s, least=0 if sure else 1)
    made = [_piece(sound, text, run, begin, end, language, vocabulary) for run, begin, end in runs]
    return [piece for piece in made if len(piece.mel) <= longest_frames and 0 < len(piece.tokens) <= len(piece.mel)]


def _levelled(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Raised to the level that references are raised to, as far as nothing clips."""
    rms = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
    peak = float(np.abs(sound).max(initial=0.0))
    if rms <= 0 or rms >= TARGET_RMS:
        return sound
    return (sound * np.float32(min(TARGET_RMS / rms, 0.98 / peak))).astype(np.float32)


_Run = tuple[list[_Timed], float, float]


def _split(run: list[_Timed], begin: float, end: float, *, limit_s: float, least: int) -> list[_Run]:
    """The run cut in two and those again, until they are short enough or have no place to be cut."""
    if end - begin <= limit_s:
        return [(run, begin, end)]
    places = []
    for i in range(1, len(run)):
        last, following = run[i - 1], run[i]
        at = (last.time.end_s + following.time.start_s) / 2
        pause = following.time.start_s - last.time.end_s
        kind = _kind(last.said.after, pause)
        if kind >= least and at - begin >= SHORTEST_S and end - at >= SHORTEST_S:
            places.append((kind, -abs(at - (begin + end) / 2), i, at))
    if not places:
        return [(run, begin, end)]
    _, _, i, at = max(places)
    return [*_split(run[:i], begin, at, limit_s=limit_s, least=least), *_split(run[i:], at, end, limit_s=limit_s, least=least)]


def _kind(after: Break, pause_s: float) -> int:
    """How good a place to cut is: 3 a pause behind a sentence, 2 one behind a clause, 1 a long one, 0 the gap between two words."""
    if after is not Break.NONE and pause_s >= PAUSE_S:
        return 3 if after is Break.SENTENCE else 2
    return 1 if pause_s >= LONG_PAUSE_S else 0


def _piece(
    sound: NDArray[np.float32], text: str, run: Sequence[_Timed], begin: float, end: float, language: str, vocabulary: Vocabulary
) -> Piece:
    samples = sound[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    part = text[run[0].said.start : run[-1].said.marks_end]
    mel = log_mel(samples).numpy()
    spoken = vocabulary.drop(normalise(part, language).text, language)
    if isinstance(vocabulary, PhonemeVocabulary):
        tokens = frame_tokens(run, spoken, len(mel), begin, vocabulary)
    else:
        tokens = np.array(vocabulary.encode(spoken, language), dtype=np.int64)
    return Piece(samples, part, mel, tokens)


def frame_tokens(run: Sequence[_Timed], spoken: str, frames: int, begin_s: float, vocabulary: PhonemeVocabulary) -> NDArray[np.int64]:
    """The phoneme of each frame: those of a word share its time in the proportions that the voice's timing has for them.

    Args:
        run: the words, and when they are said.
        spoken: their normalised text, without what the vocabulary lacks.
        frames: of the piece, which begins at ``begin_s`` of the recording.
    """
    symbols, pauses = _spelled(run, spoken)
    flat = [INDEX[PAUSE], *(INDEX[symbol] for of_word in symbols for symbol in of_word), INDEX["."]]
    lengths = vocabulary.timing.frames(flat)[1:-1]
    tokens = np.full(frames, INDEX[PAUSE], dtype=np.int64)
    edges = [
        (max(0, round((w.time.start_s - begin_s) * SAMPLE_RATE / HOP_LENGTH)), round((w.time.end_s - begin_s) * SAMPLE_RATE / HOP_LENGTH))
        for w in run
    ]
    at = 0
    for k, (start, end) in enumerate(edges):
        following = min(frames, edges[k + 1][0]) if k + 1 < len(edges) else frames
        until = following if following - end < MARKED_GAP and k + 1 < len(edges) else min(end, frames)
        count = len(symbols[k])
        if count and until > start:
            tokens[start:until] = np.repeat([INDEX[symbol] for symbol in symbols[k]], spread(lengths[at : at + count], until - start))
        at += count
        closing = pauses[k] or ("." if k + 1 == len(edges) else ",")
        tokens[max(start, until) : following] = INDEX["." if closing == "," and k + 1 == len(edges) else closing]
    return tokens


def _spelled(run: Sequence[_Timed], spoken: str) -> tuple[list[list[str]], list[str | None]]:
    """For each word its symbols, and the pause that the text puts behind it.

    The lexicon parts a text into words in its own way. Both ways spell the same letters, and so a word of the lexicon belongs to the word
    in which its middle letter lies.
    """
    ends = list(accumulate(max(1, _letters(w.said.spoken)) for w in run))
    found = phonemes.words(bare(spoken))
    total = max(1, sum(_letters(word.text) for word in found if word.symbols[0] not in PAUSES))
    symbols: list[list[str]] = [[] for _ in run]
    pauses: list[str | None] = [None] * len(run)
    seen, owner = 0, 0
    for word in found:
        if word.symbols[0] in PAUSES:
            pauses[owner] = word.symbols[0]
            continue
        count = _letters(word.text)
        owner = min(len(run) - 1, bisect_right(ends, (seen + count / 2) * ends[-1] / total))
        symbols[owner] += word.symbols
        seen += count
    return symbols, pauses


def _letters(text: str) -> int:
    return sum(character.isalnum() for character in bare(text))


def hold_out(found: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """What is learnt from, and the last pieces that it is judged by: about 15 %, at least 3 s, and at least one piece of each."""
    wanted = max(HELD_OUT_S, HELD_OUT_SHARE * sum(piece.seconds for piece in found))
    kept, seconds = 0, 0.0
    while kept < len(found) - 1 and seconds < wanted:
        kept += 1
        seconds += found[-kept].seconds
    return list(found[: len(found) - kept]), list(found[len(found) - kept :])


class Utterances:
    """Draws whole pieces with the tokens of all their text, a span of each hidden, as upstream trains (``CFM.forward``)."""

    def __init__(self, found: Sequence[Piece], *, seed: int) -> None:
        self._pieces = list(found)
        self._rng = random.Random(seed)

    def batch(self, items: int, frames: int) -> Batch:
        """Pieces until they fill ``items * frames`` frames, padding included; at least one."""
        drawn: list[Piece] = []
        longest = 0
        while len(drawn) < max(1, items * frames):
            piece = self._rng.choice(self._pieces)
            longest = max(longest, len(piece.mel))
            if drawn and (len(drawn) + 1) * longest > items * frames:
                break
            drawn.append(piece)
        return padded([(piece.mel, piece.tokens, self._span(len(piece.mel))) for piece in drawn])

    def _span(self, frames: int) -> tuple[int, int]:
        length = max(1, round(frames * self._rng.uniform(*HIDDEN)))
        start = self._rng.randint(0, frames - length)
        return start, start + length


def padded(items: Sequence[tuple[NDArray[np.float32], NDArray[np.int64], tuple[int, int]]]) -> Batch:
    """A batch of mel frames, tokens and the span to be learnt of each; -1 pads the tokens, as in upstream's ``list_str_to_idx``."""
    longest, most = max(len(mel) for mel, _, _ in items), max(len(tokens) for _, tokens, _ in items)
    batch = Batch(
        mel=np.zeros((len(items), longest, items[0][0].shape[1]), np.float32),
        tokens=np.full((len(items), most), -1, np.int64),
        generated=np.zeros((len(items), longest), bool),
        mask=np.zeros((len(items), longest), bool),
    )
    assert batch.mask is not None
    for row, (mel, tokens, (start, end)) in enumerate(items):
        batch.mel[row, : len(mel)] = mel
        batch.tokens[row, : len(tokens)] = tokens
        batch.generated[row, start:end] = True
        batch.mask[row, : len(mel)] = True
    return batch
