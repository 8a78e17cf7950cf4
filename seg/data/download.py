"""Fetch an archive, check it, and put the data set inside it in its place: all of it or nothing."""

import logging
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from urllib.error import URLError

from torchvision.datasets.utils import check_integrity, download_url

logger = logging.getLogger(__name__)


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
        ValueError: what came has another checksum, or holds no such folder.

    """
    root.parent.mkdir(parents=True, exist_ok=True)
    archive = root.parent / url.rsplit("/", 1)[-1]
    if not check_integrity(str(archive), md5):
        archive.unlink(missing_ok=True)
        logger.warning("fetching %s to %s", url, archive)
        try:
            download_url(url, str(root.parent), archive.name)
        except (URLError, OSError, RuntimeError) as error:
            archive.unlink(missing_ok=True)
            raise ConnectionError(
                f"download: {url} cannot be fetched ({error}). Fetch the file on another machine, put it at {archive} "
                f"and start again, or unpack it so that {root / marker} is there"
            ) from error
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
            tar.extractall(temporary, filter="data")  # refuses members that lead outside
        found = next(
            (path for path in sorted(temporary.rglob("*")) if path.is_dir() and (path / marker).is_dir()), None
        )
        if found is None:
            raise ValueError(
                f"download: the archive from {url} has no folder {marker}; set url to a data set of this layout"
            )
        os.replace(found, root)
    except tarfile.TarError as error:
        raise ValueError(
            f"download: the archive from {url} cannot be unpacked: {error}; set url to a tar file"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    archive.unlink()
