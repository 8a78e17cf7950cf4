import hashlib
import http.server
import io
import tarfile
import threading

import pytest

from seg.data import VOC
from tests.data.conftest import write_voc


@pytest.fixture
def server(tmp_path):
    """Serve a folder on this machine; `truncate` in a name cuts the answer short."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **options):
            super().__init__(*args, directory=str(folder), **options)

        def copyfile(self, source, outputfile):
            data = source.read()
            outputfile.write(data[: len(data) // 2] if "truncated" in self.path else data)

        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def archive(folder, tmp_path, name="voc.tar"):
    tree = write_voc(tmp_path / "tree" / "VOCdevkit" / "VOC2012", {"train": 2, "val": 1}, [(30, 40)])
    with tarfile.open(folder / name, "w") as tar:
        tar.add(tree.parent, "VOCdevkit")
    return hashlib.md5((folder / name).read_bytes()).hexdigest()


def module(tmp_path, url, md5):
    root = tmp_path / "data" / "VOCdevkit" / "VOC2012"
    return VOC(str(root), ["a", "b", "c"], download=True, url=url, md5=md5, num_workers=0), root


def leftovers(root):
    return sorted(path.name for path in root.parent.iterdir())


def test_a_download_is_checked_unpacked_and_read(server, tmp_path):
    folder, address = server
    md5 = archive(folder, tmp_path)
    data, root = module(tmp_path, f"{address}/voc.tar", md5)
    data.prepare_data()
    data.setup("fit")
    assert len(data.datasets["train"].pairs) == 2
    assert leftovers(root) == ["VOC2012"]
    (folder / "voc.tar").unlink()
    data.prepare_data()  # it is there: nothing is fetched again


def test_a_wrong_checksum_is_refused_before_unpacking(server, tmp_path):
    folder, address = server
    archive(folder, tmp_path)
    data, root = module(tmp_path, f"{address}/voc.tar", "0" * 32)
    with pytest.raises(ValueError, match=r"voc\.tar .*md5 checksum 0000"):
        data.prepare_data()
    assert leftovers(root) == []


@pytest.mark.parametrize("name", ["nowhere.tar", "truncated.tar"])
def test_a_file_that_is_not_there_or_comes_in_part_is_refused_with_the_cure(server, tmp_path, name):
    folder, address = server
    md5 = archive(folder, tmp_path, "truncated.tar")
    data, root = module(tmp_path, f"{address}/{name}", md5)
    with pytest.raises((ConnectionError, ValueError), match=r"download: .*(on another machine|Start again)"):
        data.prepare_data()
    assert leftovers(root) == []


def test_offline_the_error_says_where_to_put_the_file(tmp_path):
    data, root = module(tmp_path, "http://127.0.0.1:9/voc.tar", "0" * 32)
    with pytest.raises(ConnectionError, match=r"cannot be fetched.*put it at .*VOCdevkit/voc\.tar"):
        data.prepare_data()
    assert leftovers(root) == []


def test_an_archive_put_there_by_hand_is_used(tmp_path):
    root = tmp_path / "data" / "VOCdevkit" / "VOC2012"
    root.parent.mkdir(parents=True)
    md5 = archive(root.parent, tmp_path)
    data, root = module(tmp_path, "http://127.0.0.1:9/voc.tar", md5)
    data.prepare_data()
    assert (root / "JPEGImages").is_dir()


def test_an_archive_of_something_else_leaves_nothing_behind(server, tmp_path):
    folder, address = server
    with tarfile.open(folder / "other.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("hello.txt"), io.BytesIO())
    data, root = module(tmp_path, f"{address}/other.tar", hashlib.md5((folder / "other.tar").read_bytes()).hexdigest())
    with pytest.raises(ValueError, match="no folder ImageSets/Segmentation"):
        data.prepare_data()
    assert not root.exists()


def test_an_archive_that_reaches_outside_is_refused(server, tmp_path):
    folder, address = server
    with tarfile.open(folder / "evil.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../../../evil.txt"), io.BytesIO())
    md5 = hashlib.md5((folder / "evil.tar").read_bytes()).hexdigest()
    data, _ = module(tmp_path, f"{address}/evil.tar", md5)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        data.prepare_data()
    assert not list(tmp_path.rglob("evil.txt"))


def test_nothing_is_fetched_unless_asked_for(tmp_path):
    data = VOC(str(tmp_path / "none"), ["a", "b"], url="http://127.0.0.1:9/voc.tar")
    data.prepare_data()
    with pytest.raises(FileNotFoundError, match="download true"):
        data.setup("fit")
