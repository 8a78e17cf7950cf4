import numpy as np
from scipy.ndimage import label

from seg.postprocess import fill_holes, remove_small_regions

SQUARE = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 0],
        [0, 1, 0, 2, 1, 1, 0],
        [0, 1, 1, 1, 1, 1, 0],
        [0, 1, 1, 1, 3, 1, 0],
        [0, 1, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ],
    np.uint8,
)


def even(labels: np.ndarray, classes: int = 4) -> np.ndarray:
    return np.full((classes, *labels.shape), 1 / classes, np.float32)


def smallest_region(labels: np.ndarray) -> int:
    return min(np.bincount(label(labels == value)[0].ravel())[1:].min() for value in np.unique(labels))


def test_holes_of_several_labels_are_filled_up_to_a_size():
    assert (fill_holes(SQUARE, 2)[1:6, 1:6] == 1).all()
    only_one = fill_holes(SQUARE, 1)
    assert only_one[4, 4] == 1
    assert only_one[2, 2] == 0
    assert (fill_holes(SQUARE, 100)[0] == 0).all()


def test_what_touches_the_edge_of_the_image_is_no_hole():
    open_hole = SQUARE[:, 2:]
    assert (fill_holes(open_hole, 100)[2, 0:2] == [0, 2]).all()
    assert fill_holes(open_hole, 100)[4, 2] == 1


def test_a_hole_in_what_fills_a_hole_goes_with_it():
    rings = np.zeros((11, 11), np.uint8)
    rings[1:10, 1:10], rings[3:8, 3:8], rings[5, 5] = 1, 2, 3
    filled = fill_holes(rings, 25)
    assert (filled[1:10, 1:10] == 1).all()


def test_a_small_region_takes_the_likeliest_label_beside_it():
    labels = np.zeros((6, 6), np.uint8)
    labels[:, 3:] = 1
    labels[2:4, 2:4] = 2
    for winner in (0, 1):
        probabilities = even(labels)
        probabilities[winner, 2:4, 2:4] = 0.4
        probabilities[3, 2:4, 2:4] = 0.9  # the likeliest of all, but not beside it
        tidied = remove_small_regions(labels, 5, probabilities)
        assert (tidied[2:4, 2:4] == winner).all()
    np.testing.assert_array_equal(remove_small_regions(labels, 4, even(labels)), labels)


def test_no_small_region_is_left_in_noise_and_nothing_new_appears():
    generator = np.random.default_rng(0)
    for smallest in (2, 9, 60):
        labels = generator.integers(0, 4, (40, 50), dtype=np.uint8)
        labels[20:, 25:] = 3
        probabilities = generator.random((4, 40, 50)).astype(np.float32)
        before = labels.copy()
        tidied = remove_small_regions(labels, smallest, probabilities)
        np.testing.assert_array_equal(labels, before)
        assert smallest_region(tidied) >= smallest


def test_an_image_of_one_region_stays():
    labels = np.full((3, 3), 2, np.uint8)
    np.testing.assert_array_equal(remove_small_regions(labels, 100, even(labels)), labels)
