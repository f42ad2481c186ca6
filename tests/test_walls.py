"""The walls between the rooms: who may import whom, and what must run without the GPU tier's libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"api", "audio", "inference", "store", "worker", "settings", "tracing"}
MAY_IMPORT = {
    "audio": set(),
    "store": {"audio", "tracing"},
    "inference": {"audio", "settings", "tracing"},
    "worker": {"store", "audio", "tracing"},
    "api": {"store", "worker", "audio", "settings", "tracing"},
}
GPU_TIER_ONLY = {"torch", "torchaudio", "bentoml", "f5_tts", "vocos", "resemblyzer"}
WEB = {"litestar", "uvicorn", "httpx", "sqlalchemy"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def files(room: str) -> list[Path]:
    found = sorted((ROOT / room).rglob("*.py"))
    assert found, f"there is no room {room}"
    return found


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_what_it_may(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    for path in files(room):
        assert set(imports(path)) & ROOMS <= allowed, path


@pytest.mark.parametrize("room", sorted(set(MAY_IMPORT) - {"inference"}))
def test_only_inference_imports_the_gpu_tiers_libraries(room: str) -> None:
    for path in files(room):
        assert not set(imports(path)) & GPU_TIER_ONLY, path


def test_audio_knows_neither_web_nor_database() -> None:
    for path in files("audio"):
        assert not set(imports(path)) & WEB, path


def test_nobody_reads_the_environment_but_settings() -> None:
    for room in MAY_IMPORT:
        for path in files(room):
            source = path.read_text()
            assert "getenv(" not in source, path
            assert "environ.get(" not in source, path


def test_api_and_worker_run_without_the_gpu_tiers_libraries() -> None:
    """Import every module of both with those libraries made unimportable, as in an environment that lacks them."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for room in ("api", "worker", "store", "audio")
        for path in files(room)
        if "migrations" not in path.parts
    ]
    program = f"""
import importlib, sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {GPU_TIER_ONLY!r}:
            raise ImportError(f"{{name}} is behind the wall")
sys.meta_path.insert(0, Wall())
for name in {modules!r}:
    importlib.import_module(name)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=100)
