import logging
import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from seg.data import cache as module
from seg.data.cache import Cache, disk_folder, fingerprint
from tests.data.test_base import epoch_of, open_voc

SHAPES = [((4, 5), (4, 5)), ((3, 3), (6, 7)), ((8, 2), (8, 2))]
NEEDED = 5 * 3 + sum(3 * image[0] * image[1] + mask[0] * mask[1] for image, mask in SHAPES)


def sample(index):
    image, mask = SHAPES[index]
    generator = np.random.default_rng(index)
    return generator.integers(0, 256, (*image, 3), dtype=np.uint8), generator.integers(0, 9, mask, dtype=np.uint8)


def fill(cache):
    for index in range(len(SHAPES)):
        cache.write(index, *sample(index))


def assert_holds(cache, index):
    for found, expected in zip(cache.read(index), sample(index), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.fixture(params=["ram", "disk"])
def make(request, tmp_path):
    def build(limit=10_000, key="k"):
        return Cache(request.param, SHAPES, limit, tmp_path, "train-full", key)

    return build


def test_what_is_written_is_read_and_what_is_read_may_be_changed(make):
    cache = make()
    assert cache.read(1) is None
    fill(cache)
    assert len(cache) == 3
    image, mask = cache.read(2)
    image[:] = mask[:] = 0
    for index in range(3):
        assert_holds(cache, index)


def test_a_cache_never_takes_more_than_its_limit_and_says_what_it_leaves_out(make, caplog):
    with caplog.at_level(logging.WARNING):
        cache = make(limit=NEEDED - 1)
    assert "2 of 3 samples fit" in caplog.text
    fill(cache)
    assert cache.size <= NEEDED - 1
    assert cache.path.stat().st_size == cache.size
    assert cache.read(2) is None
    assert_holds(cache, 1)


def test_without_any_room_nothing_is_kept_and_nothing_breaks(make):
    cache = make(limit=0)
    fill(cache)
    assert cache.read(0) is None
    assert len(cache) == 0
    assert pickle.loads(pickle.dumps(cache)).read(0) is None


@pytest.mark.parametrize(("bands", "dtype"), [(1, "uint16"), (5, "float32"), (4, "uint8")])
@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_images_of_any_bands_and_type_are_kept(tmp_path, kind, bands, dtype):
    cache = Cache(kind, SHAPES, 10_000, tmp_path, "train", "k", bands, dtype)
    head, masks = 5 * 3, sum(height * width for _, (height, width) in SHAPES)
    pixels = sum(height * width for (height, width), _ in SHAPES)
    assert cache.size == head + masks + pixels * bands * np.dtype(dtype).itemsize
    images = [(np.random.default_rng(0).random((*image, bands)) * 250).astype(dtype) for image, _ in SHAPES]
    for index, image in enumerate(images):
        cache.write(index, image, sample(index)[1])
        cache.write(index, image.astype(np.int8), sample(index)[1])  # of another type: not kept
        cache.write(index, image[..., :0], sample(index)[1])
    if kind == "disk":
        cache = Cache(kind, SHAPES, 10_000, tmp_path, "train", "k", bands, dtype)
    for index, image in enumerate(images):
        read, mask = cache.read(index)
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, image)
        np.testing.assert_array_equal(mask, sample(index)[1])


def test_a_sample_of_another_shape_than_announced_is_not_kept(make):
    cache = make()
    cache.write(0, np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8))
    assert cache.read(0) is None


def test_an_unpickled_cache_shares_the_samples(make):
    cache = make()
    other = pickle.loads(pickle.dumps(cache))
    fill(other)
    assert_holds(cache, 0)


def test_a_cache_in_memory_is_deleted_with_its_maker():
    cache = Cache("ram", SHAPES, 10_000)
    path = cache.path
    assert path.exists()
    del cache
    assert not path.exists()


def test_a_forked_worker_that_ends_leaves_the_cache_alone():
    cache = Cache("ram", SHAPES, 10_000)
    worker = multiprocessing.get_context("fork").Process(target=fill, args=(cache,))
    worker.start()
    worker.join()
    assert cache.path.exists()
    assert_holds(cache, 0)


def _hold(queue):
    cache = Cache("ram", SHAPES, 10_000)
    queue.put(str(cache.path))
    time.sleep(60)


def test_what_a_killed_run_left_in_memory_is_swept_up_and_a_living_runs_is_not():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_hold, args=(queue,))
    process.start()
    path = Path(queue.get())
    living = Cache("ram", SHAPES, 10_000)
    assert path.exists()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    Cache("ram", SHAPES, 10_000)
    assert not path.exists()
    assert living.path.exists()


def test_memory_that_is_nearly_full_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 100})())
    cache = Cache("ram", SHAPES, 10_000)
    assert cache.size <= 75


def test_a_disk_that_refuses_is_said_and_done_without(tmp_path, monkeypatch, caplog):
    def refuse(handle, start, size):
        raise OSError("no space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", refuse)
    with caplog.at_level(logging.WARNING):
        cache = Cache("disk", SHAPES, 10_000, tmp_path, "train", "k")
    assert "no space left" in caplog.text
    assert cache.read(0) is None
    assert list(tmp_path.iterdir()) == []


def test_a_cache_on_disk_is_found_by_the_next_run_and_replaced_when_the_files_change(tmp_path):
    first = Cache("disk", SHAPES, 10_000, tmp_path, "train-full", "k")
    fill(first)
    assert_holds(Cache("disk", SHAPES, 10_000, tmp_path, "train-full", "k"), 2)
    other = Cache("disk", SHAPES, 10_000, tmp_path, "train-full", "changed")
    assert other.read(2) is None
    assert list(tmp_path.iterdir()) == [other.path]


def test_a_sample_that_a_power_cut_lost_is_decoded_again(tmp_path):
    first = Cache("disk", SHAPES, 10_000, tmp_path, "train", "k")
    fill(first)
    with open(first.path, "r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    second = Cache("disk", SHAPES, 10_000, tmp_path, "train", "k")
    assert second.read(2) is None
    assert_holds(second, 1)
    second.write(2, *sample(2))
    assert_holds(second, 2)


def test_the_fingerprint_changes_with_settings_and_files(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    first = fingerprint((1, 2), [str(path)])
    assert first == fingerprint((1, 2), [str(path)])
    assert first != fingerprint((1, 3), [str(path)])
    path.write_text("three")
    assert first != fingerprint((1, 2), [str(path)])


def test_a_read_only_data_set_is_cached_in_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    assert disk_folder(tmp_path / "data") == tmp_path / "data" / ".cache"

    def refuse(**options):
        raise PermissionError("read-only")

    monkeypatch.setattr(module.tempfile, "TemporaryFile", refuse)
    assert disk_folder(tmp_path / "data").parent == tmp_path / "home" / "seg"


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_cached_epoch_equals_a_decoded_one(voc_root, kind):
    expected = epoch_of(open_voc(voc_root).train_dataloader(), 1)
    data = open_voc(voc_root, cache=kind)
    loader = data.train_dataloader()
    for _ in range(2):
        for one, other in zip(epoch_of(loader, 1), expected, strict=True):
            np.testing.assert_array_equal(one[1], other[1])
            np.testing.assert_array_equal(one[2], other[2])
    assert len(data.datasets["train"].cache) == 9


def test_caches_of_all_splits_together_keep_the_limit(voc_root):
    data = open_voc(voc_root, cache="ram", cache_limit=50_000 / 2**30)
    sizes = [data.datasets[split].cache.size for split in ("train", "val")]
    assert 40_000 < sum(sizes) <= 50_000
