import numpy as np
from PIL import Image

from seg.convert.palette import voc_colors, write_indexed
from seg.data.counts import class_counts, pixel_counts
from seg.data.dataset import Pair, Reader
from seg.data.images import Labels


def write(folder, masks):
    pairs = []
    for number, mask in enumerate(masks):
        file = folder / f"{number}.png"
        write_indexed(file, np.array(mask, dtype=np.uint8), voc_colors(3))
        pairs.append(Pair(str(number), str(file), str(file)))
    return pairs


def test_pixels_of_a_class_and_of_the_images_that_contain_it_are_counted(tmp_path):
    pairs = write(tmp_path, [[[0, 0, 1], [255, 255, 1]], [[0, 2, 2], [2, 2, 2]]])
    assert pixel_counts(pairs, Labels(3), Reader(), tmp_path) == ([3, 2, 5], [12, 6, 6])
    # the second time from the file, and anew once a mask has changed
    assert pixel_counts(pairs, Labels(3), Reader(), tmp_path) == ([3, 2, 5], [12, 6, 6])
    assert len(list((tmp_path / ".cache").glob("pixels-*.json"))) == 1
    Image.open(tmp_path / "0.png").resize((6, 4), Image.Resampling.NEAREST).save(tmp_path / "0.png")
    assert pixel_counts(pairs, Labels(3), Reader(), tmp_path) == ([9, 8, 5], [30, 24, 6])


def test_a_label_map_is_applied_before_counting(tmp_path):
    pairs = write(tmp_path, [[[0, 1], [2, 2]]])
    assert pixel_counts(pairs, Labels(2, {2: 1}), Reader(), tmp_path) == ([1, 3], [4, 4])
    assert pixel_counts(pairs, Labels(2, {2: 255}), Reader(), tmp_path) == ([1, 1], [4, 4])


def test_each_mask_is_counted_alone_and_once_whatever_split_it_is_in(tmp_path):
    pairs = write(tmp_path, [[[0, 0, 1], [255, 255, 1]], [[0, 2, 2], [2, 2, 2]], [[255, 255]]])
    read = []

    class Counting(Reader):
        def mask(self, pair):
            read.append(pair.id)
            return super().mask(pair)

    assert class_counts(pairs[:2], Labels(3), Counting(), tmp_path).tolist() == [[2, 2, 0, 2], [1, 0, 5, 0]]
    assert class_counts(pairs[::-1], Labels(3), Counting(), tmp_path).tolist() == [
        [0, 0, 0, 2],
        [1, 0, 5, 0],
        [2, 2, 0, 2],
    ]
    assert sorted(read) == ["0", "1", "2"]
