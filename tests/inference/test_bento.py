"""The Bento that ``bentofile.yaml`` describes."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_bento_is_built_and_holds_the_tier(tmp_path: Path) -> None:
    # An address that nobody answers: a build that asks a package index fails here.
    environment = os.environ | {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True", "HTTPS_PROXY": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag", str(ROOT)]
    built = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (bento,) = (path.parent for path in tmp_path.glob("bentos/voxify_inference/*/bento.yaml"))
    for name in ("service.py", "models.toml", "engine.py", "text.py"):
        assert (bento / "src" / "inference" / name).is_file()
    assert (bento / "src" / "settings.py").is_file()
    assert not list(bento.glob("src/**/__pycache__"))
    assert not (bento / "src" / "api").exists()
    requirements = (bento / "env" / "python" / "requirements.txt").read_text()
    assert "f5-tts==1.1.22" in requirements
    assert "torch==2.11.0" in requirements
