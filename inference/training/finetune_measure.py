"""How well a voice is met before and after a fine-tune, on speech that it did not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inference import speaker, wire
from inference.errors import InvalidItemError, SynthesisFailedError
from inference.mel import SAMPLE_RATE
from inference.phoneme_vocabulary import PhonemeVocabulary
from inference.phonemes import INDEX, REFERENCE
from inference.preparation import join_texts
from inference.synthesis import Synthesizer
from inference.text import Vocabulary, normalise
from inference.training.finetune_data import Piece, padded
from inference.training.loop import flow_loss
from inference.training.windows import Batch

DRAWS = 8
"""Noises and times for each piece. They are the same before and after."""
SENTENCES = 2
LONGEST_REFERENCE_S = 10.0
LISTEN_S = 60.0
SEED = 20_240_611


@dataclass(frozen=True)
class Measures:
    """`loss`: mean squared error of the flow. `speaker_similarity`: mean cosine of synthesised held-out texts and the person, -1 to 1."""

    loss: float
    speaker_similarity: float


class Judge:
    """Measures models on the same pieces in the same way.

    Args:
        learnt: what the reference is taken from.
        held: what is spoken, and whose flow is predicted.
    """

    def __init__(self, learnt: Sequence[Piece], held: Sequence[Piece], *, language: str, vocabulary: Vocabulary) -> None:
        self.language, self.held = language, list(held)
        self.reference = max(
            (piece for piece in learnt if piece.seconds <= LONGEST_REFERENCE_S), key=lambda p: p.seconds, default=learnt[0]
        )
        self.batches = [_continued(self.reference, piece, language, vocabulary) for piece in held]
        everything = np.concatenate([piece.sound for piece in (*held, *learnt)])[: round(LISTEN_S * SAMPLE_RATE)]
        self.person = speaker.embed(everything, SAMPLE_RATE)

    def measure(self, synthesizer: Synthesizer, name: str) -> Measures:
        """The measures of a model of the synthesizer's registry."""
        network = synthesizer.pool.load(name).sampler.transformer
        generator = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            losses = [
                flow_loss(network, batch, drop_reference=False, drop_text=False, generator=generator).item()
                for batch in self.batches
                for _ in range(DRAWS)
            ]
        spoken = self.held[:SENTENCES] if len(self.held) > 1 else self.held * SENTENCES
        similar = [self._similarity(self._say(synthesizer, name, piece.text, SEED + i)) for i, piece in enumerate(spoken)]
        return Measures(round(float(np.mean(losses)), 5), round(float(np.mean(similar)), 4))

    def _similarity(self, sound: NDArray[np.float32]) -> float:
        try:
            return float(speaker.embed(sound, SAMPLE_RATE) @ self.person)
        except InvalidItemError:
            return 0.0  # silence is like nobody

    def _say(self, synthesizer: Synthesizer, name: str, text: str, seed: int) -> NDArray[np.float32]:
        """`text`, spoken by the model as in any job."""
        reference = {"reference_text": self.reference.text, "language": self.language, "model": name}
        plan = synthesizer.plan(wire.PlanRequest(text=text, reference_seconds=self.reference.seconds, on_unsupported="drop", **reference))
        if isinstance(plan, wire.Failure):
            raise SynthesisFailedError(plan.error.message)
        sounds = []
        for chunk in plan.chunks:
            item = wire.SynthesisItem(
                text=chunk.text,
                frames=chunk.frames,
                seed=seed + chunk.index,
                reference_audio=wire.encode_pcm(self.reference.sound),
                **reference,
            )
            (result,) = synthesizer.synthesize([item])
            if isinstance(result, wire.Failure):
                raise SynthesisFailedError(result.error.message)
            sounds.append(wire.decode_pcm(result.audio, "audio"))
        return np.concatenate(sounds)


def _continued(reference: Piece, piece: Piece, language: str, vocabulary: Vocabulary) -> Batch:
    """The piece behind the reference, as when a voice speaks: the piece is to be predicted."""
    mel = np.concatenate([reference.mel[:-1], piece.mel])
    start = len(mel) - len(piece.mel)
    if isinstance(vocabulary, PhonemeVocabulary):
        tokens = np.concatenate([np.full(start, INDEX[REFERENCE], np.int64), piece.tokens])
        generated = np.arange(len(mel)) >= start
        return Batch(mel[None].astype(np.float32), tokens[None], generated[None])
    spoken, said = (vocabulary.drop(normalise(p.text, language).text, language) for p in (reference, piece))
    tokens = np.array(vocabulary.encode(join_texts(spoken, said), language), np.int64)
    return padded([(mel, tokens, (start, len(mel)))])
