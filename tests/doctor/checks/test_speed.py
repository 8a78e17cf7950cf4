import time

import albumentations as A

from seg.data.dataset import Reader
from tests.doctor.setups import Plain, data_of


class Slow(Reader):
    def image(self, pair):
        time.sleep(0.05)
        return super().image(pair)


def test_a_slow_loader_is_told(doctor, shapes):
    data = data_of(shapes, augment=[A.CenterCrop(32, 32)])
    data.reader = Slow
    finding = doctor.only("loader", data=data, net=Plain())
    assert finding.severity == "warn"
    assert "the network waits" in finding.text
    assert "num_workers" in finding.cure
