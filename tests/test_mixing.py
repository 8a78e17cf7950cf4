import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from seg.losses import CrossEntropy, Dice, Sum
from seg.mixing import RICAP, CopyPaste, CutMix, Mixing, MixUp, partners
from seg.task import SegmentationTask

NAMES = ["a", "b", "c", "d"]


def batch(number: int, height: int, width: int, seed: int = 0) -> dict:
    """Return images whose channels tell image, row and column, so that it can be read off where a pixel comes from."""
    places = np.indices((number, height, width)).astype(np.uint8)
    masks = np.random.default_rng(seed).choice([0, 1, 2, 3, 255], (number, height, width)).astype(np.uint8)
    return {
        "image": torch.from_numpy(places.transpose(1, 0, 2, 3).copy()).contiguous(memory_format=torch.channels_last),
        "mask": torch.from_numpy(masks),
        "id": [str(index) for index in range(number)],
    }


def copy_paste() -> CopyPaste:
    mixing = CopyPaste(["c", "b"], image_p=0.7)
    mixing.set_class_names(NAMES)
    return mixing


pasting = [CutMix(), CutMix(alpha=0.2), RICAP(), RICAP(beta=2.0), copy_paste()]


@settings(max_examples=60, deadline=None)
@given(
    mixing=st.sampled_from(pasting),
    number=st.integers(2, 5),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    seed=st.integers(0, 1000),
)
def test_every_pasted_pixel_brings_its_own_label_and_the_given_batch_stays(mixing, number, height, width, seed):
    given_batch = batch(number, height, width, seed)
    before = {name: given_batch[name].clone() for name in ("image", "mask")}
    mixed = mixing(given_batch, np.random.default_rng(seed))
    for name, kept in before.items():
        assert torch.equal(given_batch[name], kept)
        assert (mixed[name].shape, mixed[name].dtype) == (kept.shape, kept.dtype)
    image, row, column = (channel.long() for channel in mixed["image"].unbind(1))
    assert torch.equal(mixed["mask"], before["mask"][image, row, column])
    assert mixed["id"] == given_batch["id"]


@given(number=st.integers(2, 9), seed=st.integers(0, 50))
def test_every_image_has_another_one_as_its_partner_and_is_the_partner_of_one(number, seed):
    order = partners(number, np.random.default_rng(seed))
    assert sorted(order) == list(range(number))
    assert all(other != index for index, other in enumerate(order))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_cutmix_pastes_one_rectangle_of_one_other_image_at_the_same_place(seed):
    mixed = CutMix()(batch(3, 20, 30), np.random.default_rng(seed))["image"]
    rows, columns = torch.meshgrid(torch.arange(20), torch.arange(30), indexing="ij")
    for index, (image, row, column) in enumerate(mixed.long()):
        assert torch.equal(row, rows)
        assert torch.equal(column, columns)
        pasted = image != index
        if pasted.any():
            assert len(image[pasted].unique()) == 1
            places = pasted.nonzero()
            low, high = places.min(0).values, places.max(0).values
            assert pasted[low[0] : high[0] + 1, low[1] : high[1] + 1].all()


def test_the_area_of_cutmix_is_that_of_the_papers_rectangles():
    random, areas = np.random.default_rng(0), []
    for _ in range(300):
        mixed = CutMix()(batch(2, 40, 60), random)["image"]
        areas += [(mixed[index, 0] != index).double().mean().item() for index in (0, 1)]
    # the paper's recipe, written out: share from Beta(1, 1), centre anywhere, cut off at the border
    other = np.random.default_rng(1)
    half = np.sqrt(1 - other.random(200_000)) / 2
    sides = []
    for _ in range(2):
        centre = other.random(200_000)
        sides.append(np.minimum(centre + half, 1) - np.maximum(centre - half, 0))
    assert np.mean(areas) == pytest.approx((sides[0] * sides[1]).mean(), abs=0.03)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_ricap_puts_a_piece_in_each_corner_the_first_of_the_image_itself(seed):
    mixed = RICAP()(batch(4, 20, 30), np.random.default_rng(seed))["image"].long()
    rows, columns = torch.meshgrid(torch.arange(20), torch.arange(30), indexing="ij")
    corners = {}
    for index, (image, row, column) in enumerate(mixed):
        shifts = torch.stack([image, row - rows, column - columns])
        # four rectangles, within each of which source and shift are constant
        kinds = {tuple(place) for place in shifts.flatten(1).T.tolist()}
        assert len(kinds) <= 4
        for kind in kinds:
            places = (shifts == torch.tensor(kind)[:, None, None]).all(0).nonzero()
            low, high = places.min(0).values.tolist(), places.max(0).values.tolist()
            corners.setdefault((tuple(low), tuple(high)), set()).add(kind[0] - index)
    areas = [(high[0] - low[0] + 1) * (high[1] - low[1] + 1) for low, high in corners]
    assert sum(areas) == 20 * 30
    for (low, _), sources in corners.items():
        if low == (0, 0) and len(corners) == 4:
            assert sources == {0}
        elif len(corners) == 4:
            assert 0 not in sources


def test_copy_paste_takes_all_pixels_of_the_chosen_classes_and_nothing_else():
    whole = CopyPaste(["b", "c"], image_p=1.0)
    whole.set_class_names(NAMES)
    plain = batch(3, 16, 16)
    for seed in range(10):
        random = np.random.default_rng(seed)
        mixed = whole(plain, random)
        for index in range(3):
            sources = set(mixed["image"][index, 0].unique().tolist()) - {index}
            assert len(sources) == 1
            other = plain["mask"][sources.pop()]
            pasted = (other == 1) | (other == 2)
            assert torch.equal(mixed["image"][index, 0] != index, pasted)
            assert torch.equal(mixed["mask"][index], torch.where(pasted, other, plain["mask"][index]))
    touched = [
        bool((copy_paste()(plain, np.random.default_rng(seed))["image"][0, 0] != 0).any()) for seed in range(300)
    ]
    assert np.mean(touched) == pytest.approx(0.7, abs=0.08)


@pytest.mark.parametrize("mixing", [*pasting, MixUp()], ids=lambda mixing: type(mixing).__name__)
def test_masks_of_another_size_than_the_images_are_mixed_at_the_same_place(mixing):
    small, random = batch(3, 12, 18, 5), np.random.default_rng(3)
    large = {**small, "mask": small["mask"].repeat_interleave(2, 1).repeat_interleave(2, 2)}
    mixed = mixing(large, random)
    assert mixed["mask"].shape == (3, 24, 36)
    if isinstance(mixing, MixUp | RICAP):  # a blend has no place; a piece may be cut out half a pixel off
        return
    image = mixed["image"][:, 0].long().repeat_interleave(2, 1).repeat_interleave(2, 2)
    _index, rows, columns = torch.meshgrid(torch.arange(3), torch.arange(24), torch.arange(36), indexing="ij")
    wrong = mixed["mask"] != large["mask"][image, rows, columns]
    assert wrong.float().mean() < (0.12 if isinstance(mixing, CutMix) else 1e-9)  # edges on odd pixels


class Shown(nn.Module):
    """A network that answers with a projection of what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 1, 1, generator=torch.Generator().manual_seed(0)))

    def forward(self, images):
        return functional.conv2d(images, self.weight)


def task(mixing: Mixing | None, loss: nn.Module) -> SegmentationTask:
    built = SegmentationTask(
        Shown(), NAMES, [[0, 0, 0]] * 4, mean=[10.0, 20.0, 30.0], std=[5.0, 6.0, 7.0], loss=loss, mixing=mixing
    )
    built.logged = {}
    built.log = lambda name, value, **options: built.logged.update({name: float(value)})
    return built


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


def test_mixup_blends_raw_pixels_and_adds_both_losses_in_the_same_shares():
    weights = [1.0, 2.0, 0.5, 3.0]
    terms = {"ce": CrossEntropy(class_weights=weights), "dice": Dice()}
    built = task(MixUp(alpha=1.0), Sum(terms, {"dice": 0.5}))
    plain = batch(3, 9, 11, 4)
    seed = (torch.initial_seed(), 0, 6)
    mixed = built.mixing(plain, np.random.default_rng((*seed, 1)), np.random.default_rng(seed))
    share, other = mixed["share"], mixed["other_mask"].numpy()
    assert 0 < share < 1
    order = [next(i for i in range(3) if np.array_equal(other[n], plain["mask"][i].numpy())) for n in range(3)]
    images = plain["image"].double().numpy()
    blend = share * images + (1 - share) * images[order]
    np.testing.assert_allclose(mixed["image"].numpy(), blend, rtol=1e-5)
    loss = built.training_step(plain, 6)

    # the same in float64 by hand
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in ([10.0, 20, 30], [5.0, 6, 7]))
    kernel = built.net.weight.detach().double().numpy()[:, :, 0, 0]
    probabilities = softmax(np.einsum("kc,bchw->bkhw", kernel, (blend - mean) / std))
    expected = {"ce": 0.0, "dice": 0.0}
    for part, target in ((share, plain["mask"].numpy()), (1 - share, other)):
        valid = target != 255
        hot = np.stack([(target == label) & valid for label in range(4)], 1).astype(float)
        factor = np.array(weights).reshape(1, 4, 1, 1)
        expected["ce"] += part * -(factor * hot * np.log(probabilities)).sum() / (factor * hot).sum()
        seen = probabilities * valid[:, None]
        dice = 2 * (seen * hot).sum((0, 2, 3)) / (seen.sum((0, 2, 3)) + hot.sum((0, 2, 3)))
        expected["dice"] += part * (1 - dice).mean()
    assert built.logged["train/loss/ce"] == pytest.approx(expected["ce"], rel=1e-5)
    assert built.logged["train/loss/dice"] == pytest.approx(expected["dice"], rel=1e-5)
    assert float(loss.detach()) == pytest.approx(expected["ce"] + 0.5 * expected["dice"], rel=1e-5)


def test_what_is_drawn_depends_on_seed_epoch_batch_and_process_and_evaluation_is_not_mixed(monkeypatch):
    class Spy(CutMix):
        seen: list = []  # noqa: RUF012

        def __call__(self, batch, random, common):
            self.seen.append(random.random())
            return batch

    built = task(Spy(), CrossEntropy())
    state = torch.get_rng_state()
    for step in (3, 4, 3):
        built.training_step(batch(2, 6, 6), step)
    assert torch.equal(torch.get_rng_state(), state)  # the stream of dropout does not move
    assert Spy.seen[0] == Spy.seen[2] != Spy.seen[1]
    built.validation_step(batch(2, 6, 6), 3)
    assert len(Spy.seen) == 3
    for name in ("current_epoch", "global_rank"):
        monkeypatch.setattr(SegmentationTask, name, 1)
        built.training_step(batch(2, 6, 6), 3)
    assert len({*Spy.seen}) == 4


def test_processes_mix_the_same_batches_each_with_partners_and_shares_of_its_own(monkeypatch):
    class Spy(MixUp):
        drawn: dict = {}  # noqa: RUF012

        def mix(self, images, masks, random):
            mixed = super().mix(images, masks, random)
            self.drawn[(SegmentationTask.global_rank, self.step)] = mixed["share"]
            return mixed

    built = task(Spy(p=0.5), CrossEntropy())
    for rank in (0, 1):
        monkeypatch.setattr(SegmentationTask, "global_rank", rank)
        for built.mixing.step in range(30):
            built.training_step(batch(2, 6, 6), built.mixing.step)
    one, other = ({step: share for (at, step), share in Spy.drawn.items() if at == rank} for rank in (0, 1))
    assert one.keys() == other.keys()
    assert 5 < len(one) < 25
    assert all(one[step] != other[step] for step in one)


@pytest.mark.parametrize("mixing", [*pasting, MixUp()], ids=lambda mixing: type(mixing).__name__)
def test_a_single_image_has_no_partner_and_that_is_said_with_the_cure(mixing):
    with pytest.raises(ValueError, match=rf"{type(mixing).__name__} .*data\.batch_size to 2"):
        mixing(batch(1, 5, 5), np.random.default_rng(0))


def test_a_batch_is_mixed_as_often_as_asked_for():
    plain = batch(2, 8, 8)
    mixed = [MixUp(p=0.3)(plain, np.random.default_rng(seed)) is not plain for seed in range(400)]
    assert np.mean(mixed) == pytest.approx(0.3, abs=0.07)
    assert CutMix(p=0.0)(plain, np.random.default_rng(0)) is plain


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CutMix(p=1.5), "p: 1.5"),
        (lambda: CutMix(alpha=0), "alpha: 0"),
        (lambda: MixUp(alpha=float("nan")), "alpha: nan"),
        (lambda: RICAP(beta=-1), "beta: -1"),
        (lambda: CopyPaste([]), "classes"),
        (lambda: CopyPaste("b"), "classes: 'b'"),
        (lambda: CopyPaste(["b"], image_p=2), "image_p: 2"),
        (lambda: CopyPaste(["z"]).set_class_names(NAMES), "z is no class; there are a, b, c, d"),
    ],
)
def test_ways_of_mixing_that_cannot_be_are_refused_by_name(build, message):
    with pytest.raises(ValueError, match=message):
        build()
