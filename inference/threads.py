"""How many threads compute on a CPU, and how they wait for one another."""

from __future__ import annotations

import os
from pathlib import Path

OPENMP = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""Waiting threads sleep. Spinning ones wake sooner, but where other processes share the machine they take the core from the very thread
they wait for. The operator of a machine of its own may choose ``ACTIVE``."""


def configure_openmp() -> None:
    """Set what OpenMP reads once, when torch is imported; what the operator has set stays."""
    for name, value in OPENMP.items():
        os.environ.setdefault(name, value)


def limit(threads: int | None = None) -> int:
    """Set torch's threads, once, before the first computation. Returns their number.

    Without ``threads``: the physical cores, or fewer where ``OMP_NUM_THREADS``, which torch reads itself, says so.
    """
    import torch

    wanted = threads or min(torch.get_num_threads(), physical_cores())
    torch.set_num_threads(wanted)
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)
    return wanted


def physical_cores(topology: Path = Path("/sys/devices/system/cpu"), quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores among the processors of this process's affinity mask and its control group's quota, at least 1.

    Threads of one core share its arithmetic units, so that a second one there only adds to the waiting.
    """
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for number in processors:
        path = topology / f"cpu{number}" / "topology" / "thread_siblings_list"
        siblings.add(path.read_text(encoding="ascii").strip() if path.is_file() else str(number))
    return max(1, min(len(siblings), _quota(quota) or len(siblings)))


def _quota(path: Path) -> int | None:
    """Whole processors that a container may use; None where there is no limit."""
    if not path.is_file():
        return None
    quota, period = path.read_text(encoding="ascii").split()
    return max(1, int(quota) // int(period)) if quota.isdigit() else None
