"""An item of the wire made fit for the sampler: sound to mel frames, text to tokens. The host's work alone, without the model's weights."""

from __future__ import annotations

from dataclasses import dataclass

from inference import text, wire
from inference.engine import MAX_FRAMES, SampleItem, is_valid_schedule
from inference.errors import InvalidItemError
from inference.mel import Reference, shorten
from inference.phoneme_vocabulary import PhonemeVocabulary
from inference.reference_cache import ReferenceCache
from inference.registry import ModelSpec
from inference.text import Vocabulary

SENTENCE_ENDS = frozenset(".!?\u3002\uff01\uff1f\u2026;:,\u060c\u061f\u0964")


@dataclass(frozen=True)
class Prepared:
    """An item that passed every check, for the model of that description."""

    spec: ModelSpec
    reference: Reference
    sample: SampleItem


def join_texts(reference_text: str, chunk: str) -> str:
    """Reference text and chunk as one utterance, as upstream joins them: the reference ends its sentence, then one space unless it
    ends in a wide character."""
    reference_text = reference_text.strip()
    if reference_text and reference_text[-1] not in SENTENCE_ENDS:
        reference_text += "."
    if reference_text and ord(reference_text[-1]) < 128:
        reference_text += " "
    return reference_text + chunk


def check(item: wire.SynthesisItem) -> None:
    """What can be judged without a model. InvalidItemError names the field."""
    if not 1 <= item.frames <= MAX_FRAMES:
        raise InvalidItemError(f"frames must be between 1 and {MAX_FRAMES}.", {"field": "frames"})
    if not 0 <= item.seed < 2**63:
        raise InvalidItemError("seed must be between 0 and 2**63 - 1.", {"field": "seed"})
    if not is_valid_schedule(item.nfe_step, item.cfg_strength, item.sway_coefficient):
        raise InvalidItemError("nfe_step, cfg_strength or sway_coefficient is out of its range.", {"field": "nfe_step"})
    if not item.text.strip():
        raise InvalidItemError("The text is empty.", {"field": "text"})


def prepare(item: wire.SynthesisItem, spec: ModelSpec, vocabulary: Vocabulary, references: ReferenceCache) -> Prepared:
    """Make an item that passed `check` ready for a model.

    Raises:
        InvalidItemError: the reference is no sound that can be used, or is too long together with the chunk.
        TextError: the text has characters that the vocabulary lacks.
    """
    reference = shorten(references.get(item.reference_audio), spec.max_reference_frames)
    sample = SampleItem(
        reference=reference.mel,
        tokens=_tokens(item, vocabulary, reference),
        frames=reference.frames + item.frames,
        seed=item.seed,
        steps=item.nfe_step,
        cfg_strength=item.cfg_strength,
        sway_coefficient=item.sway_coefficient,
    )
    if sample.total_frames > MAX_FRAMES:
        raise InvalidItemError(f"Reference and chunk together are longer than {MAX_FRAMES} frames.", {"field": "frames"})
    return Prepared(spec, reference, sample)


def _tokens(item: wire.SynthesisItem, vocabulary: Vocabulary, reference: Reference) -> list[int]:
    if isinstance(vocabulary, PhonemeVocabulary):
        return vocabulary.timed(item.text, item.language, reference_frames=reference.frames, frames=item.frames)
    spoken = _spoken_reference(item, vocabulary)
    # The chunk alone first, so that a character it lacks is reported at its own position.
    vocabulary.encode(item.text, item.language)
    return vocabulary.encode(join_texts(spoken, item.text), item.language)


def _spoken_reference(item: wire.SynthesisItem, vocabulary: Vocabulary) -> str:
    """The reference's text without what the vocabulary lacks: ``/plan`` has reported it, or was told to drop it."""
    normalised = text.normalise(item.reference_text, item.language).text
    unknown = {u.position for u in vocabulary.unsupported(normalised, item.language)}
    return "".join(character for position, character in enumerate(normalised) if position not in unknown)
