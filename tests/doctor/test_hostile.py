import os
import struct
import zlib

import pytest

from tests.convert.labelme_files import write_json
from tests.doctor.conftest import odd, report_on


def announced(width: int, height: int) -> bytes:
    """Return a PNG file that announces a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_files_made_to_do_harm_are_findings(tree):
    tree.image("a_photo").write_bytes(announced(40_000, 40_000))
    tree.mask("b_photo").write_bytes(announced(60_000, 60_000))
    tree.image("c_photo").unlink()
    tree.image("c_photo").mkdir()
    tree.mask("d_photo").unlink()
    os.symlink(tree.mask("d_photo").name, tree.mask("d_photo"))
    tree.image("f_photo").write_bytes(os.urandom(3000))
    found = odd(tree.examined())
    assert {finding.check for finding in found} == {"files"}
    assert sum(len(finding.places) for finding in found) == 5


def test_a_list_that_is_no_text_is_told_and_the_rest_is_examined(tree):
    (tree.root / "ImageSets" / "Segmentation" / "test.txt").write_bytes(b"\xff\xfe\x00")
    report = tree.examined()
    (finding,) = odd(report)
    assert (finding.check, finding.severity) == ("lists", "fail")
    assert len(report.survey.images) == 9


def test_labels_alone_without_annotations_are_a_finding(tmp_path):
    from seg.data import Labelme

    (tmp_path / "labels.txt").write_text("cat\n")
    (finding,) = odd(report_on(Labelme(str(tmp_path))))
    assert (finding.check, finding.severity) == ("lists", "fail")
    write_json(tmp_path / "a.json", [])
    assert {finding.check for finding in odd(report_on(Labelme(str(tmp_path))))} >= {"annotations"}


@pytest.mark.parametrize("channels", ["L", "RGBA", "CMYK", "P"])
def test_pictures_of_every_mode_are_examined_and_drawn(tree, channels):
    from PIL import Image

    from seg.doctor.findings import Place
    from seg.doctor.pictures import embedded, picture

    suffix = ".tif" if channels == "CMYK" else ".png"
    path = tree.image("a_photo")
    image = Image.open(path).convert(channels)
    path.unlink()
    image.save(path.with_suffix(suffix))
    report = tree.examined()
    assert odd(report) == []
    pair = report.survey.splits["train"][0].pair
    assert embedded(picture(Place("x", pair=pair), report.survey)).startswith("data:image/")
