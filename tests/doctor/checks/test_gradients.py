from torch import Tensor, nn

from seg.task import SegmentationTask
from tests.doctor.setups import NUMBER, Plain


class Branched(Plain):
    """The same, with a branch whose result is detached."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Conv2d(3, NUMBER, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.branch(x).detach()


def test_a_detached_branch_is_found_and_its_parameters_are_named(doctor):
    finding = doctor.only("gradients", net=Branched())
    assert finding.severity == "fail"
    assert [place.where for place in finding.places] == ["net.branch.weight", "net.branch.bias"]
    assert "detach" in finding.cure


def test_an_unused_parameter_is_found(doctor):
    net = Plain()
    net.spare = nn.Conv2d(3, 3, 1)
    finding = doctor.only("gradients", net=net)
    assert finding.severity == "warn"
    assert [place.where for place in finding.places] == ["net.spare.weight", "net.spare.bias"]


def test_a_gradient_that_is_not_finite_is_found(doctor):
    def spoil(task: SegmentationTask) -> None:
        task.net.classifier.weight.register_hook(lambda gradient: gradient * float("nan"))

    finding = doctor.only("gradients", net=Plain(), change=spoil)
    assert finding.severity == "fail"
    assert "NaN" in finding.text
    assert [place.where for place in finding.places] == ["net.classifier.weight"]


def test_a_parameter_that_no_optimiser_holds_is_found(doctor):
    def forget(task: SegmentationTask) -> None:
        build, known = task.build_optimizer, list(map(id, task.net.first.parameters()))

        def partly(groups):
            return build([group | {"params": [p for p in group["params"] if id(p) in known]} for group in groups])

        task.build_optimizer = partly

    finding = doctor.only("gradients", net=Plain(), change=forget)
    assert finding.severity == "fail"
    assert "optimiser" in finding.text


def test_a_network_of_frozen_parameters_fails(doctor):
    finding = doctor.only("gradients", net=Plain().requires_grad_(False))
    assert finding.severity == "fail"
