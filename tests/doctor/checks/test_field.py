from tests.doctor.setups import NUMBER
from tests.models.networks import NETWORKS


def test_the_cell_of_a_network_is_known(doctor):
    for name, cell in {"unet": 1, "segnet": 1, "fcn": 8, "largefov": 8, "deeplabv3": 16, "deeplabv3plus": 4}.items():
        net = NETWORKS[name](num_classes=NUMBER)
        assert doctor.report("objects", net=net).figures["objects"]["cell"] == cell, name
