import pytest
from torch import Tensor, nn

from seg.models import UNet
from tests.doctor.setups import NUMBER, data_of


def test_a_network_of_another_number_of_classes_fails_and_nothing_else_is_claimed(doctor):
    found = doctor.findings("shapes", "logits", "overfit", net=UNet(NUMBER + 1, width=4, depth=2))
    assert [(f.check, f.severity) for f in found] == [("shapes", "fail"), ("logits", "skip"), ("overfit", "skip")]


def test_an_error_of_the_network_is_a_finding(doctor):
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(4, NUMBER, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    finding = doctor.only("shapes", net=Broken())
    assert finding.severity == "fail"
    assert "4 channels" in finding.text


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0, 0, 0), (1, 1, 1)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((400,) * 3, (60,) * 3)],
    ids=["raw", "of 0..1", "far from 0 alone"],
)
def test_images_that_are_not_normalised_are_found(doctor, shapes, mean, std):
    data = data_of(shapes, mean=list(mean), std=list(std))
    found = doctor.findings("input", data=data)
    assert [f.severity for f in found] == ["fail"], found


def test_images_of_no_contrast_are_found(doctor, shapes):
    finding = doctor.only("input", data=data_of(shapes, mean=[120.0] * 3, std=[50_000.0] * 3))
    assert finding.severity == "fail"
