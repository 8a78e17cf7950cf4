import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg.doctor import command
from tests.cityscapes_tree import write_tree
from tests.command import REPOSITORY, write_config
from tests.convert.labelme_files import shape, square, write_image, write_json
from tests.doctor.conftest import HEIGHT, NAMES, WIDTH, Tree, mask, photo


def doctor(*words: object) -> int:
    """Run `seg doctor …` in this process; return its exit status."""
    with pytest.raises(SystemExit) as ended:
        command.main([str(word) for word in words])
    return int(ended.value.code or 0)


class Page(HTMLParser):
    """What an HTML page refers to and says, and whether every element is closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "action", "data", "poster")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said += data


def sick(tree: Tree) -> None:
    """Plant faults of many kinds."""
    tree.image("a_photo").write_bytes(tree.image("a_photo").read_bytes()[:700])
    tree.write("b_photo", mask(0, 64, 64))
    labels = mask(0)
    labels[20:30, 20:30] = 9
    tree.write("c_photo", labels)
    tree.write("d_photo", np.zeros((HEIGHT, WIDTH), np.uint8))
    Image.fromarray(photo(4)).save(tree.image("h_photo"), quality=70)


@pytest.fixture
def config(tree, workplace):
    # A field of 92 pixels: none of the images, let alone what is on them, is larger.
    net = {"class_path": "seg.models.UNet", "init_args": {"width": 4, "depth": 3}}
    return write_config(workplace / "mine.yaml", tree.root, {"net": net}, {"classes": NAMES, "colors": None})


def test_a_clean_data_set_ends_with_0_and_leaves_a_page(config, workplace, capsys):
    assert doctor("data", "--config", config) == 0
    out = capsys.readouterr().out
    assert "fit to train on" in out
    assert "FAIL" not in out
    assert (workplace / "runs" / "doctor" / "mine.html").is_file()
    assert list((workplace / "runs").iterdir()) == [workplace / "runs" / "doctor"], "no run folder"


def test_findings_reach_terminal_json_and_page_and_the_status_is_1(tree, config, workplace, capsys):
    sick(tree)
    assert doctor("data", "--config", config, "--json", "out/report.json", "--html", "out/page.html") == 1
    out = capsys.readouterr().out
    report = json.loads((workplace / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["verdict"] == "fail"
    assert report["pairs"] == {"train": 6, "val": 3}
    assert report["stride"] == 8, "that of the configured network"
    found = {(entry["check"], entry["severity"]): entry for entry in report["findings"] if entry["severity"] != "pass"}
    kinds = {("files", "fail"), ("sizes", "fail"), ("label values", "fail"), ("empty masks", "warn")}
    assert set(found) == {*kinds, ("duplicates", "warn")}
    page = Page((workplace / "out" / "page.html").read_text(encoding="utf-8"))
    for entry in found.values():
        assert entry["count"] == len(entry["places"]) >= 1
        for text in (entry["text"], entry["cure"], entry["places"][0]["where"], entry["places"][0]["note"]):
            assert text in page.said
        assert entry["places"][0]["where"] in out
    pictures = page.tags.count("img")
    assert pictures == 4, "one a finding but that of the image that cannot be read"
    assert page.open == []


def test_the_page_is_self_contained(tree, config, workplace):
    sick(tree)
    doctor("data", "--config", config, "--html", "page.html")
    text = (workplace / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.references
    assert all(reference.startswith("data:image/") for reference in page.references)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in text
    assert not re.search(r"https?://", text)


def test_names_from_the_data_set_are_escaped(tmp_path, workplace):
    evil = "<script>alert(1)</script>"
    root = tmp_path / "<b>photos & more"
    for number in range(5):
        write_image(root / f"<i>{number}.png", 80, 90, seed=number)
        write_json(root / f"<i>{number}.json", [shape(evil, square(9, 9, 40))], (80, 90), imagePath="no<where>.png")
    assert doctor("data", root, "--html", "page.html") == 0
    text = (workplace / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "b>photos", "i"} & set(page.tags)
    assert evil in page.said
    assert "<i>0.json" in page.said


def test_pictures_show_the_image_under_its_mask(tree, config, workplace):
    from seg.doctor.findings import Place
    from seg.doctor.pictures import picture

    report = tree.examined()
    pair = report.survey.splits["train"][0].pair
    drawn = picture(Place("x", pair=pair), report.survey)
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    inside = drawn[HEIGHT // 4, WIDTH // 4].astype(int)  # a cat, drawn half in its colour
    image = np.array(Image.open(pair.image))[HEIGHT // 4, WIDTH // 4].astype(int)
    assert np.abs(inside - (image + report.survey.data.class_colors[1]) / 2).max() <= 2


def test_overrides_mean_what_they_mean_to_fit(tree, config, tmp_path, capsys):
    other = Tree(tmp_path / "other", train=4, val=2)
    assert doctor("data", "--config", config, "--data.root", other.root) == 0
    assert "4 train, 2 val" in capsys.readouterr().out
    assert doctor("data", "--config", config, "--data.clases", "[a]") == 2
    assert "classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["data"], ["data", "nowhere"], ["data", "--config", "nowhere"], ["dta"], ["data", ".", "--data.root", "x"]],
)
def test_mistakes_in_the_command_end_with_2(workplace, words, capsys):
    assert doctor(*words) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_of_no_known_kind_is_refused(workplace, capsys):
    assert doctor("data", ".") == 2
    assert "no kind that is known" in capsys.readouterr().err


def plain_folder(tmp_path: Path) -> Path:
    root = tmp_path / "plain"
    for number in range(5):
        for folder, array in (("imgs", photo(number)), ("Labels", mask(number))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{'abcde'[number]}.png")
    return root


def labelme_folder(tmp_path: Path) -> Path:
    for number in range(5):
        write_image(tmp_path / "photos" / f"{number}.png", 80, 90, seed=number)
        write_json(tmp_path / "photos" / f"{number}.json", [shape("cat", square(9, 9, 40))], (80, 90))
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("make", "said", "parts"),
    [
        (lambda path: Tree(path / "voc").root, "taken for Pascal VOC's tree", "6 train, 3 val"),
        (plain_folder, "images in imgs, masks in Labels; 3 classes", "5 all"),
        (labelme_folder, "taken for labelme annotations", "4 train, 1 val"),
        (lambda path: write_tree(path / "cityscapes"), "taken for Cityscapes' tree", " train, "),
    ],
    ids=["voc", "folder", "labelme", "cityscapes"],
)
def test_the_kind_of_a_folder_is_guessed_and_said(tmp_path, workplace, capsys, make, said, parts):
    doctor("data", make(tmp_path))
    out = capsys.readouterr().out
    assert said in out
    assert parts in out
    for check in ("lists", "files", "annotations", "sizes", "label values", "label names"):
        assert f"FAIL  {check}" not in out


def test_one_command_in_a_process_of_its_own(tree, workplace):
    sick(tree)
    result = subprocess.run(
        [sys.executable, "-m", "seg", "doctor", "data", str(tree.root), "--workers", "2"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        timeout=120,
    )
    assert result.returncode == 1
    assert "FAIL  files" in result.stdout
    assert result.stderr == ""


def test_processes_measure_what_one_measures(tmp_path):
    root = Tree(tmp_path / "voc", train=20, val=6).root
    from seg.data import VOC
    from seg.doctor.measure import Measuring, Scale, measure

    data = VOC(str(root), NAMES)
    pairs = [*data.pairs("train"), *data.pairs("val")] * 2
    measuring = Measuring(data.reader(), data.labels, Scale(16))
    one, several = measure(pairs, measuring, 0), measure(pairs, measuring, 2)
    assert len(one) == 52
    for a, b in zip(one, several, strict=True):
        assert a[:-2] == b[:-2]
        assert (a.bits == b.bits).all()
        assert (a.look == b.look).all()
