from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seg.data.sampling import EvaluationBatches, Sampling, TrainingOrder, balanced_weights


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
    if len(sizes) < world:  # a process without an image would never end an evaluation
        with pytest.raises(ValueError, match=rf"{len(sizes)} images cannot be shared among {world} processes"):
            EvaluationBatches(sizes, batch_size, 0, world)
        return
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


tables = arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 5)), elements=st.sampled_from([0, 0, 1, 70]))


@given(number=st.integers(1, 12), repeat=st.integers(1, 4), epoch=st.integers(0, 2))
def test_a_repeated_epoch_goes_through_all_samples_so_often_each_time_in_another_order(number, repeat, epoch):
    order = TrainingOrder(number, 3, repeat=repeat)
    order.set_epoch(epoch)
    numbers = [key.number for key in order]
    assert len(numbers) == len(order) == number * repeat
    rounds = [numbers[start : start + number] for start in range(0, len(numbers), number)]
    assert all(sorted(drawn) == list(range(number)) for drawn in rounds)
    assert [key.position for key in order] == list(range(number * repeat))
    once = TrainingOrder(number, 3)
    once.set_epoch(epoch)
    assert [key.number for key in once] == rounds[0]


@given(
    number=st.integers(2, 20),
    world=st.integers(1, 4),
    repeat=st.integers(1, 3),
    weighted=st.booleans(),
    start=st.integers(0, 5),
)
def test_processes_share_one_order_however_images_are_drawn(number, world, repeat, weighted, start):
    weights = np.arange(1.0, number + 1) / sum(range(1, number + 1)) if weighted else None
    whole = list(TrainingOrder(number, 5, repeat=repeat, weights=weights))
    for rank in range(world):
        part = TrainingOrder(number, 5, rank, world, repeat, weights)
        part.start = start  # as a run that resumes within the epoch does
        length = len(part)
        expected = [whole[(step * world + rank) % len(whole)].number for step in range(start, length)]
        keys = list(part)
        assert [key.number for key in keys] == expected
        assert [key.position for key in keys] == [step * world + rank for step in range(start, length)]
        assert len(list(part)) == length


@given(counts=tables)
def test_balanced_weights_are_those_of_drawing_a_class_and_then_an_image_with_it(counts):
    images, classes = counts.shape
    having = {label: [image for image in range(images) if counts[image, label]] for label in range(classes)}
    there = {label: found for label, found in having.items() if found}
    if not there:
        with pytest.raises(ValueError, match="all training pixels are ignored"):
            balanced_weights(counts)
        return
    expected = [Fraction(0)] * images
    for found in there.values():
        for image in found:
            expected[image] += Fraction(1, len(there)) * Fraction(1, len(found))
    assert sum(expected) == 1
    np.testing.assert_allclose(balanced_weights(counts), [float(share) for share in expected], atol=1e-12)


def test_a_rare_class_is_drawn_as_often_as_its_weight_says_and_each_epoch_anew():
    counts = np.zeros((10, 2), int)
    counts[:, 0], counts[3, 1] = 100, 1
    order = TrainingOrder(10, weights=balanced_weights(counts))  # image 3: 0.5 · 1/10 + 0.5 · 1 = 0.55
    drawn = []
    for epoch in range(300):
        order.set_epoch(epoch)
        drawn.append([key.number for key in order])
    share = np.mean([number == 3 for numbers in drawn for number in numbers])
    assert share == pytest.approx(0.55, abs=0.03)
    assert len({tuple(numbers) for numbers in drawn}) > 250
    order.set_epoch(7)
    assert [key.number for key in order] == drawn[7]


def test_rare_classes_are_named_or_those_with_less_than_half_of_an_equal_share():
    names = ["ground", "road", "pole", "sign", "never"]
    counts = np.array([[500, 300, 60, 0, 0], [0, 80, 40, 20, 0]])  # of 1000: an equal share is 250, half of it 125
    assert Sampling(rare_crops=0.5).rare_labels(counts, names) == [2, 3]
    assert Sampling(rare_crops=0.5, rare_classes=("sign", "ground")).rare_labels(counts, names) == [3, 0]
    with pytest.raises(ValueError, match="'poles' is no class; the classes are ground, road"):
        Sampling(rare_crops=0.5, rare_classes=("poles",)).rare_labels(counts, names)
    with pytest.raises(ValueError, match="no training image contains 'never'"):
        Sampling(rare_crops=0.5, rare_classes=("never",)).rare_labels(counts, names)
    with pytest.raises(ValueError, match="none is rare"):
        Sampling(rare_crops=0.5).rare_labels(np.array([[40, 60]]), names[:2])


def test_the_size_of_a_batch_is_drawn_from_the_list_by_what_names_the_batch():
    sampling = Sampling(multi_scale=(0.5, 1.0, 1.5))
    drawn = [sampling.factor(0, epoch, batch) for epoch in range(20) for batch in range(30)]
    counts = Counter(drawn)
    assert set(counts) == {0.5, 1.0, 1.5}
    assert min(counts.values()) > 150
    assert drawn == [sampling.factor(0, epoch, batch) for epoch in range(20) for batch in range(30)]
    assert drawn != [sampling.factor(1, epoch, batch) for epoch in range(20) for batch in range(30)]
    assert Sampling().factor(0, 0, 0) == 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": "balance"}, "sampling: 'balance'"),
        ({"repeat": 0}, "repeat: 0"),
        ({"rare_crops": 1.1}, "rare_crops: 1.1"),
        ({"rare_crops": float("nan")}, "rare_crops: nan"),
        ({"rare_classes": ("a",)}, r"rare_classes: \['a'\] has no effect; set rare_crops"),
        ({"rare_classes": (), "rare_crops": 0.5}, "name at least one"),
        ({"multi_scale": (1.0, 0.0)}, "multi_scale"),
    ],
)
def test_ways_of_sampling_that_cannot_be_are_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**given)
