from __future__ import annotations

import pytest
import torch

from inference.device import describe


def test_a_processor_has_no_memory_of_its_own() -> None:
    assert describe("cpu", "bfloat16").model_dump() == {
        "device": "cpu", "name": "processor", "dtype": "bfloat16", "memory_total": None, "memory_free": None,
    }  # fmt: skip


def test_a_gpu_is_asked_for_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: {"cuda:1": (3, 8)}[device])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: {"cuda:1": "A GPU"}[device])
    found = describe("cuda:1", "float16")
    assert (found.name, found.memory_total, found.memory_free) == ("A GPU", 8, 3)
