from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inference import threads


def machine(folder: Path, *cores: str) -> Path:
    """A topology whose processors have these siblings."""
    for number, siblings in enumerate(cores):
        (folder / f"cpu{number}" / "topology").mkdir(parents=True)
        (folder / f"cpu{number}" / "topology" / "thread_siblings_list").write_text(siblings + "\n")
    return folder


@pytest.mark.parametrize(
    ("cores", "quota", "expected"),
    [
        (["0-1", "0-1", "2-3", "2-3"], None, 2),
        (["0", "1", "2", "3"], None, 4),
        (["0", "1", "2", "3"], "max 100000", 4),
        (["0", "1", "2", "3"], "250000 100000", 2),
        (["0", "1"], "50000 100000", 1),
    ],
)
def test_cores_that_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: list[str], quota: str | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(len(cores))))
    limit = tmp_path / "cpu.max"
    if quota is not None:
        limit.write_text(quota + "\n")
    assert threads.physical_cores(machine(tmp_path / "cpu", *cores), limit) == expected


def test_what_the_operator_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("KMP_BLOCKTIME", raising=False)
    threads.configure_openmp()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert os.environ.pop("KMP_BLOCKTIME") == "0"


def test_torch_gets_them_and_heavy_libraries_stay_out() -> None:
    """In a fresh process: threads can be set once only, and what is imported stays."""
    code = """
import sys
from inference import threads
threads.configure_openmp()
assert "torch" not in sys.modules
assert threads.limit() == 1
import torch
assert (torch.get_num_threads(), torch.get_num_interop_threads()) == (1, 1)
from inference import upstream
upstream.load()
import numpy as np
from inference import speaker
speaker.embed(np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 10, 16_000)
heavy = {"sympy", "torch._dynamo", "scipy.signal", "librosa", "wandb", "gradio", "transformers", "accelerate", "matplotlib"}
heavy |= {"pypinyin", "rjieba", "scipy", "numba", "resemblyzer", "pkg_resources"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from x_transformers import x_transformers
assert callable(x_transformers.einx.subtract)
import librosa.filters
assert librosa.filters.mel(sr=24000, n_fft=1024, n_mels=100).shape == (100, 513)
from f5_tts.model.utils import convert_char_to_pinyin
assert convert_char_to_pinyin(["\u5929\u6c14"]) == [[" ", "tian1", " ", "qi4"]]
import f5_tts.model
assert f5_tts.model.Trainer
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
