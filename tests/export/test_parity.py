import copy

import pytest
import torch

from seg.export.parity import Parity, Refused, check, compare, holds
from seg.export.runtime import ExportedNetwork
from seg.export.samples import at_three_sizes, drawn_images
from seg.loading import load_task as load
from tests.export.networks_as_files import card


def batches() -> list[torch.Tensor]:
    return at_three_sizes(drawn_images(card(), 4))


def test_the_checkpoint_itself_passes(trained, onnx_file):
    found = compare(load(trained, "cpu"), ExportedNetwork(onnx_file, "cpu"), batches())
    check(found)
    assert len({line.size for line in found}) == 3


@pytest.mark.parametrize("factor", [1.02, 3.0])
def test_another_network_is_refused_with_every_size_named(trained, onnx_file, factor):
    task = copy.deepcopy(load(trained, "cpu"))
    with torch.no_grad():
        next(iter(task.net.parameters())).mul_(factor)
    found = compare(task, ExportedNetwork(onnx_file, "cpu"), batches())
    with pytest.raises(Refused, match="not what was trained") as raised:
        check(found)
    assert all(str(line) in str(raised.value) for line in found)


def test_labels_that_differ_are_counted(trained, package):
    task, images = load(trained, "cpu"), batches()[2]
    with torch.no_grad():
        logits = task(images)

    def other(images):
        changed = logits.clone()
        changed[0, :, 0, :7] = changed[0, :, 0, :7].flip(0)  # the classes of seven pixels the other way round
        return changed

    exchanged = (other(images).argmax(1) != logits.argmax(1)).sum().item()
    (line,) = compare(other, ExportedNetwork(package, "cpu"), [images])
    assert exchanged > 0
    assert line.agreement == pytest.approx(1 - exchanged / logits[:, 0].numel(), abs=1e-6)


def test_values_that_are_not_numbers_are_refused(package):
    found = compare(
        lambda images: torch.full((1, 8, 40, 40), torch.nan),
        ExportedNetwork(package, "cpu"),
        [torch.zeros(1, 3, 40, 40, dtype=torch.uint8)],
    )
    assert not holds(found)


def test_one_tie_of_a_small_image_is_none_too_many_but_a_size_that_is_wrong_is():
    large = Parity((1, 192, 256), 1.0, 1.0, 0.0)
    assert holds([large, Parity((1, 91, 101), 1 - 1 / 9191, 1.0, 0.0)])
    assert not holds([large, Parity((1, 32, 32), 0.95, 1.0, 0.0)])
    assert holds([large, Parity((1, 32, 32), 1.0, 0.95, 0.0)])
    assert not holds([large, Parity((1, 32, 32), 1.0, 0.0, 0.0)])


def test_three_sizes_are_found_in_images_of_any_size():
    for height, width in ((360, 480), (33, 35), (20, 300), (96, 96), (1, 1)):
        for count in (1, 2, 5):
            sizes = [tuple(batch.shape) for batch in at_three_sizes([torch.zeros(1, 3, height, width)] * count)]
            assert [size[0] for size in sizes] == [1, 1, 2]
            assert min(side for size in sizes for side in size[2:]) >= 32
            assert all(side % 2 for size in sizes[1:] for side in size[2:])
