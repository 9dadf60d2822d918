"""Published files: fetched, verified and extracted."""

from contextblip.downloads.extraction import extract
from contextblip.downloads.fetching import download, download_all, missing_files, part_path
from contextblip.downloads.meters import DownloadError
from contextblip.downloads.remote_files import RemoteFile

__all__ = [
    "DownloadError",
    "RemoteFile",
    "download",
    "download_all",
    "extract",
    "missing_files",
    "part_path",
]
