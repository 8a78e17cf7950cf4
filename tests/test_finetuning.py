import pytest
import torch

from seg.finetuning import FreezeEncoder, start_from
from seg.models import UNet
from seg.models.weights import adapt_channels, without_weights
from tests.fitting import Steps, Tiny, built, fit
from tests.test_task import task


def checkpoint(path, net, mean=(1.0, 2.0, 3.0), **entries):
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    seg = {"format": 1, "precision": "32", "generators": {}}
    torch.save({"state_dict": state, "hyper_parameters": {"mean": list(mean)}, "seg": seg, **entries}, path)
    return str(path)


def test_another_head_and_other_channels_leave_the_rest_taken_and_are_named(tmp_path, capsys):
    old, new = UNet(3, width=4, depth=2), UNet(5, in_channels=4, width=4, depth=2)
    path, head = checkpoint(tmp_path / "old.ckpt", old), new.classifier.weight.clone()
    line = start_from(new, path, 4)
    assert torch.equal(new.down[2][0].weight, old.down[2][0].weight)
    assert torch.equal(new.down[0][0].weight, adapt_channels(old.down[0][0].weight, 4))
    assert torch.equal(new.classifier.weight, head)
    assert "adapted down.0.0.weight (from 3 channels to 4)" in line
    assert "left classifier.weight (3, 4, 1, 1) (the network's is (5, 4, 1, 1))" in line


def test_nothing_is_read_where_a_checkpoint_brings_all_weights():
    with without_weights():
        task(init_from="gone.ckpt")
    with pytest.raises(FileNotFoundError, match=r"model.init_from: there is no file gone.ckpt"):
        task(init_from="gone.ckpt")


def test_files_that_cannot_be_begun_with_are_named_with_the_cure(tmp_path):
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    path = checkpoint(tmp_path / "tiny.ckpt", Tiny())
    for name, message in (("text", "not a checkpoint of seg, or is damaged"), ("other", "not written by seg")):
        with pytest.raises(ValueError, match=message):
            start_from(UNet(3, width=4, depth=2), str(tmp_path / f"{name}.ckpt"), 3)
    with pytest.raises(ValueError, match=r"nothing of .* fits UNet"):
        start_from(UNet(3, width=4, depth=2), path, 3)


class Watch(Steps):
    """Note after every epoch whether the encoder has moved, and its batch norm."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_epoch_end(self, trainer, module):
        encoder = module.net.encoder
        self.seen.append((encoder[0].weight.detach().clone(), encoder[1].running_mean.clone(), encoder[1].training))


def test_a_frozen_encoder_stands_still_in_weights_and_statistics_until_it_is_released(tmp_path):
    watch, first = Watch(), Tiny
    made = built(net=first(), optimizer=lambda params: torch.optim.AdamW(params, lr=0.1, weight_decay=0.5))
    start = made.net.encoder[0].weight.detach().clone()
    fit(made, callbacks=(watch, FreezeEncoder(epochs=2)), max_epochs=3)
    for weight, mean, training in watch.seen[:2]:
        assert torch.equal(weight, start)
        assert torch.equal(mean, torch.zeros(4))
        assert not training
    assert not torch.equal(watch.seen[2][0], start)
    assert watch.seen[2][1].abs().sum() > 0


def test_released_layers_begin_with_momenta_of_their_own():
    watch = Watch()
    made = built(net=Tiny(), optimizer=lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9))
    fit(made, callbacks=(watch, FreezeEncoder(epochs=1)), max_epochs=3)
    assert torch.equal(watch.seen[0][1], torch.zeros(4))
    assert not torch.equal(watch.seen[1][0], watch.seen[0][0])


def test_layers_are_released_from_the_end_one_after_the_other():
    freeze = FreezeEncoder(epochs=2, layers_per_epoch=2)
    assert [freeze.frozen(epoch, 5) for epoch in range(6)] == [5, 5, 3, 1, 0, 0]
    assert FreezeEncoder().frozen(1000, 5) == 5
    net = UNet(3, width=4, depth=2)
    FreezeEncoder(epochs=0, layers_per_epoch=1).apply(task(net), 0)
    assert not any(parameter.requires_grad for level in net.down[:2] for parameter in level.parameters())
    assert all(parameter.requires_grad for parameter in net.down[2].parameters())
    assert not net.down[0][1].training
    assert net.down[2][1].training
