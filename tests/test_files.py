import pytest

from seg.files import read_lines, replacing


def test_a_file_is_replaced_whole_and_its_folder_is_made(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text() == "first"


def test_after_an_error_the_old_file_is_whole_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_lists_are_read_without_marks_and_carriage_returns_and_other_encodings_are_named(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes("\ufeffgrün\r\n\r\nb\r\n".encode())
    assert read_lines(path) == ["grün", "", "b"]
    path.write_bytes("grün\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"train\.txt is not a text in UTF-8 .*save it as UTF-8"):
        read_lines(path)
