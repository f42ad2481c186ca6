"""Speech to text with a tiny Whisper: loading, hearing, and what is said where nothing can be heard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import recognisers, transcribe
from inference.errors import LanguageUnavailableError, ModelUnavailableError
from inference.transcribe import AudioTooLongError, Transcriber, TranscriptionUnavailableError, join, windows
from tests.inference.conftest import hum
from tests.inference.recognisers import save_whisper

RATE = 24_000


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_whisper(folder / "whisper", "hello world")
    return folder


@pytest.fixture(scope="module")
def transcriber(models: Path) -> Transcriber:
    return Transcriber(models)


def test_a_sound_is_heard_in_the_language_that_is_asked_for(transcriber: Transcriber) -> None:
    heard = transcriber.transcribe(hum(2.0), RATE, "en-US")
    assert (heard.text, heard.language, heard.model) == ("hello world", "en-US", "whisper")


def test_a_language_is_detected(transcriber: Transcriber) -> None:
    assert transcriber.transcribe(hum(2.0), RATE).language == "de"


def test_a_long_sound_is_heard_window_by_window(transcriber: Transcriber) -> None:
    assert transcriber.transcribe(hum(45.0), RATE, "en").text == "hello world hello world"


def test_text_depends_on_the_sound(tmp_path: Path) -> None:
    save_whisper(tmp_path / "whisper", None)
    transcriber = Transcriber(tmp_path)
    texts = [transcriber.transcribe(hum(1.0, frequency), RATE, "en").text for frequency in (100, 200, 100)]
    assert texts[0] == texts[2] != texts[1]
    assert texts[0]


def test_silence_says_nothing(transcriber: Transcriber) -> None:
    assert transcriber.transcribe(np.zeros(RATE, np.float32), RATE, "en-US").text == ""
    assert transcriber.transcribe(np.zeros(0, np.float32), RATE).language == "und"


def test_a_language_that_whisper_lacks(transcriber: Transcriber) -> None:
    with pytest.raises(LanguageUnavailableError):
        transcriber.transcribe(hum(1.0), RATE, "tlh")


def test_more_than_a_minute_is_refused(transcriber: Transcriber) -> None:
    with pytest.raises(AudioTooLongError) as caught:
        transcriber.transcribe(np.zeros(61 * RATE, np.float32), RATE)
    assert caught.value.details == {"limit_s": 60.0}


def test_absent_weights_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    transcriber = Transcriber(tmp_path)
    with pytest.raises(TranscriptionUnavailableError, match="python -m inference fetch whisper"):
        transcriber.transcribe(hum(1.0), RATE)
    save_whisper(tmp_path / "whisper")
    assert transcriber.transcribe(hum(1.0), RATE, "en").text == "hello world"


@pytest.mark.parametrize("name", ["model.safetensors", "preprocessor_config.json", "config.json"])
def test_damaged_weights_are_read_once_and_remembered(tmp_path: Path, models: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "whisper"
    folder.mkdir()
    for path in (models / "whisper").iterdir():
        (folder / path.name).write_bytes(path.read_bytes() if path.name != name else b"{")
    transcriber = Transcriber(tmp_path)
    for _ in range(2):
        with pytest.raises(TranscriptionUnavailableError, match="cannot be loaded"):
            transcriber.transcribe(hum(1.0), RATE)
        monkeypatch.setattr(transcribe, "_Whisper", None)
    assert "cannot be loaded" in str(transcriber.refusal())


def test_a_refused_licence(models: Path, tmp_path: Path) -> None:
    assert recognisers.refusal("whisper", models, commercial_only=True) is None
    assert "commercial" in str(recognisers.refusal("aligner", tmp_path, commercial_only=True))
    with pytest.raises(ModelUnavailableError, match="CC-BY-NC"):
        recognisers.fetch("aligner", tmp_path, commercial_only=True)


def test_weights_of_ones_own_have_a_licence_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "aligner"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    assert recognisers.refusal("aligner", tmp_path) is None
    (folder / "config.toml").write_text('license = "MIT"\ncommercial_use = true\n')
    assert recognisers.refusal("aligner", tmp_path, commercial_only=True) is None


def test_a_model_names_itself_but_no_path(tmp_path: Path) -> None:
    for written, expected in {"openai/whisper-tiny": "openai/whisper-tiny", "/home/x": tmp_path.name, "./x": tmp_path.name}.items():
        (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": written}))
        assert recognisers.model_name(tmp_path) == expected


def test_a_recogniser_is_fetched_by_its_name(tmp_path: Path) -> None:
    """Up to the hub's door: what is there already is not asked for, and the rest cannot be had without a network."""
    folder = tmp_path / "models" / "whisper"
    folder.mkdir(parents=True)
    for name in recognisers.known()["whisper"].files:
        (folder / name).write_text("{}")
    environment = os.environ | {"VOXIFY_MODEL_DIR": str(tmp_path / "models"), "HF_HUB_OFFLINE": "1", "VOXIFY_MODEL": "smoke"}
    command = [sys.executable, "-m", "inference", "fetch"]
    root = Path(__file__).parents[2]
    done = subprocess.run([*command, "whisper", "aligner"], env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "whisper is in" in done.stdout
    assert "config.json could not be fetched from MahmoudAshraf/mms-300m-1130-forced-aligner" in done.stderr


def test_many_threads_load_once(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    original = transcribe._Whisper
    gate = threading.Barrier(4)

    def counted(folder: Path, device: str) -> transcribe._Whisper:
        loads.append(folder)
        return original(folder, device)

    monkeypatch.setattr(transcribe, "_Whisper", counted)
    transcriber = Transcriber(models)

    def hear(_: int) -> str:
        gate.wait(30)
        return transcriber.transcribe(hum(1.0), RATE, "en").text

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(hear, range(4))) == {"hello world"}
    assert len(loads) == 1


def test_transformers_is_imported_on_first_use_only() -> None:
    program = "import sys, inference.listening; sys.exit('transformers.models.whisper' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=True, timeout=100)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 3), st.floats(0, 1)), max_size=12), st.floats(0.2, 4))
def test_windows_part_the_whole_into_as_few_as_can_be(parts: list[tuple[float, float]], limit_s: float) -> None:
    rng = np.random.default_rng(0)
    rate = 1000
    sound = np.concatenate([np.zeros(0), *(level * rng.standard_normal(int(s * rate)) for s, level in parts)]).astype(np.float32)
    found = windows(sound, rate, limit_s)
    limit = int(limit_s * rate)
    assert found[0][0] == 0
    assert found[-1][1] == len(sound)
    assert all(one[1] == other[0] for one, other in pairwise(found))
    assert all(end - start <= limit for start, end in found)
    assert len(found) == max(1, -(-len(sound) // limit))


def test_windows_part_in_a_pause() -> None:
    sound = np.concatenate([hum(22.0), np.zeros(RATE, np.float32), hum(12.0)])
    ((_, cut), _) = windows(sound, RATE, 30)
    assert 22.2 < cut / RATE < 22.8


@pytest.mark.parametrize(
    ("texts", "expected"),
    [([" a", "b "], "a b"), (["", "a", ""], "a"), (["\u4f60\u597d\u3002", "\u4f60"], "\u4f60\u597d\u3002\u4f60"), ([], "")],
)
def test_texts_are_joined(texts: list[str], expected: str) -> None:
    assert join(texts) == expected
