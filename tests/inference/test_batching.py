import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.batching import group, padded_frames, split

lengths_lists = st.lists(st.integers(1, 3000), max_size=40)


@given(lengths_lists, st.integers(1, 20_000), st.floats(0, 1))
def test_every_item_is_in_exactly_one_batch(lengths: list[int], budget: int, padding: float) -> None:
    batches = split(lengths, budget, max_padding=padding)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))


@given(lengths_lists, st.integers(1, 20_000), st.floats(0, 1))
def test_a_batch_keeps_the_budget_and_the_padding(lengths: list[int], budget: int, padding: float) -> None:
    for batch in split(lengths, budget, max_padding=padding):
        sizes = [lengths[i] for i in batch]
        assert len(batch) == 1 or padded_frames(sizes) <= budget
        assert padded_frames(sizes) - sum(sizes) <= padding * padded_frames(sizes) + 1e-6


@given(lengths_lists, st.integers(1, 20_000))
def test_batches_run_from_short_to_long(lengths: list[int], budget: int) -> None:
    flat = [lengths[i] for batch in split(lengths, budget) for i in batch]
    assert flat == sorted(flat)


def test_equal_lengths_fill_the_budget() -> None:
    assert split([100] * 10, 400) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_long_item_does_not_carry_short_ones_along() -> None:
    assert split([1000, 100, 110], 100_000) == [[1, 2], [0]]


def test_an_item_above_the_budget_is_alone() -> None:
    assert split([5000, 10], 100) == [[1], [0]]


def test_nothing_gives_nothing() -> None:
    assert split([], 10) == []


@pytest.mark.parametrize(("lengths", "budget", "padding"), [([0], 10, 0.5), ([1], 0, 0.5), ([1], 10, 1.5), ([-3], 10, 0.5)])
def test_values_out_of_range_are_refused(lengths: list[int], budget: int, padding: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        split(lengths, budget, max_padding=padding)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers())))
def test_groups_keep_the_order(items: list[tuple[str, int]]) -> None:
    groups = group(items, lambda item: item[0])
    assert sorted(item for members in groups.values() for item in members) == sorted(items)
    for key, members in groups.items():
        assert members == [item for item in items if item[0] == key]
