import dataclasses
import json
from pathlib import Path

import pytest

from seg.export.card import Card
from tests.export.networks_as_files import card


def test_a_card_is_read_back_as_it_was_written():
    written = card(clip=[[0.0, 1.0]] * 3, resize=[180, 240], image_kind=["native", "float32"], output="labels")
    assert Card.of_entries({**written.entries(), "other": "entry"}, Path("x.onnx")) == written
    assert json.loads(written.text())["class_names"][2] == "stuhl ü"


def test_a_file_that_says_nothing_of_itself_is_refused():
    with pytest.raises(ValueError, match=r"x\.onnx does not say what its classes and pixels are"):
        Card.of_entries({"author": "somebody"}, Path("x.onnx"))


def test_a_later_format_is_refused():
    later = dataclasses.replace(card(), format=99)
    with pytest.raises(ValueError, match="format 99"):
        Card.of_entries(later.entries(), Path("x.onnx"))


@pytest.mark.parametrize(
    "facts",
    [
        {"class_names": ["one"]},
        {"class_names": [1, 2, 3]},
        {"class_colors": [[0, 0, 0]]},
        {"class_colors": [[0, 0, 300]] * 3},
        {"mean": []},
        {"mean": ["a", "b", "c"]},
        {"std": [1.0]},
        {"clip": [[0.0, 1.0]]},
        {"image_kind": ["rgb", "int64"]},
        {"image_kind": ["rgb"]},
        {"resize": [0, 5]},
        {"resize": 5},
        {"output": "pictures"},
        {"ignore_index": None},
    ],
)
def test_facts_that_cannot_be_are_refused(facts):
    with pytest.raises(ValueError, match=r"x\.onnx: what it says of itself is damaged"):
        Card.of_entries(card(**facts).entries(), Path("x.onnx"))


@pytest.mark.parametrize("damage", [{"seg.mean": "[1, 2"}, {"seg.format": '"two"'}, {"seg.std": None}])
def test_damaged_entries_are_refused(damage):
    entries = {name: text for name, text in {**card().entries(), **damage}.items() if text is not None}
    with pytest.raises(ValueError, match="damaged"):
        Card.of_entries(entries, Path("x.onnx"))
