"""The class list: read forgivingly, found in the data for ever after, unknown labels named with what was meant."""

from pathlib import Path

import pytest

from seg.convert.labelme_labels import (
    FOUND_FILE,
    class_list,
    found_classes,
    label_values,
    read_labels,
    refuse_unknown,
    write_found,
)


def test_labels_txt_is_read_with_byte_order_mark_crlf_and_blanks(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeff__ignore__\r\n_background_\r\n\r\n  potted   plant \r\n3\r\ncafe\u0301".encode())
    assert read_labels(path) == ["_background_", "potted plant", "3", "caf\u00e9"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"__ignore__\ncat\n_background_\n", "_background_ must come first"),
        (b"cat\ncat\n", "cat appears twice"),
        (b"__ignore__\n", "2 to 255 classes"),
        (b"\n".join(b"c%d" % number for number in range(255)), "256 given"),
        ("кот".encode("cp1251"), "not a text in UTF-8"),
    ],
)
def test_a_list_that_cannot_be_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"labels\.txt.*{message}"):
        read_labels(path)
    with pytest.raises(FileNotFoundError, match=r"labels: there is no file .*none\.txt"):
        read_labels(tmp_path / "none.txt")


def test_the_background_is_class_0_whether_it_is_named_or_not():
    assert class_list(["leaf", "stem"]) == ["_background_", "leaf", "stem"]
    assert class_list(["Background", "leaf"]) == ["Background", "leaf"]
    assert label_values(["Background", "leaf"]) == {"Background": 0, "leaf": 1, "__ignore__": 255, "_background_": 0}


def test_aliases_stand_for_classes_ignore_and_background():
    aliases = {"rat1": "rat", " rat2": "rat", "blurred": "__ignore__", "shadow": "_background_"}
    values = label_values(["_background_", "rat"], aliases)
    assert [values[label] for label in ("rat", "rat1", "rat2", "blurred", "shadow")] == [1, 1, 1, 255, 0]
    with pytest.raises(ValueError, match=r"aliases: rat1: rats leads to no class.*did you mean 'rat'"):
        label_values(["_background_", "rat"], {"rat1": "rats"})


def test_labels_found_in_the_data_keep_their_ids_for_ever(tmp_path):
    names = found_classes(tmp_path, ["pot", "leaf", "__ignore__", "_background_"])
    assert names == ["_background_", "leaf", "pot"]
    write_found(tmp_path, names)
    written = (tmp_path / FOUND_FILE).stat()
    more = found_classes(tmp_path, ["aphid", "pot"])
    assert more == ["_background_", "leaf", "pot", "aphid"], "new ones come last, and none that is gone is dropped"
    write_found(tmp_path, names)
    assert (tmp_path / FOUND_FILE).stat().st_mtime_ns == written.st_mtime_ns
    write_found(tmp_path, more)
    assert (tmp_path / FOUND_FILE).read_text() == "__ignore__\n_background_\nleaf\npot\naphid\n"
    assert read_labels(tmp_path / FOUND_FILE) == more


def test_data_without_a_label_and_with_too_many_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no label in .* to learn from"):
        found_classes(tmp_path, ["_background_", "__ignore__"])
    with pytest.raises(ValueError, match=r"300 labels .*aliases: \{cell_0: cell, cell_1: cell"):
        found_classes(tmp_path, [f"cell_{number}" for number in range(300)])


def test_unknown_labels_are_listed_with_files_count_and_the_nearest_name():
    values = label_values(["_background_", "tomato", "egg"])
    uses = {
        "tomatto": [Path("a.json"), Path("a.json"), Path("b.json")],
        "egg": [Path("a.json")],
        "EGG": [Path("c.json")],
    }
    with pytest.raises(ValueError, match="2 labels are not in the class list") as error:
        refuse_unknown(uses, values)
    assert "'tomatto': 3 shapes in 2 files (a.json, b.json); did you mean 'tomato'?" in str(error.value)
    assert "'EGG': 1 shapes in 1 files (c.json); did you mean 'egg'?" in str(error.value)
    assert "aliases: {EGG: egg, tomatto: tomato}; in seg convert --alias 'EGG=egg'" in str(error.value)
    refuse_unknown({"egg": [Path("a.json")]}, values)


def test_labels_numbered_by_instance_are_answered_with_the_aliases_that_they_need():
    values = label_values(["_background_", "rat"])
    with pytest.raises(ValueError, match=r"aliases: \{rat \(3\): rat, rat1: rat, rat_2: rat\}"):
        refuse_unknown({name: [Path("a.json")] for name in ("rat1", "rat_2", "rat (3)")}, values)
