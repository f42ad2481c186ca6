"""What a killed process was making is not left lying about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from store.clock import utcnow
from tests.servers import ROOT
from worker.temporary import LEFT_AFTER, PREFIX, remove_left_behind, sound_folder

WRITING = """
import sys, time
from pathlib import Path
from worker.temporary import sound_folder
with sound_folder() as folder:
    Path(folder, "speech.wav").write_bytes(b"RIFF")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_killed_process_leaves_a_folder_that_goes_after_a_while(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", WRITING], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
    assert left.joinpath("speech.wav").exists()
    assert remove_left_behind(folder=tmp_path) == 0, "it may be somebody's who still works"
    assert remove_left_behind(utcnow() + LEFT_AFTER + timedelta(seconds=5), tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_still_written_to_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    later = utcnow() + LEFT_AFTER + timedelta(seconds=5)
    written, others = tmp_path / f"{PREFIX}1", tmp_path / "voxify-backup-1"
    for folder in (written, others):
        folder.mkdir()
        (folder / "speech.wav").write_bytes(b"RIFF")
    os.utime(written / "speech.wav", (later.timestamp(), later.timestamp()))
    assert remove_left_behind(later, tmp_path) == 0
    assert written.exists()
    assert others.exists()


def test_a_folder_goes_with_its_context() -> None:
    with sound_folder() as folder:
        assert Path(folder).name.startswith(PREFIX)
    assert not Path(folder).exists()
