import pytest
import torch
from torch.nn import functional as F

from seg.losses import Dice, Focal, Jaccard, Lovasz, Tversky
from tests.losses.every import CLASSES, make_batch


def test_tversky_contains_dice_and_jaccard():
    logits, target = make_batch()
    torch.testing.assert_close(Tversky(0.5, 0.5)(logits, target), Dice()(logits, target))
    torch.testing.assert_close(Tversky(1, 1)(logits, target), Jaccard()(logits, target))


def test_dice_and_jaccard_by_hand():
    # Two pixels, two classes, probabilities ¾ and ¼ for the right and the wrong class of each.
    logits = torch.tensor([[[[0.75, 0.25]], [[0.25, 0.75]]]]).log()
    target = torch.tensor([[[0, 1]]])
    assert float(Dice()(logits, target)) == pytest.approx(1 - 2 * 0.75 / (1 + 1))
    assert float(Jaccard()(logits, target)) == pytest.approx(1 - 0.75 / (2 - 0.75))
    assert float(Lovasz()(logits, target)) == pytest.approx(0.25)


def test_losses_agree_with_segmentation_models_pytorch_where_it_is_right():
    import segmentation_models_pytorch as smp

    logits, target = make_batch()
    everywhere = target.clamp(max=CLASSES - 1)
    for ours, peer in (
        (Dice(), smp.losses.DiceLoss("multiclass", eps=1e-12, ignore_index=255)),
        (Jaccard(), smp.losses.JaccardLoss("multiclass", eps=1e-12)),
        (Tversky(0.2, 0.8), smp.losses.TverskyLoss("multiclass", alpha=0.2, beta=0.8, eps=1e-12)),
        (Lovasz(), smp.losses.LovaszLoss("multiclass", ignore_index=255)),
    ):
        torch.testing.assert_close(ours(logits.float(), everywhere), peer(logits.float(), everywhere))
    dice, lovasz = (loss("multiclass", ignore_index=255) for loss in (smp.losses.DiceLoss, smp.losses.LovaszLoss))
    torch.testing.assert_close(Dice()(logits.float(), target), dice(logits.float(), target))
    torch.testing.assert_close(Lovasz()(logits.float(), target), lovasz(logits.float(), target))
    # Not right: an absent class counts as a Dice loss of 0, so that with few classes there is little to learn.
    two = torch.where(target < 2, target, 255)
    torch.testing.assert_close(dice(logits, two), Dice()(logits, two) * 2 / CLASSES)


def test_losses_agree_with_monai_where_it_is_right():
    monai = pytest.importorskip("monai.losses")
    logits, target = make_batch()
    everywhere = target.clamp(max=CLASSES - 1)
    settings = {"to_onehot_y": True, "softmax": True, "batch": True, "smooth_nr": 0.0, "smooth_dr": 1e-12}
    for ours, peer in (
        (Dice(), monai.DiceLoss(**settings)),
        (Jaccard(), monai.DiceLoss(jaccard=True, **settings)),
        (Tversky(0.2, 0.8), monai.TverskyLoss(alpha=0.2, beta=0.8, **settings)),
    ):
        torch.testing.assert_close(ours(logits.float(), everywhere), peer(logits.float(), everywhere.unsqueeze(1)))
    # Right but for a factor: its focal loss is a mean over pixels and classes, though one class a pixel has a term.
    # Not right, and so not compared: no label is ignored.
    peer = monai.FocalLoss(to_onehot_y=True, use_softmax=True, gamma=2.0)
    value = CLASSES * peer(logits.float(), everywhere.unsqueeze(1))
    torch.testing.assert_close(Focal(2.0)(logits.float(), everywhere), value)


def test_an_absent_class_counts_as_asked():
    logits, target = make_batch()
    target = torch.where(target == 3, 0, target)
    skipped = Dice()(logits, target)
    included = Dice(absent="include")(logits, target)
    torch.testing.assert_close(included, skipped * 3 / 4 + 1 / 4)
    gradient = torch.autograd.grad(Dice(absent="include", smooth=1.0)(logits, target), logits)[0]
    assert (gradient[:, 3, :, :4] > 0).all()  # a step downhill predicts the absent class less


def test_a_perfect_prediction_has_no_region_loss():
    target = torch.randint(0, CLASSES, (2, 6, 6))
    logits = F.one_hot(target, CLASSES).movedim(-1, 1) * 1e4
    for loss in (Dice(), Jaccard(), Tversky(), Lovasz(), Dice(absent="include"), Dice(per_image=True)):
        assert float(loss(logits, target)) == pytest.approx(0, abs=1e-6)
