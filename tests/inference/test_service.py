"""The running service over HTTP."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from inference import wire
from tests.inference.conftest import hum
from tests.servers import descendants, inference_process, wait_for_line, wait_until_ready

REFERENCE = wire.encode_pcm(hum(1.0))


def item(**values: Any) -> dict[str, Any]:
    base = {"text": "Hello there.", "reference_audio": REFERENCE, "reference_text": "A reference.", "frames": 60, "nfe_step": 5}
    return base | values


def synthesize(url: str, *items: dict[str, Any]) -> list[dict[str, Any]]:
    answer = httpx.post(f"{url}/synthesize", json={"items": list(items)}, timeout=60)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()
    assert len(results) == len(items)
    return results


def sound(result: dict[str, Any]) -> np.ndarray:
    return wire.decode_pcm(result["audio"], "audio")


def test_a_chunk_becomes_sound(service: str) -> None:
    (result,) = synthesize(service, item())
    assert {key: result[key] for key in ("ok", "sample_rate", "frames", "model", "speech")} == {
        "ok": True,
        "sample_rate": 24_000,
        "frames": 60,
        "model": "smoke",
        "speech": False,
    }
    assert float(np.abs(sound(result)).max()) > 0.01


def test_parallel_requests_equal_each_alone(service: str) -> None:
    items = [item(frames=40 + 15 * i, seed=i, text="Hi there, you. " * (1 + i % 3), nfe_step=5 + i % 2) for i in range(8)]
    alone = [synthesize(service, one)[0] for one in items]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda one: synthesize(service, one)[0], items))
    for one, other in zip(alone, together, strict=True):
        assert one["frames"] == other["frames"]
        assert float(np.abs(sound(one) - sound(other)).max()) < 2e-4


def test_eight_texts_in_four_voices_at_once_equal_each_alone(service: str) -> None:
    """No text and no voice of one request reaches another."""
    texts = ["One.", "Two, then.", "Three of us.", "Four more came.", "Five went home.", "Six stayed on.", "Seven sang.", "Eight slept."]
    voices = [(hum(1.0, frequency), f"This is voice {name}.") for name, frequency in enumerate((110.0, 160.0, 220.0, 300.0))]
    items = [
        item(text=text, frames=45 + 5 * i, seed=9, reference_audio=wire.encode_pcm(voice), reference_text=said, nfe_step=5)
        for i, text in enumerate(texts)
        for voice, said in voices
    ]
    alone = [sound(synthesize(service, one)[0]) for one in items]
    with concurrent.futures.ThreadPoolExecutor(len(items)) as pool:
        together = [sound(answer[0]) for answer in pool.map(lambda one: synthesize(service, one), items)]
    for one, other in zip(alone, together, strict=True):
        assert float(np.abs(one - other).max()) < 2e-4
    same_text = [together[len(voices) * 3 + voice] for voice in range(len(voices))]
    for i, one in enumerate(same_text):
        assert all(np.abs(one - other).max() > 0.01 for other in same_text[i + 1 :]), "another voice is another sound"


def test_requests_do_share_batches(service: str) -> None:
    def batches() -> tuple[float, float]:
        lines = httpx.get(f"{service}/metrics").text.splitlines()
        named = [line for line in lines if line.startswith("bentoml_service_adaptive_batch_size") and "synthesize" in line]
        count = sum(float(line.split()[-1]) for line in named if "_count{" in line)
        items = sum(float(line.split()[-1]) for line in named if "_sum{" in line)
        return count, items

    before = batches()
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda seed: synthesize(service, item(seed=seed, frames=200)), range(24)))
    after = batches()
    assert after[1] - before[1] == 24
    assert after[0] - before[0] < 24


def test_many_items_in_one_request_keep_their_order(service: str) -> None:
    items = [item(frames=30 + i) for i in range(40)]
    assert [result["frames"] for result in synthesize(service, *items)] == [30 + i for i in range(40)]


def test_bad_items_fail_alone(service: str) -> None:
    good, bad, late = synthesize(service, item(), item(text="\u0905"), item(timeout_s=0.0))
    assert good["ok"]
    assert bad["error"]["code"] == "UNSUPPORTED_CHARACTERS"
    assert bad["error"]["details"]["characters"] == [{"character": "\u0905", "position": 0}]
    assert late["error"]["code"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/synthesize", "{"),
        ("/synthesize", ""),
        ("/synthesize", "[]"),
        ("/synthesize", '{"items": []}'),
        ("/synthesize", '{"items": [{}]}'),
        ("/synthesize", json.dumps({"items": [item(frames="many")]})),
        ("/synthesize", json.dumps({"items": [item(surplus=1)]})),
        ("/synthesize", json.dumps({"items": [item()] * 65})),
        ("/plan", "[]"),
        ("/plan", '{"text": 1}'),
        ("/plan", '"text"'),
        ("/embed", "{}"),
        ("/embed", '{"audio": null}'),
        ("/embed", b"\xff\xfe"),
    ],
)
def test_bodies_of_the_wrong_shape_are_400(service: str, path: str, body: str | bytes) -> None:
    answer = httpx.post(f"{service}{path}", content=body, headers={"content-type": "application/json"}, timeout=30)
    assert answer.status_code == 400, answer.text
    assert "error" in answer.json()


def test_other_kinds_of_bodies_are_415(service: str) -> None:
    assert httpx.post(f"{service}/plan", files={"text": b"x"}).status_code == 415


def test_bodies_of_unknown_length_are_411(service: str) -> None:
    answer = httpx.post(f"{service}/plan", content=iter([b"{}"]), headers={"content-type": "application/json"}, timeout=30)
    assert answer.status_code == 411


def test_a_plan_goes_over_the_wire(service: str) -> None:
    body = {"text": "One thing. Another!", "language": "en-GB", "reference_text": "A reference.", "reference_seconds": 2.5}
    plan = httpx.post(f"{service}/plan", json=body, timeout=30).json()
    assert {
        k: plan[k] for k in ("ok", "model", "language", "support", "speech", "sample_rate", "hop_length", "unsupported_characters")
    } == {
        "ok": True,
        "model": "smoke",
        "language": "en-GB",
        "support": "native",
        "speech": False,
        "sample_rate": 24_000,
        "hop_length": 256,
        "unsupported_characters": [],
    }
    assert set(plan["chunks"][0]) == {"index", "text", "start", "end", "frames"}
    failed = httpx.post(f"{service}/plan", json=body | {"text": " "}, timeout=30)
    assert failed.status_code == 200
    assert failed.json()["error"]["code"] == "EMPTY_TEXT"


def test_an_embedding_goes_over_the_wire(service: str) -> None:
    answer = httpx.post(f"{service}/embed", json={"audio": REFERENCE}, timeout=60).json()
    assert answer["ok"]
    assert len(answer["embedding"]) == 256


def test_models_and_languages_are_listed(service: str) -> None:
    answer = httpx.get(f"{service}/models")
    assert answer.status_code == 200
    body = answer.json()
    assert body["default"] == "smoke"
    assert set(body["models"][0]) == {"name", "languages", "license", "commercial_use", "available", "reason", "speech"}
    assert set(body["languages"][0]) == {"code", "level", "model", "reason"}


def test_the_service_describes_itself(service: str) -> None:
    paths = httpx.get(f"{service}/docs.json").json()["paths"]
    assert {"/synthesize", "/plan", "/embed"} <= set(paths)


def test_a_request_keeps_its_id(service: str) -> None:
    assert httpx.get(f"{service}/models", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    odd = httpx.get(f"{service}/models", headers={"X-Request-ID": "no spaces, please"}).headers["X-Request-ID"]
    assert odd != "no spaces, please"


def test_unknown_paths_and_verbs(service: str) -> None:
    assert httpx.get(f"{service}/nothing").status_code == 404
    assert httpx.get(f"{service}/plan").status_code == 405
    assert httpx.get(f"{service}/livez").status_code == 200


def test_a_life_from_start_to_stop(tmp_path: Path) -> None:
    """Not ready before the warm-up, whole logs without a person's text, and nothing left after SIGTERM."""
    with inference_process(tmp_path, wait=False) as (url, process, log_file):
        wait_until_ready(url, process, log_file)
        assert '"warmed_up"' in log_file.read_text()
        synthesize(url, item(text="Hello secretword."), item(text="secretword \u0905"))
        httpx.post(f"{url}/plan", json={"text": ["secretword"]})
        httpx.post(f"{url}/plan", content='{"text": "secretword', headers={"X-Request-ID": "marked-request"})
        assert not descendants(process.pid), "the service is one process"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    log = log_file.read_text()
    assert "secretword" not in log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    events = [line["event"] for line in lines]
    assert events.index("model_loaded") < events.index("warmed_up") < events.index("ready")
    not_ready = [line for line in lines[: events.index("warmed_up")] if line.get("path") == "/synthesize"]
    assert len(not_ready) == 14
    assert {line["event"] for line in lines if line.get("request_id") == "marked-request"} == {"request", "Exception on /plan [POST]"}


def test_a_model_that_cannot_be_had_leaves_the_service_alive_and_not_ready(tmp_path: Path) -> None:
    with inference_process(tmp_path, wait=False, VOXIFY_MODEL="F5TTS_Base") as (url, process, log_file):
        wait_for_line("not_ready", process, log_file)
        assert httpx.get(f"{url}/livez").status_code == 200
        assert httpx.get(f"{url}/readyz").status_code == 503
        models = {model["name"]: model for model in httpx.get(f"{url}/models").json()["models"]}
        assert "could not be fetched" in models["F5TTS_Base"]["reason"]
        (result,) = synthesize(url, item(model="F5TTS_Base"))
        assert result["error"]["code"] == "MODEL_UNAVAILABLE"


def test_a_service_that_is_told_to_stop_while_it_starts_ends_cleanly(tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    with inference_process(tmp_path, wait=False, TMPDIR=str(folder)) as (url, process, log_file):
        wait_for_line("Completed async startup hook", process, log_file)
        assert list(folder.glob("voxify-metrics-*"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not list(folder.glob("voxify-metrics-*"))
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/livez")


def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with inference_process(tmp_path, wait=False, VOXIFY_INFERENCE_PORT=port) as (_, process, log_file):
            assert process.wait(30) == 1
            assert log_file.read_text().startswith(f"127.0.0.1:{port} cannot be listened on: [Errno 98] Address already in use")
