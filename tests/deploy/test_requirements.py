"""The image of the API installs requirements/api.txt alone. What it leaves out must not be missed."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.servers import ROOT, free_port, stop, wait_until_ready

NAME = re.compile(r"^([a-z0-9][a-z0-9._-]*)", re.IGNORECASE)

# `voxify serve` where an import of anything else than the image has fails, as there; what is in the standard library is not asked.
PROGRAM = """
import sys
behind = set({behind!r})
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in behind:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Wall())
sys.argv = ["voxify", *sys.argv[1:]]
from api.cli import app
app()
"""


def listed(path: Path) -> set[str]:
    """The names of a file of requirements, spelt as PEP 503 has it."""
    found = (NAME.match(line) for line in path.read_text().splitlines())
    return {re.sub(r"[-_.]+", "-", match[1]).lower() for match in found if match}


def not_in_the_image() -> list[str]:
    """Modules that are installed here, and come from no package that the image has."""
    there = listed(ROOT / "requirements" / "api.txt") | {"voxify"}
    return sorted(
        module
        for module, packages in importlib.metadata.packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", package).lower() for package in packages} & there
    )


def test_what_is_left_out_is_not_in_the_list() -> None:
    assert not listed(ROOT / "requirements" / "api-left-out.txt") & listed(ROOT / "requirements" / "api.txt")
    assert not listed(ROOT / "requirements" / "api.txt") & {"torch", "bentoml", "f5-tts", "onnxruntime", "kubernetes"}


def test_the_lists_agree_on_versions() -> None:
    def pins(name: str) -> set[str]:
        return {line.strip() for line in (ROOT / "requirements" / name).read_text().splitlines() if "==" in line and line[0].isalnum()}

    assert pins("api.txt")
    assert pins("api.txt") <= pins("dev.txt")
    assert pins("inference.txt") <= pins("dev.txt")


def test_the_api_runs_with_what_its_image_has(tmp_path: Path) -> None:
    behind = not_in_the_image()
    assert {"torch", "onnxruntime", "kubernetes", "tokenizers", "polyfactory", "faker"} <= set(behind)
    program, log_file, port = PROGRAM.format(behind=behind), tmp_path / "log", free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VOXIFY_")}
    environment |= {"VOXIFY_ENV": "dev", "VOXIFY_DATA_DIR": str(tmp_path / "data"), "VOXIFY_API_PORT": str(port)}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", program, "serve"], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process, log_file, path="/health/live")
        parts = httpx.get(f"{url}/health/ready").json()["data"]["parts"]
        assert {name: part["status"] for name, part in parts.items()} == {
            "database": "ok",
            "objects": "ok",
            "vectors": "ok",
            "queue": "ok",
            "inference": "failed",
        }
        assert len(httpx.get(f"{url}/openapi.json").json()["paths"]) > 40
    finally:
        stop(process)
    assert "No module named" not in log_file.read_text()


@pytest.mark.parametrize("work", ["chroma", "qdrant", "celery", "traces"])
def test_the_clients_of_other_stores_need_nothing_that_is_left_out(work: str) -> None:
    """Those that one machine does not use, and that are imported where they are."""
    imports = {
        "chroma": (
            "import chromadb, tempfile; from chromadb.config import Settings; from chromadb.api.fastapi import FastAPI\n"
            "client = chromadb.PersistentClient(tempfile.mkdtemp(), settings=Settings(anonymized_telemetry=False))\n"
            "voices = client.create_collection('voices', embedding_function=None)\n"
            "voices.upsert(ids=['one'], embeddings=[[1.0, 0.0]])\n"
            "assert voices.query(query_embeddings=[[1.0, 0.0]], n_results=1)['ids'] == [['one']]"
        ),
        "qdrant": "from qdrant_client import QdrantClient; QdrantClient(':memory:').get_collections()",
        "celery": "import celery, kombu.transport.pyamqp; celery.Celery(broker='amqp://127.0.0.1//').amqp",
        "traces": "from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter; OTLPSpanExporter()",
    }
    program = PROGRAM.format(behind=not_in_the_image()).replace("from api.cli import app\napp()", imports[work])
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
