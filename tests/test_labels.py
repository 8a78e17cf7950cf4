"""The largest channel of every pixel, against argmax."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seg import labels
from seg.labels import largest_class


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([1, 2, 3, 19, 255, 256, 300]),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
    st.booleans(),
)
def test_it_is_the_first_of_the_largest_channels_for_any_type_layout_and_number_of_classes(
    seed, classes, dtype, layout, inf
):
    generator = torch.Generator().manual_seed(seed)
    batch, height, width = torch.randint(0, 6, (3,), generator=generator).tolist()
    logits = torch.randn(batch, classes, height, width, generator=generator).mul(2).round()  # many ties
    if inf:
        logits[logits < -2], logits[logits > 3] = -torch.inf, torch.inf
    logits = logits.to(dtype).to(memory_format=layout)
    result = largest_class(logits)
    assert result.shape == (batch, height, width)
    if logits.numel():
        assert torch.equal(result.long(), logits.argmax(1))


@pytest.mark.parametrize("size", [(3, 4), (5, 7)])
def test_strips_meet_without_a_seam(monkeypatch, size):
    monkeypatch.setattr(labels, "_STRIP", 4)
    logits = torch.randn(2, 5, *size)
    assert torch.equal(largest_class(logits).long(), logits.argmax(1))
