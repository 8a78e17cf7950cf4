import hashlib
import json
import multiprocessing
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from seg.data.shapes import COLORS, NAMES, Shapes, generate, write_tree
from seg.data.shapes_drawing import BORDER, HEART, OUTLINES, SIZES, place


def _digest(array):
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()[:16]


PINNED = {  # SHA-256 of image and of mask, the first 16 digits
    (0, 0): ("e8c2d6ef974f0260", "7cf1fbfc1ad23641"),
    (1, 0): ("1254a7ea0fb802a2", "1a886698b751b327"),
    (7, 0): ("f7788aa221c2ba81", "81cb31901bd410ca"),
    (0, 2**32 - 1): ("bb70458fda73869b", "f46be793fe872ce7"),
}


@pytest.mark.parametrize(("index", "seed"), PINNED)
def test_the_pixels_are_the_same_on_every_machine(index, seed):
    image, mask = generate(index, seed)
    assert (_digest(image), _digest(mask)) == PINNED[index, seed]


def test_an_image_depends_on_its_index_and_the_seed_and_on_nothing_drawn_before():
    first = generate(5, 1)
    np.random.seed(3)  # noqa: NPY002  the global generator is nobody's business
    generate(4, 1)
    again, other_index, other_seed = generate(5, 1), generate(6, 1), generate(5, 2)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    for other in (other_index, other_seed):
        assert first[0].shape != other[0].shape or not np.array_equal(first[0], other[0])


def test_the_first_hundred_images_are_worth_learning():
    pairs = [generate(index, 0) for index in range(100)]
    sizes = {mask.shape for _, mask in pairs}
    assert sizes == set(SIZES)
    assert any(side % 2 for size in sizes for side in size)

    holds = np.zeros(256, dtype=int)
    pixels = np.zeros(256, dtype=int)
    for image, mask in pairs:
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == (*mask.shape, 3)
        counts = np.bincount(mask.ravel(), minlength=256)
        pixels += counts
        holds += counts > 0
        assert image.std() > 8, "no image is flat"
    share = pixels / pixels.sum()
    assert share[len(NAMES) : 255].sum() == 0
    assert 0.4 < share[0] < 0.8
    assert (holds[1:HEART] > 40).all(), "every class is in many images"
    assert 30 < holds[HEART] < 65, "the heart is rare"
    assert share[HEART] < share[1:HEART].min() / 4, "and small"
    assert 0.03 < share[255] < 0.12


def test_colour_does_not_give_the_class_away():
    means = {label: [] for label in range(1, HEART)}
    for index in range(60):
        image, mask = generate(index, 0)
        for label in np.unique(mask):
            if label in means:
                means[label].append(image[mask == label].mean(axis=0))
    centres = np.array([np.mean(values, axis=0) for values in means.values()])
    spread = np.mean([np.std(values, axis=0) for values in means.values()])
    assert np.abs(centres - centres.mean(axis=0)).max() < spread


@pytest.mark.parametrize("name", OUTLINES)
def test_the_border_and_the_distances_belong_to_the_outline(name):
    """The distance of each outline must be that to its zero line, found by brute force on a fine grid."""
    axis = np.linspace(-1.5, 1.5, 301)
    x, y = np.meshgrid(axis, axis)
    distance = OUTLINES[name](x, y)
    inside = distance < 0
    edge = np.zeros_like(inside)
    edge[:, 1:] |= inside[:, 1:] != inside[:, :-1]
    edge[1:] |= inside[1:] != inside[:-1]
    outline = np.stack([x[edge], y[edge]], axis=1)
    near = np.abs(distance) < 0.12
    points = np.stack([x[near], y[near]], axis=1)[::7]
    brute = np.sqrt(((points[:, None] - outline[None]) ** 2).sum(axis=2)).min(axis=1)
    assert np.abs(brute - np.abs(distance[near][::7])).max() < 0.02


def test_every_outline_is_itself_when_placed_and_fits_its_box():
    rng = np.random.RandomState(0)
    for label in list(range(1, len(NAMES))) * 20:
        thing = place(rng, label, 128, 160)
        rows, columns = thing.box
        assert thing.distance.shape == (rows.stop - rows.start, columns.stop - columns.start)
        for line, inner in (
            (thing.distance[0], rows.start > 0),
            (thing.distance[-1], rows.stop < 128),
            (thing.distance[:, 0], columns.start > 0),
            (thing.distance[:, -1], columns.stop < 160),
        ):
            assert not inner or line.min() > BORDER + 6, "an outline or its shadow leaves the box"


def _snapshot(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_tree_is_pascal_vocs(tmp_path):
    root = tmp_path / "deep" / "shapes"
    assert write_tree(root, seed=3, train=4, val=2, test=1)
    lists = {
        split: (root / f"ImageSets/Segmentation/{split}.txt").read_text().split() for split in ("train", "val", "test")
    }
    assert [len(names) for names in lists.values()] == [4, 2, 1]
    names = [name for split in lists.values() for name in split]
    assert len(set(names)) == 7, "no image is in two splits"
    assert sorted(path.stem for path in (root / "JPEGImages").iterdir()) == sorted(names)
    for index, name in enumerate(names):
        image, mask = generate(index, 3)
        stored = Image.open(root / f"SegmentationClass/{name}.png")
        assert stored.mode == "P"
        assert np.array_equal(np.array(stored), mask)
        assert tuple(stored.getpalette()[: 3 * len(COLORS)]) == tuple(value for color in COLORS for value in color)
        photo = np.array(Image.open(root / f"JPEGImages/{name}.jpg"))
        assert photo.shape == image.shape
        assert np.abs(photo.astype(int) - image).mean() < 4
    assert [path.name for path in root.parent.iterdir()] == ["shapes"], "nothing temporary is left"


def test_a_second_call_changes_nothing(tmp_path):
    root = tmp_path / "shapes"
    assert write_tree(root, seed=0, train=2, val=1, test=0)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert not write_tree(root, seed=0, train=2, val=1, test=0)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_tree_of_other_parameters_is_refused_and_kept(tmp_path):
    root = tmp_path / "shapes"
    write_tree(root, seed=0, train=2, val=1, test=0)
    before = _snapshot(root)
    with pytest.raises(ValueError, match=r"shapes holds Shapes drawn with .*'seed': 0.*'seed': 1.*choose another root"):
        write_tree(root, seed=1, train=2, val=1, test=0)
    assert _snapshot(root) == before


@pytest.mark.parametrize("record", [None, "not json", "[]"])
def test_a_folder_of_the_users_own_is_refused_and_kept(tmp_path, record):
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    if record is not None:
        (tmp_path / "shapes.json").write_text(record)
    with pytest.raises(ValueError, match=f"root: {tmp_path}"):
        write_tree(tmp_path, seed=0, train=2, val=1, test=0)
    assert (tmp_path / "photo.jpg").read_bytes() == b"precious"


def test_a_file_in_the_trees_place_is_refused(tmp_path):
    (tmp_path / "shapes").write_text("mine")
    with pytest.raises(ValueError, match="root: "):
        write_tree(tmp_path / "shapes", seed=0, train=2, val=1, test=0)
    assert (tmp_path / "shapes").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"root: Shapes cannot be drawn below .*file.*choose another root"):
        write_tree(tmp_path / "file" / "shapes", seed=0, train=2, val=1, test=0)


def test_an_empty_folder_is_filled(tmp_path):
    root = tmp_path / "shapes"
    root.mkdir()
    assert write_tree(root, seed=0, train=2, val=1, test=0)
    assert (root / "shapes.json").exists()


def test_an_interrupted_run_leaves_nothing_behind(tmp_path, monkeypatch):
    import seg.data.shapes

    def interrupted(index, seed):
        if index == 2:
            raise KeyboardInterrupt
        return generate(index, seed)

    monkeypatch.setattr(seg.data.shapes, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_tree(tmp_path / "shapes", seed=0, train=3, val=1, test=0)
    assert list(tmp_path.iterdir()) == []


def test_of_two_processes_one_draws_and_both_find_the_whole_tree(tmp_path):
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        drawn = pool.starmap(write_tree, [(tmp_path / "shapes", 0, 6, 2, 2)] * 2, chunksize=1)
    assert any(drawn)
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]
    assert len(list((tmp_path / "shapes" / "JPEGImages").iterdir())) == 10
    assert json.loads((tmp_path / "shapes" / "shapes.json").read_text())["train"] == 6


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"seed": -1}, "drawing_seed"),
        ({"seed": 2**32}, "drawing_seed"),
        ({"train": 0}, "train_images"),
        ({"test": -1}, "test_images"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(tmp_path, settings, named):
    with pytest.raises(ValueError, match=named):
        write_tree(tmp_path / "shapes", **settings)
    assert list(tmp_path.iterdir()) == []


def test_drawing_needs_neither_opencv_nor_torch():
    code = "import sys, seg.data.shapes_drawing as s; s.generate(0, 0); assert not {'cv2', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_image_is_drawn_in_milliseconds():
    start = time.process_time()
    for index in range(20):
        generate(index, 0)
    assert (time.process_time() - start) / 20 < 0.05


def test_the_data_module_draws_its_images_once_and_reads_them(tmp_path):
    data = Shapes(
        root=str(tmp_path / "shapes"), train_images=6, val_images=3, test_images=2, batch_size=2, num_workers=0
    )
    assert not (tmp_path / "shapes").exists(), "nothing is drawn before it is asked for"
    assert (data.num_classes, data.class_names, data.test_split_name) == (8, list(NAMES), "test")
    assert data.class_colors == [list(color) for color in COLORS]

    data.prepare_data()
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    batches = list(data.train_dataloader())
    assert [tuple(batch["image"].shape) for batch in batches] == [(2, 3, 96, 96)] * 3
    seen = {}
    for batch in data.test_dataloader():
        for name, image, mask in zip(batch["id"], batch["image"], batch["mask"], strict=True):
            seen[name] = (image, mask)
    assert sorted(seen) == ["000009", "000010"]
    for name, (image, mask) in seen.items():
        truth = generate(int(name), 0)
        assert np.array_equal(mask.numpy(), truth[1])
        assert image.shape[1:] == truth[1].shape


def test_without_test_images_validation_is_tested(tmp_path):
    data = Shapes(root=str(tmp_path / "shapes"), train_images=2, val_images=1, test_images=0, num_workers=0)
    assert data.test_split_name == "val"


def test_settings_that_cannot_be_are_refused_before_anything_is_drawn():
    with pytest.raises(ValueError, match="val_images: 0 must be at least 1"):
        Shapes(val_images=0)
    with pytest.raises(ValueError, match="drawing_seed: -1"):
        Shapes(drawing_seed=-1)


def test_what_is_settled_is_not_offered_in_a_configuration():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Shapes, "data")
    offered = set(vars(parser.get_defaults().data))
    assert {"root", "drawing_seed", "train_images", "crop", "augment", "batch_size", "seed"} <= offered
    assert not {"classes", "colors", "download", "url", "md5", "label_map", "image_dir", "kwargs"} & offered
