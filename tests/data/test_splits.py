import csv
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.data.dataset import Pair
from seg.data.splits import Split, divide, split

image_sets = st.lists(st.sets(st.integers(0, 4), max_size=4), min_size=2, max_size=40)


def named(classes):
    return {f"image_{number}": found for number, found in enumerate(classes)}


@given(images=image_sets, fraction=st.floats(0.05, 0.95), seed=st.integers(0, 3))
def test_a_fraction_gives_two_parts_of_exactly_the_rounded_sizes(images, fraction, seed):
    classes = named(images)
    ids = list(classes)
    wanted = int(fraction * len(ids) + 0.5)
    if not 0 < wanted < len(ids):
        with pytest.raises(ValueError, match="leaves none for"):
            split(ids, classes, fraction, seed=seed)
        return
    train, val = split(ids, classes, fraction, seed=seed)
    assert len(val) == wanted
    assert sorted(train + val) == sorted(ids)
    assert [name for name in ids if name in set(val)] == val
    backwards = split(ids[::-1], classes, fraction, seed=seed)
    assert (sorted(backwards[0]), sorted(backwards[1])) == (sorted(train), sorted(val))


@given(images=image_sets, folds=st.integers(2, 6), seed=st.integers(0, 3))
def test_the_validation_parts_of_all_folds_are_disjoint_cover_everything_and_are_of_equal_size(images, folds, seed):
    classes = named(images)
    ids = list(classes)
    if len(ids) < folds:
        with pytest.raises(ValueError, match="take fewer folds"):
            split(ids, classes, fold=(1, folds), seed=seed)
        return
    seen = []
    sizes = []
    for number in range(1, folds + 1):
        train, val = split(ids, classes, fold=(number, folds), seed=seed)
        assert sorted(train + val) == sorted(ids)
        seen += val
        sizes.append(len(val))
    assert sorted(seen) == sorted(ids)
    assert max(sizes) - min(sizes) <= 1


@given(
    images=image_sets, groups=st.integers(1, 8), folds=st.one_of(st.none(), st.integers(2, 4)), seed=st.integers(0, 3)
)
def test_no_group_is_in_two_parts_and_no_part_is_empty(images, groups, folds, seed):
    classes = named(images)
    ids = list(classes)
    group_of = {name: f"scene_{number * number % groups}" for number, name in enumerate(ids)}
    there = len(set(group_of.values()))
    if folds is None and there >= 2:
        train, val = split(ids, classes, 0.5, seed=seed, group_of=group_of)
        assert not {group_of[name] for name in train} & {group_of[name] for name in val}
        assert train
        assert val
    elif folds is not None and there >= folds:
        parts = [split(ids, classes, fold=(k, folds), seed=seed, group_of=group_of)[1] for k in range(1, folds + 1)]
        assert all(parts)
        owners = Counter(group for part in parts for group in {group_of[name] for name in part})
        assert set(owners.values()) == {1}
        assert sorted(name for part in parts for name in part) == sorted(ids)
    else:
        with pytest.raises(ValueError, match="groups of images"):
            split(ids, classes, *((0.5, None) if folds is None else (None, (1, folds))), seed=seed, group_of=group_of)


@pytest.mark.parametrize("grouped", [False, True])
def test_classes_are_spread_more_evenly_than_by_nearly_every_shuffle(grouped):
    # 300 images with 8 classes, the rarest in about 5 of them: the case that stratification is for
    random = np.random.default_rng(1)
    shares = 0.9 * 0.55 ** np.arange(8)
    table = random.random((300, 8)) < shares
    ids = [f"{number:03}" for number in range(300)]
    classes = {name: np.flatnonzero(row).tolist() for name, row in zip(ids, table, strict=True)}
    group_of = {name: str(number // 3) for number, name in enumerate(ids)} if grouped else None

    def unevenness(chosen):
        # the share of a class's images by which a part misses its fifth, on average over classes
        return np.abs(table[np.isin(ids, chosen)].sum(0) / table.sum(0) - 0.2).mean()

    ours = np.mean([unevenness(split(ids, classes, fold=(k, 5), group_of=group_of)[1]) for k in range(1, 6)])
    blocks = np.arange(300).reshape(100, 3) if grouped else np.arange(300).reshape(300, 1)
    shuffles = []
    for _ in range(200):
        dealt = np.array_split(random.permutation(blocks), 5)
        shuffles.append(np.mean([unevenness([ids[number] for number in part.ravel()]) for part in dealt]))
    assert ours < np.quantile(shuffles, 0.01)


def test_of_a_class_in_five_images_each_of_five_folds_has_one():
    classes = {f"{number:03}": [0] for number in range(60)} | {f"{number:03}": [0, 1] for number in range(3, 8)}
    for number in range(1, 6):
        _, val = split(list(classes), classes, fold=(number, 5))
        assert sum(1 in classes[name] for name in val) == 1


def test_the_order_in_which_grouped_images_are_listed_does_not_matter():
    classes = {f"{number:03}": [number % 3] for number in range(60)}
    group_of = {name: str(int(name) // 3) for name in classes}
    forwards = split(list(classes), classes, 0.25, group_of=group_of)
    backwards = split(list(classes)[::-1], classes, 0.25, group_of=group_of)
    assert backwards == (forwards[0][::-1], forwards[1][::-1])


def test_another_seed_divides_differently():
    classes = {f"{number:03}": [number % 3] for number in range(100)}
    first, other = (set(split(list(classes), classes, 0.2, seed=seed)[1]) for seed in (0, 1))
    assert first != other


def test_a_division_is_the_same_on_every_machine_and_ever_after():
    # written down once: whoever changes this changes which images everybody validates on
    classes = {f"image_{number}": [number % 2, 2 + number % 3] for number in range(12)}
    assert split(list(classes), classes, 0.25, seed=7)[1] == ["image_0", "image_7", "image_11"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"val_fraction": 0.2, "fold": (1, 5)}, "give one of them"),
        ({"val_fraction": 1.0}, "val_fraction: 1.0"),
        ({"val_fraction": float("nan")}, "val_fraction: nan"),
        ({"fold": (0, 5)}, r"fold: \[0, 5\]"),
        ({"fold": (6, 5)}, r"fold: \[6, 5\]"),
        ({"fold": (1, 1)}, r"fold: \[1, 1\]"),
        ({"group": "(a)"}, "group: .* give one of these too"),
        ({"val_fraction": 0.2, "group": "(a"}, "no regular expression"),
        ({"val_fraction": 0.2, "group": "a+"}, "has no group"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        Split(**given)


def test_names_that_appear_twice_are_refused():
    with pytest.raises(ValueError, match="1 images share a name with another: a"):
        split(["a", "a", "b"], {"a": [], "b": []}, 0.5)


class Counted:
    """Count classes, and how often that was asked for."""

    def __init__(self):
        self.asked = 0

    def __call__(self, pairs):
        self.asked += 1
        return np.array([[1, int(pair.id[-1]) % 2] for pair in pairs])


def pairs(number, scenes=3):
    return [Pair(f"scene{index % scenes}_{index:02}", f"{index}.jpg", f"{index}.png") for index in range(number)]


def test_a_division_is_written_once_for_all_folds_and_read_ever_after(tmp_path, capsys):
    count, pool = Counted(), pairs(20)
    parts = [divide(Split(fold=(k, 4)), pool, [], count, tmp_path) for k in range(1, 5)]
    assert count.asked == 1
    assert sorted(pair for part in parts for pair in part["val"]) == sorted(pool)
    (file,) = (tmp_path / ".cache" / "splits").iterdir()
    assert str(file) in capsys.readouterr().out
    with file.open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["id"] for row in rows if row["part"] == "2"} == {pair.id for pair in parts[1]["val"]}
    # other classes, as after a correction of the masks, move nothing
    again = divide(Split(fold=(2, 4)), pool[::-1], [], lambda pairs: np.ones((20, 2)), tmp_path)
    assert sorted(again["val"]) == sorted(parts[1]["val"])
    divide(Split(fold=(2, 4)), pool[:-1], [], count, tmp_path)
    assert count.asked == 2
    whole = file.read_text()
    for damaged in ("id,part\nx,1\n", whole.replace("part", "prt"), whole[:-30], "\x00"):
        file.write_text(damaged)
        with pytest.raises(ValueError, match="remove it"):
            divide(Split(fold=(2, 4)), pool, [], count, tmp_path)


@pytest.mark.parametrize("kind", ["expression", "mapping", "file"])
def test_groups_come_from_names_a_mapping_or_a_file_and_never_share_a_split_with_the_test_images(
    tmp_path, kind, recwarn
):
    pool = pairs(18, scenes=6)
    test = [Pair("scene5_99", "99.jpg", "99.png")]
    scenes = {pair.id: pair.id.partition("_")[0] for pair in [*pool, *test]}
    (tmp_path / "scenes.csv").write_text("﻿id,group\r\n" + "".join(f"{id},{scene}\r\n" for id, scene in scenes.items()))
    group = {"expression": "(.+)_", "mapping": scenes, "file": "scenes.csv"}[kind]
    parts = divide(Split(val_fraction=0.4, group=group), pool, test, Counted(), tmp_path)
    train, val = ({scenes[pair.id] for pair in parts[name]} for name in ("train", "val"))
    assert not train & val
    assert train | val == {f"scene{number}" for number in range(5)}
    assert "3 images are left out" in str(recwarn.pop().message)


def test_images_without_a_group_and_files_without_the_columns_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"gives no group to 4 of 4 images: scene0_00"):
        divide(Split(val_fraction=0.5, group="x(.)"), pairs(4), [], Counted(), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"group: there is no file .*none\.csv"):
        divide(Split(val_fraction=0.5, group="none.csv"), pairs(4), [], Counted(), tmp_path)
    (tmp_path / "bad.csv").write_text("name,scene\n")
    with pytest.raises(ValueError, match="no column group and no column id"):
        divide(Split(val_fraction=0.5, group="bad.csv"), pairs(4), [], Counted(), tmp_path)


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=10), fraction=st.floats(0.1, 0.5))
def test_groups_of_any_sizes_come_near_the_wanted_share(sizes, fraction):
    group_of = {f"{scene}_{number}": str(scene) for scene, size in enumerate(sizes) for number in range(size)}
    ids = list(group_of)
    if not int(fraction * len(ids) + 0.5):
        return
    _, val = split(ids, {name: [0] for name in ids}, fraction, group_of=group_of)
    # one group more or less than it takes, at most
    assert abs(len(val) - fraction * len(ids)) <= max(sizes) + 1
