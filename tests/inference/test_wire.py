import base64
import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inference import wire
from inference.errors import InvalidItemError

ITEM = {"text": "a", "reference_audio": "", "reference_text": "b", "frames": 1}


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=200))
def test_pcm_comes_back(values: list[int]) -> None:
    text = base64.b64encode(np.array(values, "<i2").tobytes()).decode()
    samples = wire.decode_pcm(text, "audio")
    assert float(np.abs(samples).max()) <= 1
    assert wire.encode_pcm(samples) == text


@given(st.text(max_size=50))
def test_anything_else_is_an_error(text: str) -> None:
    with contextlib.suppress(InvalidItemError):
        assert len(wire.decode_pcm(text, "audio")) >= 1


@pytest.mark.parametrize("text", ["", "AAA", "AA==", "no base64!", "AAAA\n", "\u00e9"])
def test_what_is_no_sound_is_named(text: str) -> None:
    with pytest.raises(InvalidItemError) as caught:
        wire.decode_pcm(text, "audio")
    assert caught.value.details == {"field": "audio"}


def test_sound_beyond_full_scale_is_clipped() -> None:
    assert wire.decode_pcm(wire.encode_pcm(np.array([2.0, -2.0], np.float32)), "a").tolist() == pytest.approx([32767 / 32768, -1.0])


def test_an_item_is_stamped_when_it_is_read() -> None:
    token = wire.request_id.set("one")
    try:
        first = wire.SynthesisRequest.model_validate_json(json.dumps({"items": [ITEM]})).items[0]
    finally:
        wire.request_id.reset(token)
    assert first.request_id == "one"
    second = wire.SynthesisItem(**ITEM)
    assert second.request_id == ""
    assert second.arrived >= first.arrived


def test_a_deadline_counts_from_the_arrival() -> None:
    item = wire.SynthesisItem(**ITEM, timeout_s=2.0)
    assert not item.expired(item.arrived + 1.9)
    assert item.expired(item.arrived + 2.0)
    assert not wire.SynthesisItem(**ITEM).expired(item.arrived + 1e9)


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan")])
def test_a_deadline_that_is_no_time_has_passed(timeout: float) -> None:
    item = wire.SynthesisItem(**ITEM, timeout_s=timeout)
    assert item.expired(item.arrived)


@pytest.mark.parametrize(
    "body", [{"items": []}, {"items": [ITEM] * 65}, {"items": [{**ITEM, "other": 1}]}, {"items": [{"text": "a"}]}, {}, []]
)
def test_bodies_of_the_wrong_shape(body: object) -> None:
    with pytest.raises(ValidationError):
        wire.SynthesisRequest.model_validate_json(json.dumps(body))


def test_errors_do_not_repeat_what_was_sent() -> None:
    with pytest.raises(ValidationError) as caught:
        wire.SynthesisRequest.model_validate_json(json.dumps({"items": [{**ITEM, "text": ["my secret"], "frames": "my secret"}]}))
    assert "my secret" not in str(caught.value)
