"""Single files of the Hugging Face hub."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from contextblip.downloads.meters import DownloadError

HUB = "hf://"


@dataclass(frozen=True)
class HubFile:
    """A file of the Hugging Face hub.

    Attributes:
        repository: ``org/name``.
        path: Inside the repository.
        kind: ``model`` or ``dataset``.
        revision: Branch or commit; ``None`` means ``main``.
    """

    repository: str
    path: str
    kind: str
    revision: str | None

    @classmethod
    def parse(cls, url: str) -> HubFile:
        """Read ``hf://[datasets/]ORG/NAME[@REVISION]/path``."""
        rest = url.removeprefix(HUB)
        kind = "dataset" if rest.startswith("datasets/") else "model"
        organisation, name, path = rest.removeprefix("datasets/").split("/", 2)
        name, _, revision = name.partition("@")
        return cls(f"{organisation}/{name}", path, kind, revision or None)

    @property
    def url(self) -> str:
        """The address under which a browser gets it."""
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        prefix = "datasets/" if self.kind == "dataset" else ""
        path = quote(self.path)
        return f"{endpoint}/{prefix}{self.repository}/resolve/{self.revision or 'main'}/{path}"


def fetch_from_hub(url: str, part: Path, staging: Path) -> None:
    """Bring a file of the hub here through its own client, which resumes by itself.

    Args:
        url: As `HubFile.parse` reads it.
        part: Where to write.
        staging: Folder of the same disk for the client's partial files.

    Raises:
        DownloadError: It cannot be had; the message is the reason alone.
    """
    from huggingface_hub import errors, hf_hub_download  # cost a second that other sources need not pay
    from huggingface_hub.utils.tqdm import disable_progress_bars

    file = HubFile.parse(url)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are no news
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        path = hf_hub_download(
            file.repository, file.path, repo_type=file.kind, revision=file.revision, local_dir=staging
        )
    except errors.LocalEntryNotFoundError as error:  # so it calls a hub that does not answer
        raise DownloadError("the hub cannot be reached", unreachable=True) from error
    except Exception as error:  # the hub raises its own, the HTTP library's and the system's errors
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise DownloadError(reason, unreachable=isinstance(error, ConnectionError)) from error
    Path(path).replace(part)
