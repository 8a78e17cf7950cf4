import torch

from seg.losses import CrossEntropy, Dice, Sum
from tests.losses.every import make_batch


def test_the_sum_adds_weighted_terms_and_remembers_each_by_name():
    logits, target = make_batch()
    loss = Sum({"ce": CrossEntropy(), "dice": Dice()}, {"dice": 0.5})
    value = loss(logits, target)
    ce, dice = CrossEntropy()(logits, target), Dice()(logits, target)
    torch.testing.assert_close(value, ce + 0.5 * dice)
    assert {name: float(term) for name, term in loss.last_terms.items()} == {"ce": float(ce), "dice": float(dice)}
    assert not any(term.requires_grad for term in loss.last_terms.values())
    assert Sum({"a": Dice()}, ignore_index=7).terms["a"].ignore_index == 7
