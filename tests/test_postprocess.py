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


def test_a_ring_goes_with_what_is_in_it_or_is_filled_by_itself():
    ring = np.zeros((30, 30), np.uint8)
    ring[9:21, 9:21] = 1  # 144 pixels, of which 100 are
    ring[10:20, 10:20] = 0
    np.testing.assert_array_equal(fill_holes(ring, 99), ring)
    block = ring.copy()
    block[10:20, 10:20] = 1
    np.testing.assert_array_equal(fill_holes(ring, 100), block)
    np.testing.assert_array_equal(fill_holes(ring, 143), block)
    assert not fill_holes(ring, 144).any()


def reached(free: np.ndarray, starts: list[tuple[int, int]], steps: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """Walk over the pixels that are free."""
    seen, left = set(), [start for start in starts if free[start]]
    while left:
        row, column = place = left.pop()
        if place not in seen:
            seen.add(place)
            near = [(row + down, column + right) for down, right in steps]
            left += [(y, x) for y, x in near if 0 <= y < len(free) and 0 <= x < free.shape[1] and free[y, x]]
    return seen


def holes_of(labels: np.ndarray) -> list[tuple[int, int, set[tuple[int, int]]]]:
    """Find (pixels, enclosing label, places) of every hole: what no walk from it to the edge gets round."""
    straight = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    steps = [*straight, (-1, -1), (-1, 1), (1, -1), (1, 1)]
    places = list(np.ndindex(labels.shape))
    edge = [(y, x) for y, x in places if y in (0, labels.shape[0] - 1) or x in (0, labels.shape[1] - 1)]
    found = []
    for value in np.unique(labels).tolist():
        for start in places:
            other = reached(labels != value, [start], straight)
            if other and start == min(other) and not other & set(edge):
                free = np.array([place not in other for place in places]).reshape(labels.shape)
                hole = set(places) - reached(free, edge, steps)
                found.append((len(hole), value, hole))
    return found


def test_holes_are_those_that_walking_to_the_edge_finds_nested_ones_too():
    generator = np.random.default_rng(0)
    nested = 0
    for classes in (2, 3, 4, 2, 3, 4):
        labels = generator.choice(classes, (11, 12), p=[0.7, *[0.3 / (classes - 1)] * (classes - 1)]).astype(np.uint8)
        for inset, value in ((1, 1), (3, classes - 1)):  # a ring, and one within it
            ring = labels[inset : 11 - inset, inset : 12 - inset]
            ring[[0, -1]] = ring[:, [0, -1]] = value
        holes = holes_of(labels)
        for largest in (1, 3, 10, 40, 60, 100):
            expected = labels.copy()
            for place in np.ndindex(labels.shape):
                around = [(size, value) for size, value, hole in holes if size <= largest and place in hole]
                nested += len(around) > 1
                expected[place] = max(around)[1] if around else labels[place]
            np.testing.assert_array_equal(fill_holes(labels, largest), expected)
    assert nested > 20
