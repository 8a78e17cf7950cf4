from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg.data.sampling import EvaluationBatches, TrainingOrder


def test_an_epoch_holds_every_sample_once_in_an_order_of_its_own():
    order = TrainingOrder(20, seed=1)
    orders = []
    for epoch in range(3):
        order.set_epoch(epoch)
        keys = list(order)
        assert [key.position for key in keys] == list(range(20))
        assert {key.epoch for key in keys} == {epoch}
        orders.append([key.number for key in keys])
        assert sorted(orders[-1]) == list(range(20))
    assert len({tuple(numbers) for numbers in orders}) == 3
    order.set_epoch(1)
    assert [key.number for key in order] == orders[1]
    assert [key.number for key in TrainingOrder(20, seed=2)] != orders[0]


@given(number=st.integers(1, 40), world=st.integers(1, 6))
def test_training_processes_get_equal_shares_without_repeats(number, world):
    shares = [list(TrainingOrder(number, 0, rank, world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    counts = Counter(key.number for share in shares for key in share)
    if number >= world:
        assert max(counts.values()) == 1
        assert sum(counts.values()) > number - world
    else:
        assert len(counts) == number
    positions = [key.position for share in shares for key in share]
    assert len(set(positions)) == len(positions)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2)), max_size=40),
    batch_size=st.integers(1, 5),
    world=st.integers(1, 4),
)
def test_evaluation_sees_every_sample_once_over_all_processes_in_batches_of_one_size(sizes, batch_size, world):
    seen = []
    shares = []
    for rank in range(world):
        batches = EvaluationBatches(sizes, batch_size, rank, world)
        assert len(list(batches)) == len(batches)
        for batch in batches:
            assert 1 <= len(batch) <= batch_size
            assert len({sizes[key.number] for key in batch}) == 1
            seen += [key.number for key in batch]
        shares.append(sum(len(batch) for batch in batches))
    assert sorted(seen) == list(range(len(sizes)))
    assert max(shares) - min(shares) <= 1


def test_batches_of_one_size_are_full_and_in_list_order():
    sizes = [(3, 4), (5, 5), (3, 4), (3, 4)]
    assert [[key.number for key in batch] for batch in EvaluationBatches(sizes, 2)] == [[0, 2], [3], [1]]


def test_an_order_without_samples_is_a_programmers_error():
    with pytest.raises(AssertionError):
        TrainingOrder(0)


def test_the_shuffle_is_numpys_and_uniform_enough():
    firsts = Counter()
    order = TrainingOrder(4)
    for epoch in range(400):
        order.set_epoch(epoch)
        firsts[next(iter(order)).number] += 1
    assert min(firsts.values()) > 65, firsts
    assert isinstance(next(iter(order)).number, int)
    assert not isinstance(next(iter(order)).number, np.integer)
