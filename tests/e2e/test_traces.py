"""One request through every process: its trace, its log lines, and what is in neither."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from scripts.demo import RECORDING_TEXT, recording
from tests.collector import Collector, Seen
from tests.e2e.voxify import ApiProcess, Person, api_process
from tests.servers import ROOT, free_port, stop, wait_until_ready

SAID = "The heron keeps the amber key. Nobody asked it why."
FILE_NAME = "grandmother-on-the-porch.wav"
TRACE, SPAN = "5bd66ef5095369c7b0d1f8f4bd33716a", "c532cb4098ac3dd2"
OTHER_TRACE, MAIL_TRACE = "0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736"
# What people say, who they are, what they sign in with, and what they call their files.
PRIVATE = ("heron", "amber", "grandmother", "porch", RECORDING_TEXT[:20], "@example.com", "Correct-Horse", "eyJ", "Wrong-Horse", "Aunt Ada")


@pytest.fixture(scope="module")
def job_trace(api: ApiProcess, collector: Collector) -> list[Seen]:
    """The spans of a job, asked for by somebody who traces too."""
    person = Person(api.url, "heron@example.com")
    person.refused("POST", "/auth/login", json={"email": "heron@example.com", "password": "Wrong-Horse-7!"})
    form = {"name": "Aunt Ada", "ref_text": RECORDING_TEXT}
    uploaded = person.http.post("/voice/samples", files={"file": (FILE_NAME, recording().read_bytes())}, data=form)
    person.until(f"/voice/samples/{uploaded.json()['data']['sample_id']}", "ready")
    clone = person.data("POST", "/voice/clones", json={"name": "Aunt Ada", "sample_ids": [uploaded.json()["data"]["sample_id"]]})
    person.until(f"/voice/clones/{clone['clone_id']}", "ready")
    wanted = {"text_content": SAID, "voice_model_id": clone["clone_id"], "config": {"seed": 5}}
    job = person.data("POST", "/job", json=wanted, headers={"traceparent": f"00-{TRACE}-{SPAN}-01", "X-Request-ID": "traced-1"})
    person.until(f"/job/{job['id']}", "completed")
    once = {"POST /api/v1/job", "claim", "job", "plan", "POST /plan", "encode", "store"}

    def whole(names: list[str]) -> bool:
        chunks = names.count("chunk")
        return once < set(names) and 0 < chunks == names.count("batch") == names.count("POST /synthesize")

    return collector.wait(TRACE, whole)


def test_a_job_is_one_trace_through_every_process(job_trace: list[Seen]) -> None:
    by_id = {span.span_id: span for span in job_trace}

    def above(name: str) -> set[str]:
        return {by_id[span.parent_id].name for span in job_trace if span.name == name}

    (request,) = [span for span in job_trace if span.name == "POST /api/v1/job"]
    assert (request.parent_id, request.service, request.attributes["http.response.status_code"]) == (SPAN, "voxify-api", 201)
    assert above("claim") == above("job") == {"POST /api/v1/job"}
    assert above("plan") == above("encode") == above("store") == {"job"}
    assert above("chunk") == {"encode"}
    assert above("POST /plan") == {"plan"}
    assert above("POST /synthesize") == {"chunk"}
    assert above("batch") == {"POST /synthesize"}
    assert {span.service for span in job_trace if span.name in {"POST /plan", "POST /synthesize", "batch"}} == {"voxify-inference"}
    assert not [span.name for span in job_trace if span.failed]
    (job,) = [span for span in job_trace if span.name == "job"]
    assert job.attributes.items() >= {"voxify.kind": "synthesis", "voxify.attempt": 1, "voxify.end": "completed"}.items()
    chunks = [span for span in job_trace if span.name == "chunk"]
    assert len(chunks) == len([span for span in job_trace if span.name == "POST /synthesize"])
    assert all(job.began <= chunk.began <= chunk.ended <= job.ended for chunk in chunks)


def test_a_worker_of_its_own_goes_on_with_the_trace(tmp_path: Path, inference_url: str, collector: Collector) -> None:
    # Jobs in a voice of the library have no need of the index of voices, which two processes could only share on a server.
    settings = {
        "VOXIFY_QUEUE": "workers",
        "VOXIFY_VECTORS_URL": f"http://127.0.0.1:{free_port()}",
        "VOXIFY_OTLP_ENDPOINT": collector.endpoint,
    }
    with api_process(tmp_path, inference_url, **settings) as api, worker_process(api) as metrics_url:
        person = Person(api.url, "porch@example.com")
        wanted = {"text_content": SAID, "voice_model_id": "default_voice_001"}
        job = person.data("POST", "/job", json=wanted, headers={"traceparent": f"00-{OTHER_TRACE}-{SPAN}-01"})
        person.until(f"/job/{job['id']}", "completed")
        spans = collector.wait(OTHER_TRACE, lambda names: {"POST /api/v1/job", "claim", "job", "store", "batch"} < set(names))
        # When the span of the job has ended, so have its numbers and lines.
        told = httpx.get(f"{metrics_url}/metrics").text
        worker_log = (tmp_path / "worker.log").read_text()
    services = {span.name: span.service for span in spans}
    assert services.items() >= {"POST /api/v1/job": "voxify-api", "job": "voxify-worker", "batch": "voxify-inference"}.items()
    assert len({span.instance for span in spans}) == 3
    (request,) = [span for span in spans if span.name == "POST /api/v1/job"]
    assert [span.parent_id for span in spans if span.name == "job"] == [request.span_id]
    assert 'voxify_job_duration_seconds_count{end="completed",kind="synthesis"} 1.0' in told
    assert OTHER_TRACE in worker_log
    for text in (*[span.whole for span in spans], worker_log):
        assert [private for private in PRIVATE if private in text] == []


@contextmanager
def worker_process(api: ApiProcess) -> Iterator[str]:
    """`voxify worker` beside an API, with its data and settings, and the address of its metrics."""
    port, log_file = free_port(), api.folder / "worker.log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VOXIFY_")}
    environment |= {"VOXIFY_ENV": "dev", "VOXIFY_DATA_DIR": str(api.data), "VOXIFY_INFERENCE_URL": api.inference_url}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "worker"],
            cwd=ROOT,
            env=environment | api.settings | {"VOXIFY_METRICS_PORT": str(port)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, log_file, path="/metrics")
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def test_every_tier_names_the_trace_in_its_log(job_trace: list[Seen], api: ApiProcess, inference_log: Path) -> None:
    for read in (lambda: api.log, inference_log.read_text):
        lines = _lines(read, lambda lines: any(line.get("trace_id") == TRACE and line["event"] == "request" for line in lines))
        assert {line["request_id"] for line in lines if line.get("trace_id") == TRACE} == {"traced-1"}
    ended = [line for line in _lines(lambda: api.log, bool) if line["event"] == "job ended" and line.get("trace_id") == TRACE]
    assert [line["status"] for line in ended] == ["completed"]


def test_neither_spans_nor_logs_repeat_what_people_said_and_who_they_are(
    job_trace: list[Seen], collector: Collector, api: ApiProcess, inference_log: Path
) -> None:
    token = mailed_token(api, collector)
    assert len(token) > 20
    for text in (*[span.whole for span in collector.spans], api.log, inference_log.read_text()):
        assert [private for private in (*PRIVATE, token) if private in text] == []


def mailed_token(api: ApiProcess, collector: Collector) -> str:
    """What the mail says that a forgotten password brings, once all that sent it has been traced."""
    headers = {"traceparent": f"00-{MAIL_TRACE}-{SPAN}-01"}
    asked = httpx.post(f"{api.url}/api/v1/auth/forgot-password", json={"email": "heron@example.com"}, headers=headers)
    asked.raise_for_status()
    collector.wait(MAIL_TRACE, lambda names: "job" in names)
    mails = "".join(mail.read_text() for mail in (api.data / "outbox").glob("*.eml"))
    found = re.search(r"token: (\S+)", mails[mails.index("heron@example.com") :])
    assert found is not None
    return found[1]


def test_the_metrics_of_both_tiers_tell_of_the_job(job_trace: list[Seen], api: ApiProcess, inference_url: str) -> None:
    told = httpx.get(f"{api.url}/metrics").text
    for line in (
        'voxify_job_duration_seconds_count{end="completed",kind="synthesis"}',
        'voxify_job_claim_delay_seconds_count{lane="speech"}',
        'voxify_chunk_duration_seconds_count{end="ok"}',
        'voxify_queue_oldest_seconds{lane="speech"} 0.0',
        'voxify_queue_depth{lane="speech",status="due"} 0.0',
        "voxify_speech_real_time_factor_count",
        "voxify_queue_readable 1.0",
        'voxify_http_errors_total{code="INVALID_CREDENTIALS",status="401"}',
    ):
        assert line in told
    told = httpx.get(f"{inference_url}/metrics").text
    for name in (
        "batch_items_count",
        "padding_ratio_count",
        "real_time_factor_count",
        "sound_seconds_total",
        'items_total{end="ok"}',
        "in_flight",
    ):
        assert f"voxify_inference_{name}" in told


def test_the_service_says_what_it_computes_on(inference_url: str) -> None:
    device = httpx.get(f"{inference_url}/device").json()
    assert device == {"device": "cpu", "name": "processor", "dtype": "float32", "memory_total": None, "memory_free": None}


def _lines(read: Callable[[], str], enough: Callable[[list[dict[str, str]]], bool]) -> list[dict[str, str]]:
    """The lines of a log. A tier writes a request's line after its answer has gone."""
    give_up = time.monotonic() + 30
    while True:
        lines = [json.loads(line) for line in read().splitlines() if line.startswith("{") and line.endswith("}")]
        if enough(lines):
            return lines
        assert time.monotonic() < give_up
        time.sleep(0.02)
