"""What a model's revision is told by."""

from __future__ import annotations

import os
from pathlib import Path

from inference.registry import SMOKE, Registry


def test_it_changes_with_the_files_and_only_with_them(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    weights, vocabulary = folder / "model_1.safetensors", folder / "vocab.txt"
    for path in (weights, vocabulary):
        path.write_bytes(b"12345678")
        os.utime(path, ns=(10**18, 10**18))
    registry = Registry(models_dir=tmp_path / "models", model=str(folder), voices_dir=tmp_path / "none")
    spec = registry.spec(registry.default)
    first = registry.revision(spec)
    assert registry.revision(spec) == first
    (folder / "readme.md").write_text("of no consequence")
    assert registry.revision(spec) == first
    os.utime(weights, ns=(10**18, 2 * 10**18))
    second = registry.revision(spec)
    vocabulary.write_bytes(b"123456789")
    assert len({first, second, registry.revision(spec)}) == 3
    (folder / "model_2.safetensors").write_bytes(b"newer")
    assert registry.revision(spec) not in {first, second}
    assert registry.revision(registry.spec(SMOKE)) == "seeded"
