"""The endpoints that listen, over HTTP: with tiny networks, and where there are none."""

from __future__ import annotations

import concurrent.futures
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from inference import wire
from tests.inference.conftest import hum
from tests.inference.recognisers import save_aligner, save_whisper
from tests.inference.test_reference import recording
from tests.servers import inference_process

SOUND = wire.encode_pcm(hum(2.0))


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address and log of a service with a Whisper that hears "hello secretword" in everything, and an aligner."""
    folder = tmp_path_factory.mktemp("listening")
    save_whisper(folder / "models" / "whisper", "hello secretword")
    save_aligner(folder / "models" / "aligner")
    with inference_process(folder, VOXIFY_MODEL_DIR=str(folder / "models")) as (url, _, log):
        yield url, log


def post(url: str, path: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/{path}", json=body, timeout=100)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def test_a_recording_is_transcribed(listening: tuple[str, Path]) -> None:
    result = post(listening[0], "transcribe", audio=SOUND, language="en-US")
    assert result == {"ok": True, "text": "hello secretword", "language": "en-US", "model": "whisper"}
    assert post(listening[0], "transcribe", audio=SOUND)["language"] == "de"


def test_words_are_aligned_on_the_text_as_it_was_sent(listening: tuple[str, Path]) -> None:
    text = "  It cost $5, she said."
    result = post(listening[0], "align", audio=SOUND, text=text, language="en-US")
    assert (result["ok"], result["method"]) == (True, "ctc")
    assert [word["word"] for word in result["words"]] == ["It", "cost", "$5", "she", "said"]
    for word in result["words"]:
        assert set(word) == {"word", "start", "end", "start_s", "end_s", "score"}
        assert text[word["start"] : word["end"]] == word["word"]
        assert 0 <= word["start_s"] <= word["end_s"] <= 2
        assert 0 <= word["score"] <= 1


def test_chunks_go_over_the_wire(listening: tuple[str, Path]) -> None:
    chunks = [{"start": 0, "end": 4, "start_s": 0.0, "end_s": 0.7}, {"start": 4, "end": 8, "start_s": 0.7, "end_s": 2.0}]
    words = post(listening[0], "align", audio=SOUND, text="One two.", chunks=chunks)["words"]
    assert words[0]["end_s"] <= 0.7 <= words[1]["start_s"]
    chunks[1]["end"] = 99
    failed = post(listening[0], "align", audio=SOUND, text="One two.", chunks=chunks)
    assert failed["error"] == {"code": "INVALID_ITEM", "message": failed["error"]["message"], "details": {"field": "chunks"}}


def test_a_reference_is_prepared_and_its_text_heard(listening: tuple[str, Path]) -> None:
    quiet = wire.encode_pcm(np.concatenate([np.zeros(24_000, np.float32), hum(3.0, level=0.1)]))
    result = post(listening[0], "reference", audio=quiet, text=None, language="en-US")
    sound = wire.decode_pcm(result.pop("audio"), "audio")
    assert result == {
        "ok": True,
        "text": "hello secretword.",
        "seconds": pytest.approx(len(sound) / 24_000),
        "cut": False,
        "transcribed": True,
    }
    assert float(np.sqrt(np.mean(sound**2))) == pytest.approx(0.1, abs=0.01)


def test_a_long_reference_is_cut_together_with_its_text(listening: tuple[str, Path]) -> None:
    # The seeded aligner hears nothing of the text, so that the pauses decide.
    of = recording(0)
    result = post(listening[0], "reference", audio=wire.encode_pcm(of.samples), text=of.text, language="en-US", limit_s=12.0)
    assert (result["ok"], result["cut"], result["transcribed"]) == (True, True, False)
    assert result["seconds"] <= 12
    assert of.text.startswith(result["text"][:-1])


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("transcribe", {"audio": "?"}, "INVALID_ITEM"),
        ("transcribe", {"audio": SOUND, "language": "tlh"}, "LANGUAGE_UNAVAILABLE"),
        ("transcribe", {"audio": wire.encode_pcm(np.zeros(61 * 24_000, np.float32))}, "AUDIO_TOO_LONG"),
        ("align", {"audio": SOUND, "text": "..."}, "EMPTY_TEXT"),
        ("align", {"audio": "", "text": "Words."}, "INVALID_ITEM"),
        ("reference", {"audio": wire.encode_pcm(hum(0.5)), "text": "Words."}, "AUDIO_TOO_SHORT"),
        ("reference", {"audio": SOUND, "text": "\u0905"}, "UNSUPPORTED_CHARACTERS"),
        ("reference", {"audio": SOUND, "text": "Words.", "limit_s": 100}, "INVALID_ITEM"),
        ("reference", {"audio": SOUND, "text": "Words.", "language": "tlh"}, "LANGUAGE_UNAVAILABLE"),
        ("reference", {"audio": wire.encode_pcm(hum(15.0)), "text": "Words and words and words and words. " * 4}, "REFERENCE_TOO_LONG"),
    ],
)
def test_failures_are_values(listening: tuple[str, Path], path: str, body: dict[str, Any], code: str) -> None:
    result = post(listening[0], path, **body)
    assert result["ok"] is False
    assert result["error"]["code"] == code
    if code == "UNSUPPORTED_CHARACTERS":
        assert result["error"]["details"] == {"field": "reference_text", "characters": [{"character": "\u0905", "position": 0}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("transcribe", "{}"),
        ("transcribe", '{"audio": 1}'),
        ("transcribe", json.dumps({"audio": SOUND, "surplus": 1})),
        ("align", json.dumps({"audio": SOUND})),
        ("align", json.dumps({"audio": SOUND, "text": "a", "chunks": [{"start": 0}]})),
        ("reference", json.dumps({"audio": SOUND, "limit_s": "long"})),
        ("reference", "[]"),
    ],
)
def test_bodies_of_the_wrong_shape_are_400(listening: tuple[str, Path], path: str, body: str) -> None:
    answer = httpx.post(f"{listening[0]}/{path}", content=body, headers={"content-type": "application/json"}, timeout=30)
    assert answer.status_code == 400, answer.text


def test_many_at_once_get_their_own_answers(listening: tuple[str, Path]) -> None:
    texts = [f"Word number {i} of many." for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda text: post(listening[0], "align", audio=SOUND, text=text), texts))
    assert [result["words"][2]["word"] for result in results] == [str(i) for i in range(8)]


def test_the_log_names_the_request_and_no_words(listening: tuple[str, Path]) -> None:
    url, log = listening
    for path in ("transcribe", "align", "reference"):
        body = {"audio": SOUND, "text": "secretword."} if path != "transcribe" else {"audio": SOUND}
        httpx.post(f"{url}/{path}", json=body, headers={"X-Request-ID": f"marked-{path}"}, timeout=60)
    marked: set[str] = set()
    give_up = time.monotonic() + 30
    # The service writes a request's line after its answer has gone.
    while marked != {"/transcribe", "/align", "/reference"} and time.monotonic() < give_up:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
        time.sleep(0.02)
        marked = {line["path"] for line in lines if "path" in line and line["request_id"].startswith("marked-")}
    assert marked == {"/transcribe", "/align", "/reference"}
    assert {line["model"] for line in lines if line["event"] == "recogniser_loaded"} == {"whisper", "aligner"}
    assert "secretword" not in log.read_text()


def test_without_weights_the_answers_say_so(service: str) -> None:
    unheard = post(service, "transcribe", audio=SOUND)["error"]
    assert unheard["code"] == "TRANSCRIPTION_UNAVAILABLE"
    assert "python -m inference fetch whisper" in unheard["message"]
    assert post(service, "reference", audio=SOUND)["error"]["code"] == "REFERENCE_TEXT_REQUIRED"
    aligned = post(service, "align", audio=SOUND, text="One two.")
    assert aligned["method"] == "estimated"
    assert [word["score"] for word in aligned["words"]] == [None, None]
    assert post(service, "reference", audio=SOUND, text="One two")["text"] == "One two."
