import shutil
import subprocess
from types import SimpleNamespace

import pytest

from seg import __version__, provenance
from seg.data import VOC, Shapes


def test_a_configuration_becomes_one_level_of_names():
    config = {
        "model": {"net": {"class_path": "seg.models.UNet", "init_args": {"width": 64, "norm": None}}},
        "data": {"class_path": "seg.data.VOC", "init_args": {"crop": [64, 64], "label_map": {0: 1}}},
        "trainer": {"callbacks": [{"class_path": "A", "init_args": {"number": 3}}, {"class_path": "B"}]},
        "seed_everything": 0,
    }
    assert provenance.flatten(config) == {
        "model.net": "seg.models.UNet",
        "model.net.width": 64,
        "model.net.norm": None,
        "data": "seg.data.VOC",
        "data.crop": [64, 64],
        "data.label_map.0": 1,
        "trainer.callbacks.0": "A",
        "trainer.callbacks.0.number": 3,
        "trainer.callbacks.1": "B",
        "seed_everything": 0,
    }


def fingerprint(root, **changed):
    described = Shapes(root="unused")
    options = {"classes": described.class_names, "colors": described.class_colors, **changed}
    data = VOC(str(root), num_workers=0, **options)
    data.setup("fit")
    return provenance.dataset(data)


def test_the_fingerprint_changes_with_the_data_and_not_with_where_they_lie(shapes, tmp_path):
    found = fingerprint(shapes)
    assert (found["name"], found["train"], found["val"], found["test"]) == ("VOC", 12, 5, 5)
    moved = tmp_path / "moved"
    shutil.copytree(shapes, moved)
    assert fingerprint(moved) == found
    names = Shapes(root="unused").class_names
    assert fingerprint(moved, classes=[*names[:-1], "other"])["fingerprint"] != found["fingerprint"]
    image = next((moved / "JPEGImages").iterdir())
    image.write_bytes(image.read_bytes() + b"\0")
    assert fingerprint(moved)["fingerprint"] != found["fingerprint"]
    assert provenance.dataset(None) == {}
    assert provenance.dataset(SimpleNamespace()) == {"name": "SimpleNamespace"}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_of_the_folder_one_works_in_is_told_and_whether_files_differ(workplace, monkeypatch):
    monkeypatch.setattr(provenance, "CHECKOUT", workplace / "installed")
    found = provenance.code()
    assert found["seg"] == __version__
    assert "project_commit" not in found

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *identity, *words], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (workplace / "a.txt").write_text("1")
    git("add", "-A")
    git("commit", "-qm", "one")
    found = provenance.code()
    assert found["project_commit"] == git("rev-parse", "HEAD")
    assert found["project_modified"] is False
    (workplace / "a.txt").write_text("2")
    assert provenance.code()["project_modified"] is True
    monkeypatch.setenv("PATH", "")
    assert "project_commit" not in provenance.code(), "without git"


def test_the_environment_is_told_in_plain_values():
    found = provenance.environment()
    assert found["torch"]
    assert found["cores"] >= 1
    assert all(isinstance(value, str | int | list) for value in found.values())
