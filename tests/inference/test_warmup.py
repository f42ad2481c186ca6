"""What comes before the first request."""

from __future__ import annotations

import contextlib
import gc

from inference import warmup


def test_the_collector_is_held_back_and_always_comes_back() -> None:
    frozen = gc.get_freeze_count()
    try:
        with contextlib.suppress(ImportError), warmup.uncollected():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
