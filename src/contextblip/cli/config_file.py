"""`config.yaml`: every value of a run, written beside what it made."""

from __future__ import annotations

from pathlib import Path

import lightning
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

import contextblip
from contextblip.cli.revision import git_commit
from contextblip.cli.run_folder import CONFIG_FILE, RunFolder
from contextblip.provenance.command import command_line
from contextblip.provenance.starts import record_start
from contextblip.run_record import settle

# Keys that only some subcommands have, with their defaults
OWN_KEYS = {"verbose": True, "return_predictions": None}


class RunConfigCallback(SaveConfigCallback):
    """Writes the resolved configuration, and what it was started with, once the data have been found.

    It does so for every subcommand, before the first step.

    Args:
        parser: Parser of the subcommand.
        config: Its values.
        folder: The run folder; told what was written.
        subcommand: Names the file where the folder already has a ``config.yaml``.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        folder: RunFolder,
        subcommand: str,
    ) -> None:
        super().__init__(parser, config, save_to_log_dir=False)
        self.folder = folder.path
        self.configs = folder.configs
        self.subcommand = subcommand
        self.config_name: str | None = None  # callbacks record by it whose results they write

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Write the files; Lightning calls this in rank zero only.

        Args:
            trainer: Knows the devices and processes.
            pl_module: Unused.
            stage: Unused.
        """
        config = self.config.clone()
        config["run_dir"] = None  # so that the file can be given to --config again, of any subcommand
        for key, default in OWN_KEYS.items():
            if config.get(key, default) is default:
                config.pop(key, None)
        text = self.parser.dump(config, skip_unset=False, skip_link_targets=False, skip_validation=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        settle(self.folder)
        self.config_name = free_name(self.folder, self.subcommand)
        path = self.folder / self.config_name
        commit = git_commit()
        path.write_text(f"{header(commit)}{text}\n", encoding="utf-8")
        self.configs.append(path)
        record_start(path, self.subcommand, commit, config.as_dict(), trainer)


def free_name(folder: Path, subcommand: str) -> str:
    """Choose a name that replaces no earlier file.

    Args:
        folder: The run folder.
        subcommand: fit, validate, test or predict.

    Returns:
        ``config.yaml``; where a run is continued or evaluated in place ``config_<subcommand>.yaml``, then
        ``config_<subcommand>_1.yaml`` and so on.
    """
    names = [CONFIG_FILE, f"config_{subcommand}.yaml"]
    while (folder / names[-1]).exists():
        names.append(f"config_{subcommand}_{len(names) - 1}.yaml")
    return next(name for name in names if not (folder / name).exists())


def header(commit: str | None) -> str:
    """Say what wrote the file.

    Args:
        commit: Of the sources; ``None`` outside a repository.

    Returns:
        Comment lines: versions, git commit where there is one, and the command without secrets.
    """
    versions = f"contextblip {contextblip.__version__}, lightning {lightning.__version__}"
    return f"# {versions}{f', commit {commit}' if commit else ''}\n# {command_line()}\n"
