import numpy as np


def test_outlines_finer_than_the_networks_cells_are_left_out_and_rare_classes_too():
    from seg.doctor.samples import outlines_ignored

    mask = np.zeros((1, 64, 64), np.uint8)
    mask[:, :, 32:] = 1
    mask[0, 0, 0] = 2
    assert sorted(np.unique(outlines_ignored(mask, 1, 255))) == [0, 1, 255]
    drawn = outlines_ignored(mask, 8, 255)
    assert (drawn[0, 20] == 255).sum() == 8
    assert (drawn[0, 20, :28] == 0).all()
