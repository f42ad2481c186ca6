"""Items in, values out, without HTTP."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import wire
from inference.engine import MAX_FRAMES
from inference.preparation import join_texts
from inference.synthesis import Synthesizer
from tests.inference.conftest import hum
from tests.inference.models import registry, save_model

REFERENCE = wire.encode_pcm(hum(1.0))


@functools.cache
def synthesizer() -> Synthesizer:
    torch.set_num_threads(1)
    made = Synthesizer(registry(Path(tempfile.mkdtemp())), dtype="float32")
    made.pool.start()
    return made


def item(**values: Any) -> wire.SynthesisItem:
    base = {"text": "Hello there.", "reference_audio": REFERENCE, "reference_text": "A reference.", "frames": 60, "nfe_step": 5}
    return wire.SynthesisItem(**(base | values))


def sound(result: wire.SynthesisResult | wire.Failure) -> np.ndarray:
    assert isinstance(result, wire.SynthesisResult), result
    return wire.decode_pcm(result.audio, "audio")


def same(one: wire.SynthesisResult | wire.Failure, other: wire.SynthesisResult | wire.Failure) -> bool:
    """Equal to a few steps of 16 bits."""
    return bool(np.abs(sound(one) - sound(other)).max() < 2e-4)


def code(result: wire.SynthesisResult | wire.Failure | wire.PlanResult | wire.EmbedResult) -> str:
    assert isinstance(result, wire.Failure), result
    return result.error.code


def test_a_chunk_becomes_sound() -> None:
    (result,) = synthesizer().synthesize([item()])
    samples = sound(result)
    assert isinstance(result, wire.SynthesisResult)
    assert (result.frames, result.model, result.speech, result.sample_rate) == (60, "smoke", False, 24_000)
    assert len(samples) == (60 - 1) * 256
    assert 0.005 < float(np.sqrt(np.mean(samples**2))) < 0.5


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(20, 120), st.integers(0, 9), st.sampled_from([5, 6]), st.sampled_from(["Hi.", "A longer chunk."])),
        min_size=2,
        max_size=5,
    )
)
def test_the_sound_depends_on_the_item_alone(drawn: list[tuple[int, int, int, str]]) -> None:
    items = [item(frames=f, seed=s, nfe_step=n, text=t) for f, s, n, t in drawn]
    mixed = synthesizer().synthesize(items)
    for one, result in zip(items, mixed, strict=True):
        assert same(result, synthesizer().synthesize([one])[0])


def test_the_seed_repeats_the_sound() -> None:
    one, again, other = (synthesizer().synthesize([item(seed=s)])[0] for s in (3, 3, 4))
    assert one == again
    assert float(np.abs(sound(one) - sound(other)).max()) > 0.01


BAD = {
    "base64": ({"reference_audio": "not base64!"}, "INVALID_ITEM"),
    "odd bytes": ({"reference_audio": "AAAA"}, "INVALID_ITEM"),
    "no audio": ({"reference_audio": ""}, "INVALID_ITEM"),
    "silence": ({"reference_audio": wire.encode_pcm(np.zeros(24_000, np.float32))}, "INVALID_ITEM"),
    "no frames": ({"frames": 0}, "INVALID_ITEM"),
    "too many frames": ({"frames": MAX_FRAMES}, "INVALID_ITEM"),
    "endless text": ({"text": "a" * (MAX_FRAMES + 1)}, "INVALID_ITEM"),
    "negative seed": ({"seed": -1}, "INVALID_ITEM"),
    "huge seed": ({"seed": 2**70}, "INVALID_ITEM"),
    "no steps": ({"nfe_step": 0}, "INVALID_ITEM"),
    "nan guidance": ({"cfg_strength": float("nan")}, "INVALID_ITEM"),
    "sway": ({"sway_coefficient": 9.0}, "INVALID_ITEM"),
    "empty text": ({"text": "  "}, "INVALID_ITEM"),
    "unknown model": ({"model": "nobody"}, "MODEL_UNAVAILABLE"),
    "absent model": ({"model": "F5TTS_v1_Base"}, "MODEL_UNAVAILABLE"),
    "unknown language": ({"language": "xx"}, "LANGUAGE_UNAVAILABLE"),
    "unsupported character": ({"text": "ab\u0905"}, "UNSUPPORTED_CHARACTERS"),
    "expired": ({"timeout_s": 0.0}, "DEADLINE_EXCEEDED"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_item_fails_alone(name: str) -> None:
    values, expected = BAD[name]
    good, bad, also_good = synthesizer().synthesize([item(seed=1), item(**values), item(seed=1)])
    assert code(bad) == expected
    alone = synthesizer().synthesize([item(seed=1)])[0]
    assert same(good, alone)
    assert same(also_good, alone)


def test_an_unsupported_character_is_named_at_its_place() -> None:
    (result,) = synthesizer().synthesize([item(text="ab\u0905")])
    assert isinstance(result, wire.Failure)
    assert result.error.details["characters"] == [{"character": "\u0905", "position": 2}]


def test_the_references_text_may_hold_what_the_model_lacks() -> None:
    with_emoji, without = synthesizer().synthesize([item(reference_text="Yes \U0001f600 no."), item(reference_text="Yes  no.")])
    assert sound(with_emoji).shape == sound(without).shape


def test_an_unforeseen_error_of_one_item_stays_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    vocabulary = synthesizer().pool.load("smoke").vocabulary
    encode = type(vocabulary).encode

    def fragile(self: Any, text: str, language: str) -> list[int]:
        if "boom" in text:
            raise KeyError(text)
        return encode(self, text, language)

    monkeypatch.setattr(type(vocabulary), "encode", fragile)
    good, bad = synthesizer().synthesize([item(), item(text="boom secret")])
    assert code(bad) == "SYNTHESIS_FAILED"
    assert good.ok
    assert "secret" not in capsys.readouterr().out


def test_sound_that_is_not_finite_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = synthesizer().pool.load("smoke").vocoder
    decode = vocoder.decode
    monkeypatch.setattr(vocoder, "decode", lambda mels: [*decode(mels[:-1]), torch.full((100,), torch.nan)])
    good, bad = synthesizer().synthesize([item(), item(frames=80)])
    assert good.ok
    assert code(bad) == "SYNTHESIS_FAILED"


def test_a_vocoder_that_fails_on_a_batch_is_tried_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = synthesizer().pool.load("smoke").vocoder
    decode = vocoder.decode

    def small(mels: list[torch.Tensor]) -> list[torch.Tensor]:
        if len(mels) > 1 or mels[0].shape[0] == 80:
            raise RuntimeError("out of memory")
        return decode(mels)

    monkeypatch.setattr(vocoder, "decode", small)
    good, bad = synthesizer().synthesize([item(), item(frames=80)])
    assert good.ok
    assert code(bad) == "SYNTHESIS_FAILED"


def test_an_unforeseen_error_of_one_model_stays_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "voices" / "linda")
    both = Synthesizer(registry(tmp_path, model="smoke"), dtype="float32")

    def broken(_: Any) -> Any:
        raise TypeError("secret")

    monkeypatch.setattr(both.pool.load("linda").vocoder, "decode", broken)
    good, bad = both.synthesize([item(model="smoke"), item(model="linda")])
    assert good.ok
    assert code(bad) == "SYNTHESIS_FAILED"
    assert "secret" not in capsys.readouterr().out


def test_chunks_of_one_voice_share_its_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = Synthesizer(synthesizer().registry, dtype="float32")
    fresh.pool = synthesizer().pool
    assert all(result.ok for result in fresh.synthesize([item(seed=seed) for seed in range(3)]))
    assert len(fresh.references) == 1


def test_an_item_that_expires_behind_another_batch_is_dropped() -> None:
    now = 0.0
    late = Synthesizer(synthesizer().registry, dtype="float32", clock=lambda: now)
    late.pool = synthesizer().pool
    waiting = item(timeout_s=30.0, nfe_step=6)
    sampler = late.pool.load("smoke").sampler
    sample_batch = sampler._sample_batch

    def slow(items: Any) -> Any:
        nonlocal now
        now += 60
        return sample_batch(items)

    now = waiting.arrived
    sampler._sample_batch = slow  # type: ignore[method-assign]
    try:
        first, second = late.synthesize([item(nfe_step=5), waiting])
    finally:
        sampler._sample_batch = sample_batch  # type: ignore[method-assign]
    assert first.ok
    assert code(second) == "DEADLINE_EXCEEDED"


def test_models_are_not_mixed(tmp_path: Path) -> None:
    save_model(tmp_path / "voices" / "linda")
    both = Synthesizer(registry(tmp_path, model="smoke"), dtype="float32")
    mixed = both.synthesize([item(model="linda"), item(model="smoke"), item(model="linda", frames=70)])
    assert [r.model for r in mixed if isinstance(r, wire.SynthesisResult)] == ["linda", "smoke", "linda"]
    assert same(mixed[1], synthesizer().synthesize([item(model="smoke")])[0])


def test_a_quiet_reference_gives_quiet_sound() -> None:
    loud, quiet = synthesizer().synthesize([item(), item(reference_audio=wire.encode_pcm(hum(1.0) * np.float32(0.02)))])
    assert float(np.abs(sound(quiet)).max()) < 0.1 * float(np.abs(sound(loud)).max())


def request(**values: Any) -> wire.PlanRequest:
    return wire.PlanRequest(**({"text": "One. Two!", "reference_text": "A reference.", "reference_seconds": 2.0} | values))


def test_a_plan_can_be_spoken() -> None:
    plan = synthesizer().plan(request(text="It costs $5. " * 30))
    assert isinstance(plan, wire.PlanResult)
    assert (plan.model, plan.language, plan.support, plan.speech) == ("smoke", "en-US", "native", False)
    assert len(plan.chunks) > 1
    results = synthesizer().synthesize([item(text=c.text, frames=c.frames, nfe_step=5) for c in plan.chunks[:2]])
    assert [r.frames for r in results if isinstance(r, wire.SynthesisResult)] == [c.frames for c in plan.chunks[:2]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"text": " "}, "EMPTY_TEXT"),
        ({"text": "ab\u0905"}, "UNSUPPORTED_CHARACTERS"),
        ({"reference_text": "ab\u0905"}, "UNSUPPORTED_CHARACTERS"),
        ({"model": "nobody"}, "MODEL_UNAVAILABLE"),
        ({"language": "xx"}, "LANGUAGE_UNAVAILABLE"),
        ({"reference_seconds": 29.5}, "REFERENCE_TOO_LONG"),
        ({"reference_seconds": float("nan")}, "INVALID_ITEM"),
        ({"reference_seconds": 0}, "INVALID_ITEM"),
        ({"speed": 4}, "INVALID_ITEM"),
        ({"speed": float("nan")}, "INVALID_ITEM"),
    ],
)
def test_a_plan_that_cannot_be(values: dict[str, Any], expected: str) -> None:
    assert code(synthesizer().plan(request(**values))) == expected


def test_a_plan_may_drop_what_the_model_lacks() -> None:
    plan = synthesizer().plan(request(text="Hello \u0905 world", reference_text="ab\u0905", on_unsupported="drop"))
    assert isinstance(plan, wire.PlanResult)
    assert [u.position for u in plan.unsupported_characters] == [6]


def test_an_embedding_goes_over_the_wire() -> None:
    result = synthesizer().embed(wire.EmbedRequest(audio=REFERENCE))
    assert isinstance(result, wire.EmbedResult)
    assert sum(value**2 for value in result.embedding) == pytest.approx(1, abs=1e-4)
    assert code(synthesizer().embed(wire.EmbedRequest(audio="AAAA"))) == "INVALID_ITEM"


def test_the_models_are_told_honestly() -> None:
    answer = synthesizer().models()
    by_name = {model.name: model for model in answer.models}
    assert answer.default == "smoke"
    assert (by_name["smoke"].available, by_name["smoke"].speech) == (True, False)
    assert not by_name["F5TTS_v1_Base"].available
    assert "fetch" in (by_name["F5TTS_v1_Base"].reason or "")
    languages = {language.code: language for language in answer.languages}
    assert (languages["ja-JP"].level, languages["ja-JP"].model) == ("fallback", "smoke")
    assert languages["en-US"].level == "native"


def test_without_any_model_every_language_is_unavailable(tmp_path: Path) -> None:
    answer = Synthesizer(registry(tmp_path, model="F5TTS_Base")).models()
    assert {language.level for language in answer.languages} == {"unavailable"}
    assert all(language.reason for language in answer.languages)


@pytest.mark.parametrize(
    ("reference", "joined"),
    [("Yes", "Yes. go"), ("Yes.", "Yes. go"), (" Yes! ", "Yes! go"), ("\u662f\u3002", "\u662f\u3002go"), ("", "go")],
)
def test_texts_are_joined_as_one_utterance(reference: str, joined: str) -> None:
    assert join_texts(reference, "go") == joined


def test_the_warm_up_item_can_be_spoken() -> None:
    (result,) = synthesizer().synthesize([wire.SynthesisItem(**synthesizer().warm_up_item())])
    assert result.ok
