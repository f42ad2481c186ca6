from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.ids import new_id

MILLISECOND = 1_000_000
MOMENTS = st.integers(0, 2**47).map(lambda milliseconds: milliseconds * MILLISECOND)  # to the year 6429


@given(st.lists(MOMENTS, min_size=2, max_size=20, unique=True))
def test_ids_sort_by_the_time_they_were_made(moments: list[int]) -> None:
    made = []
    for moment in moments:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time_ns", lambda moment=moment: moment)
            made.append((moment, new_id("job")))
    assert [id_ for _, id_ in sorted(made)] == sorted(id_ for _, id_ in made)


def test_ids_carry_their_prefix_and_differ() -> None:
    ids = {new_id("vs") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"vs_[0-9a-f]{28}", id_) for id_ in ids)
