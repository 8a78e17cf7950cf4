from types import SimpleNamespace

import pytest
import torch

from seg.callbacks import Examples


def test_an_example_of_any_name_is_drawn_and_one_that_cannot_be_written_is_said(tmp_path):
    examples = Examples(tmp_path, number=1)
    trainer = SimpleNamespace(num_test_batches=[1], is_global_zero=True)
    task = SimpleNamespace(hparams={"class_names": ["a"], "class_colors": [(1, 2, 3)]})

    def test_of(name):
        mask = torch.zeros(1, 8, 8, dtype=torch.uint8)
        batch = {"image": torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "mask": mask, "id": [name]}
        examples.on_test_start(trainer, task)
        examples.on_test_batch_end(trainer, task, mask, batch, 0)

    test_of("a" * 243)
    test_of("写" * 81)
    assert [len(path.name.encode()) < 255 for path in tmp_path.iterdir()] == [True, True]
    (tmp_path / "full.png").mkdir()
    with pytest.warns(UserWarning, match=r"full.png cannot be written"):
        test_of("full")
