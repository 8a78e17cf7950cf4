"""Packages that would run code when torch reads them: none of it runs, and the file is named."""

import io
import json
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch

from seg.export.archive import read_package
from seg.export.runtime import ExportedNetwork


class Bomb:
    """Write a file when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def changed(package: Path, target: Path, change) -> Path:
    """Write a package again with other members: `change` takes and returns a dict of name -> bytes."""
    with zipfile.ZipFile(package) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(held)).partition("/")[0]
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in change({name.partition("/")[2]: data for name, data in held.items()}).items():
            archive.writestr(f"{root}/{name}", data)
    return target


def edited(held: dict, name: str, edit) -> dict:
    """Return members of which the JSON of one is edited in place."""
    content = json.loads(held[name])
    edit(content)
    return {**held, name: json.dumps(content).encode()}


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def inputs_with_code(held, bomb):
    return {**held, "data/sample_inputs/model.pt": saved(((Bomb(bomb),), {}))}


def weight_with_code(held, bomb):
    def edit(config):
        first = next(iter(config["config"].values()))
        first["use_pickle"] = True

    held = {**held, "data/weights/weight_0": saved(Bomb(bomb))}
    return edited(held, "data/weights/model_weights_config.json", edit)


def constant_with_code(held, bomb):
    return {**held, "data/constants/opaque_obj_0": pickle.dumps(Bomb(bomb))}


def old_weights_with_code(held, bomb):
    return {**held, "data/weights/model.pt": saved(Bomb(bomb))}


def size_with_code(held, bomb):
    text = held["models/model.json"].decode()
    code = f"__import__('pathlib').Path('{bomb}').touch() or Symbol('s1')"
    found = re.search(r'"expr_str": "[^"]*"', text)
    return {**held, "models/model.json": text.replace(found[0], f'"expr_str": {json.dumps(code)}').encode()}


def guard_with_code(held, bomb):
    def edit(model):
        model["guards_code"] = [f"__import__('pathlib').Path('{bomb}').touch() is None"]

    return edited(held, "models/model.json", edit)


def call_of_something_else(held, bomb):
    def edit(model):
        model["graph_module"]["graph"]["nodes"][-1]["target"] = "torch.hub.load"

    return edited(held, "models/model.json", edit)


def library(held, bomb):
    return {**held, "data/aotinductor/model/model.so": b"\x7fELF"}


@pytest.mark.parametrize(
    "attack",
    [
        inputs_with_code,
        weight_with_code,
        constant_with_code,
        old_weights_with_code,
        size_with_code,
        guard_with_code,
        call_of_something_else,
        library,
    ],
)
def test_a_package_with_code_in_it_is_refused_and_the_code_does_not_run(attack, package, tmp_path):
    bomb = tmp_path / "bomb"
    path = changed(package, tmp_path / "model.pt2", lambda held: attack(held, bomb))
    with pytest.raises(ValueError, match=r"could run code") as raised:
        read_package(path)
    assert str(path) in str(raised.value)
    assert not bomb.exists()


def test_a_package_that_is_written_again_is_read(package, tmp_path):
    path = changed(package, tmp_path / "model.pt2", lambda held: held)
    images = torch.randint(0, 256, (1, 3, 33, 45), dtype=torch.uint8)
    torch.testing.assert_close(ExportedNetwork(path, "cpu")(images), ExportedNetwork(package, "cpu")(images))


def test_a_pickle_under_the_name_of_a_package_does_not_run(tmp_path):
    path = tmp_path / "model.pt2"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "bomb")))
    with pytest.raises(ValueError, match=r"model\.pt2 is not a torch\.export package"):
        read_package(path)
    torch.save(Bomb(tmp_path / "bomb"), path)  # a zip file, as checkpoints are
    with pytest.raises(ValueError, match=r"model\.pt2 is not a torch\.export package.*holds no model"):
        read_package(path)
    assert not (tmp_path / "bomb").exists()


def test_a_package_cut_short_is_called_damaged(package, tmp_path):
    path = tmp_path / "model.pt2"
    path.write_bytes(package.read_bytes()[:-3000])
    with pytest.raises(ValueError, match="damaged"):
        read_package(path)


def test_a_package_with_a_weight_missing_is_called_damaged(package, tmp_path):
    def without(held):
        return {name: data for name, data in held.items() if name != "data/weights/weight_3"}

    with pytest.raises(ValueError, match="damaged"):
        read_package(changed(package, tmp_path / "model.pt2", without))
