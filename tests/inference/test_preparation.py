"""Items are made ready while they wait, so that the device does not wait for the host."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inference import preparation, wire
from inference.synthesis import Synthesizer
from tests.inference.models import registry, save_model
from tests.inference.test_synthesis import code, item, same, synthesizer

WAIT_S = 60


@pytest.fixture
def fresh() -> Any:
    """A synthesizer of its own, with the weights of the shared one."""
    made = Synthesizer(synthesizer().registry, dtype="float32")
    made.pool = synthesizer().pool
    yield made
    made.close()


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were prepared, one entry each time."""
    texts: list[str] = []
    prepare = preparation.prepare

    def counting(one: wire.SynthesisItem, *others: Any) -> preparation.Prepared:
        texts.append(one.text)
        return prepare(one, *others)

    monkeypatch.setattr(preparation, "prepare", counting)
    return texts


def test_the_next_batch_is_prepared_while_one_runs(fresh: Synthesizer, prepared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = fresh.pool.load("smoke").sampler
    sample_batch = sampler._sample_batch
    runs, goes_on = threading.Event(), threading.Event()

    def held(items: Any) -> Any:
        runs.set()
        assert goes_on.wait(WAIT_S)
        return sample_batch(items)

    monkeypatch.setattr(sampler, "_sample_batch", held)
    following = item(text="The next one.")
    with ThreadPoolExecutor(1) as device:
        running = device.submit(fresh.synthesize, [item(text="The first.")])
        assert runs.wait(WAIT_S)
        fresh.begin([following])
        begun = following.preparation
        assert begun is not None
        begun.result(WAIT_S)
        assert not running.done()
        goes_on.set()
        assert running.result(WAIT_S)[0].ok
    assert fresh.synthesize([following])[0].ok
    assert prepared == ["The first.", "The next one."], "nothing is prepared twice"


def test_it_sounds_as_without(fresh: Synthesizer) -> None:
    begun, plain = item(seed=4), item(seed=4)
    fresh.begin([begun])
    assert same(*fresh.synthesize([begun, plain]))


def test_nobody_waits_for_a_turn_that_has_not_come(fresh: Synthesizer) -> None:
    blocked = threading.Event()
    fresh._host.submit(blocked.wait, WAIT_S)
    waiting = item()
    fresh.begin([waiting])
    try:
        assert fresh.synthesize([waiting])[0].ok
    finally:
        blocked.set()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"reference_audio": "not base64!"}, "INVALID_ITEM"),
        ({"frames": 0}, "INVALID_ITEM"),
        ({"model": "nobody"}, "MODEL_UNAVAILABLE"),
        ({"text": "ab\u0905"}, "UNSUPPORTED_CHARACTERS"),
        ({"timeout_s": 0.0}, "DEADLINE_EXCEEDED"),
    ],
)
def test_a_bad_item_fails_as_without(fresh: Synthesizer, values: dict[str, Any], expected: str) -> None:
    good, bad = item(), item(**values)
    fresh.begin([good, bad])
    results = fresh.synthesize([good, bad])
    assert results[0].ok
    assert code(results[1]) == expected
    assert results[1] == fresh.synthesize([item(**values)])[0]


def test_who_only_waits_loads_no_weights(tmp_path: Path) -> None:
    save_model(tmp_path / "voices" / "linda")
    both = Synthesizer(registry(tmp_path, model="smoke"), dtype="float32")
    both.pool.start()
    waiting = item(model="linda")
    both.begin([waiting])
    begun = waiting.preparation
    assert begun is not None
    assert begun.result(WAIT_S).spec.name == "linda"
    assert both.pool.names() == ["smoke"]
    both.close()


def test_what_was_made_for_another_model_is_made_anew(fresh: Synthesizer, tmp_path: Path, prepared: list[str]) -> None:
    save_model(tmp_path / "voices" / "linda")
    other = Synthesizer(registry(tmp_path, model="linda"), dtype="float32")
    one = item()
    other.begin([one])
    assert one.preparation is not None
    assert one.preparation.result(WAIT_S).spec.name == "linda"
    (result,) = fresh.synthesize([one])
    assert same(result, fresh.synthesize([item()])[0])
    assert len(prepared) == 3
    other.close()


def test_a_request_that_is_read_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    from inference import service

    class Served:
        _synthesizer: Any = None

    served, begun = Served(), []
    monkeypatch.setattr(service, "_serving", [served])
    body = {"items": [item().model_dump()]}
    api: Any = service.Inference
    spec = api.apis["synthesize"].input_spec
    assert spec.model_validate(body).items[0].preparation is None, "nothing is here yet to begin with"

    class Beginner:
        def begin(self, items: list[wire.SynthesisItem]) -> None:
            begun.extend(items)

    served._synthesizer = Beginner()
    assert spec.model_validate(body).items == begun


def test_a_stopped_one_still_speaks_what_it_has(fresh: Synthesizer) -> None:
    late = item()
    late.preparation = Future()
    late.preparation.cancel()
    fresh.close()
    assert fresh.synthesize([late])[0].ok
