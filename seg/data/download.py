"""Fetch an archive, check it, and put the data set inside it in its place: all of it or nothing."""

import logging
import os
import shutil
import socket
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

from torchvision.datasets.utils import check_integrity, download_url

logger = logging.getLogger(__name__)

TIMEOUT = 60.0
"""Seconds of silence after which a server is given up."""
_SHARE = 0.95  # of what is free on the disk at most


def fetch_archive(url: str, md5: str, root: Path, marker: str) -> None:
    """Download a tar archive and move the folder in it that holds `marker` to `root`.

    The archive is checked before it is opened, unpacked under a temporary name and moved into place at the end, so that
    `root` is either complete or not there. An archive that has been fetched before is not fetched again.

    Args:
        url: of the archive.
        md5: its checksum.
        root: where the data set goes; must not exist.
        marker: a path that tells the data set's folder from those around it, such as "ImageSets/Segmentation".

    Raises:
        ConnectionError: the archive cannot be fetched.
        ValueError: what came has another checksum, holds no such folder, something else than files and folders, a path
            that leads outside, or more than the disk has room for.

    """
    name = Path(urlsplit(url).path).name
    if name in ("", ".."):
        raise ValueError(f"url: {url} names no file; give the address of a tar archive")
    root.parent.mkdir(parents=True, exist_ok=True)
    archive = root.parent / name
    if not check_integrity(str(archive), md5):
        archive.unlink(missing_ok=True)
        logger.warning("fetching %s to %s", url, archive)
        waiting = socket.getdefaulttimeout()
        socket.setdefaulttimeout(TIMEOUT)  # torchvision takes none of its own
        try:
            download_url(url, str(root.parent), archive.name)
        except (URLError, OSError, RuntimeError) as error:
            archive.unlink(missing_ok=True)
            raise ConnectionError(
                f"download: {url} cannot be fetched ({error}). Fetch the file on another machine, put it at {archive} "
                f"and start again, or unpack it so that {root / marker} is there"
            ) from error
        finally:
            socket.setdefaulttimeout(waiting)
    if not check_integrity(str(archive), md5):
        length = archive.stat().st_size
        archive.unlink()
        raise ValueError(
            f"download: what came from {url} ({length} bytes) has not the md5 checksum {md5}: it is incomplete or "
            "another file. Start again, or set url and md5 to a mirror's"
        )
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=root.parent))
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, filter=_files_that_fit(temporary))
        found = next(
            (path for path in sorted(temporary.rglob("*")) if path.is_dir() and (path / marker).is_dir()), None
        )
        if found is None:
            raise ValueError(
                f"download: the archive from {url} has no folder {marker}; set url to a data set of this layout"
            )
        os.replace(found, root)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"download: the archive from {url} cannot be unpacked: {error}; set url to a tar file of images and masks"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    archive.unlink()


def _files_that_fit(folder: Path) -> Callable[[tarfile.TarInfo, str], tarfile.TarInfo | None]:
    """Return a filter that lets files and folders inside the archive through, up to the room on the disk.

    A link that stays inside while unpacking may lead outside once the data set is moved; none has a use here.
    """
    room = int(_SHARE * shutil.disk_usage(folder).free)

    def check(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        nonlocal room
        if not (member.isfile() or member.isdir()):
            raise tarfile.TarError(f"'{member.name}' is a link or a device")
        room -= member.size
        if room < 0:
            raise tarfile.TarError(f"'{member.name}' of {member.size} bytes does not fit on the disk")
        return tarfile.data_filter(member, path)  # refuses what leads outside

    return check
