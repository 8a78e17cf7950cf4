import hashlib
import http.server
import io
import socket
import tarfile
import threading
from types import SimpleNamespace

import pytest

from seg.data import VOC, download
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


def member(name, kind=tarfile.REGTYPE, target="", size=0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


INSIDE = "VOCdevkit/VOC2012/JPEGImages/evil"


@pytest.mark.parametrize(
    "members",
    [
        [member("../../../evil")],
        [member("VOCdevkit/VOC2012/../../../../../evil")],
        [member("VOCdevkit/up", tarfile.SYMTYPE, "../.."), member("VOCdevkit/up/evil")],
        [member("VOCdevkit/up", tarfile.SYMTYPE, "/"), member("VOCdevkit/up/tmp/evil")],
        # inside the archive, but above the data set once that is moved
        [member("evil"), member(INSIDE, tarfile.SYMTYPE, "../../../evil")],
        [member("evil"), member(INSIDE, tarfile.LNKTYPE, "evil")],
        [
            member(INSIDE, tarfile.SYMTYPE, "other"),
            member("VOCdevkit/VOC2012/JPEGImages/other", tarfile.SYMTYPE, "evil"),
        ],
        [member("VOCdevkit/VOC2012/loop", tarfile.SYMTYPE, ".")],
        [member(INSIDE, tarfile.FIFOTYPE)],
        [member(INSIDE, tarfile.CHRTYPE)],
        [member(INSIDE, size=2**50)],
    ],
    ids=["up", "up inside", "link up", "link to root", "link", "hard link", "cycle", "loop", "pipe", "device", "huge"],
)
def test_an_archive_with_anything_but_files_and_folders_that_fit_is_refused(server, tmp_path, members):
    folder, address = server
    archive(folder, tmp_path)
    with tarfile.open(folder / "voc.tar", "a") as tar:
        for info in members:
            tar.addfile(info)
    md5 = hashlib.md5((folder / "voc.tar").read_bytes()).hexdigest()
    data, root = module(tmp_path, f"{address}/voc.tar", md5)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        data.prepare_data()
    assert not list(tmp_path.rglob("evil"))
    assert leftovers(root) == ["voc.tar"]


def test_members_that_only_together_exceed_the_disk_are_refused(server, tmp_path, monkeypatch):
    folder, address = server
    md5 = archive(folder, tmp_path)
    with tarfile.open(folder / "voc.tar") as tar:
        size = sum(info.size for info in tar)
    data, root = module(tmp_path, f"{address}/voc.tar", md5)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: SimpleNamespace(free=size))
    with pytest.raises(ValueError, match="does not fit on the disk"):
        data.prepare_data()
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2 * size))
    data.prepare_data()
    assert leftovers(root) == ["VOC2012"]


@pytest.mark.parametrize("suffix", ["", "gz", "xz"])
def test_an_archive_that_ends_too_early_or_is_none_is_refused_even_if_its_checksum_is_right(server, tmp_path, suffix):
    folder, address = server
    tree = write_voc(tmp_path / "tree" / "VOCdevkit" / "VOC2012", {"train": 2, "val": 1}, [(300, 400)])
    with tarfile.open(folder / "whole.tar", f"w:{suffix}") as tar:
        tar.add(tree.parent, "VOCdevkit")
    whole = (folder / "whole.tar").read_bytes()
    for content in (whole[: len(whole) // 2], b"no archive" * 100, b""):
        (folder / "voc.tar").write_bytes(content)
        data, root = module(tmp_path, f"{address}/voc.tar", hashlib.md5(content).hexdigest())
        with pytest.raises(ValueError, match="cannot be unpacked"):
            data.prepare_data()
        assert leftovers(root) == ["voc.tar"]


def test_a_server_that_falls_silent_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        data, root = module(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}/voc.tar", "0" * 32)
        with pytest.raises(ConnectionError, match="cannot be fetched"):
            data.prepare_data()
    assert leftovers(root) == []
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://127.0.0.1:9", "http://127.0.0.1:9/a/.."])
def test_an_address_without_a_file_is_refused(tmp_path, url):
    data, root = module(tmp_path, url, "0" * 32)
    with pytest.raises(ValueError, match="names no file"):
        data.prepare_data()
    assert not root.parent.exists()


def test_nothing_is_fetched_unless_asked_for(tmp_path):
    data = VOC(str(tmp_path / "none"), ["a", "b"], url="http://127.0.0.1:9/voc.tar")
    data.prepare_data()
    with pytest.raises(FileNotFoundError, match="download true"):
        data.setup("fit")
