"""Where a run leaves what it makes: one folder, the same for all of its processes, never another run's."""

from __future__ import annotations

import os
from datetime import timedelta
from itertools import count
from pathlib import Path

from jsonargparse import Namespace
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.loggers import TensorBoardLogger

from contextblip.cli.processes import is_rank_zero
from contextblip.errors import ConfigurationError
from contextblip.provenance.record import PROVENANCE, forget_starts
from contextblip.run_record import METRICS, PREDICTIONS, is_tested, read_numbers, read_record

CONFIG_FILE = "config.yaml"
# Lightning starts a node's other processes by running the command again; they read here what rank zero chose.
HANDED_ON = "CONTEXTBLIP_RUN_FOLDER"


class RunFolder:
    """The folder of one run: chosen once by rank zero, made at the start, removed if nothing came of it."""

    def __init__(self) -> None:
        self.path = Path()
        self._made = False
        self.configs: list[Path] = []  # what this command wrote

    def choose(self, config: Namespace, subcommand: str) -> None:
        """Choose the folder and, in rank zero, make it.

        Args:
            config: Values of the subcommand.
            subcommand: fit, validate, test or predict.

        Raises:
            ConfigurationError: ``run_dir`` holds another run.
        """
        given: str | None = config["run_dir"]
        for key in ("run_dir", "experiment"):
            _check_name(key, config[key])
        if _is_launched_child():
            self.path = Path(os.environ[HANDED_ON])
        elif given is not None:
            self.path = Path(given)
            _refuse_foreign(self.path, config, subcommand)
            if subcommand == "predict" and not config["trainer"]["fast_dev_run"]:
                _refuse_tested(self.path)
        elif "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self.path = self._agree_under_torchrun(_experiment_folder(config))
        elif SLURMEnvironment.detect():
            self.path = _slurm_folder(_experiment_folder(config), int(os.environ["SLURM_NTASKS"]))
        else:
            self.path = self._next_version(
                _experiment_folder(config), make=not config["trainer"]["fast_dev_run"]
            )
        if is_rank_zero():
            os.environ[HANDED_ON] = str(self.path.absolute())
            if not config["trainer"]["fast_dev_run"] and not self.path.is_dir():
                self.path.mkdir(parents=True)
                self._made = True

    def tensorboard(self) -> TensorBoardLogger:
        """Make the default logger.

        Returns:
            A TensorBoard logger that writes right into the folder.
        """
        return TensorBoardLogger(save_dir=str(self.path), name="", version="")

    def close(self) -> None:
        """Forget the choice, for the process may run more commands; tidy up after a run that never began."""
        if is_rank_zero():
            os.environ.pop(HANDED_ON, None)
        if not self._made or not self.path.is_dir() or (self.path / CONFIG_FILE).is_file():
            return
        for events in self.path.glob("events.out.tfevents.*"):
            events.unlink()
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def discard(self) -> None:
        """Take back what a run wrote before a mistake of the user stopped it, so that it can be repeated."""
        if not is_rank_zero() or not self.path.is_dir():
            return
        recorded = {CONFIG_FILE, *read_record(self.path).values()}
        # of training there may be checkpoints already, of an evaluation nothing is left
        useless = [
            config
            for config in self.configs
            if config.name not in recorded and not config.name.startswith("config_fit")
        ]
        for config in useless:
            config.unlink(missing_ok=True)
        forget_starts(self.path, {config.name for config in useless})
        if not self._made or any(
            (self.path / name).exists() for name in ("checkpoints", METRICS, PREDICTIONS)
        ):
            return
        for pattern in (CONFIG_FILE, PROVENANCE, "hparams.yaml", "events.out.tfevents.*"):
            for file in self.path.glob(pattern):
                file.unlink()

    def _next_version(self, folder: Path, *, make: bool) -> Path:
        """Take the next free number; making the folder claims it, so that two commands never share one."""
        taken = [
            int(path.name.removeprefix("version_"))
            for path in folder.glob("version_*")
            if path.name[8:].isdigit()
        ]
        for version in count(max(taken, default=-1) + 1):
            path = folder / f"version_{version}"
            if not make:
                return path
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            self._made = True
            return path
        raise AssertionError("count() never ends")

    def _agree_under_torchrun(self, folder: Path) -> Path:
        """Let rank zero choose and tell the others through torchrun's store, there before any group."""
        from torch.distributed import TCPStore  # type: ignore[attr-defined]  # documented, not in __all__

        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            raise ConfigurationError(
                "this torchrun set-up offers no store to agree on a run folder; give --run_dir"
            )
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=300))
        key = f"{HANDED_ON}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        if is_rank_zero():
            store.set(key, str(self._next_version(folder, make=True)))
        return Path(store.get(key).decode())


def shown(path: Path) -> str:
    """Write a path as short as it can be.

    Args:
        path: A path.

    Returns:
        The path, relative where it lies below the working directory.
    """
    whole = path.absolute()
    return str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)


def _check_name(key: str, value: str | None) -> None:
    """Refuse what no file system takes."""
    if "\0" in (value or ""):
        raise ConfigurationError(f"{key} {value!r}: no folder can have that name")


def _experiment_folder(config: Namespace) -> Path:
    """Resolve ``runs/<experiment>``; the name may have parts but must stay below runs."""
    name = Path(config["experiment"])
    if name.is_absolute() or ".." in name.parts or not name.parts:
        raise ConfigurationError(
            f"experiment {config['experiment']!r} must be a name below runs/; use --run_dir for a path"
        )
    return Path("runs") / name


def _slurm_folder(folder: Path, tasks: int) -> Path:
    """Name the folder by the job, which all tasks know; further commands of a job get a number appended."""
    step = int(os.environ.get("SLURM_STEP_ID", "0"))
    name = f"job_{SLURMEnvironment.job_id()}{f'.{step}' if step else ''}"
    if (folder / name / CONFIG_FILE).is_file() and not _is_requeued():
        if tasks > 1:  # the tasks could not agree on a number
            raise ConfigurationError(
                f"{folder / name} already holds a run; start each command with its own srun"
            )
        further = (folder / f"{name}_{number}" for number in count(1))
        return next(path for path in further if not path.exists())
    return folder / name


def _refuse_foreign(path: Path, config: Namespace, subcommand: str) -> None:
    """Stop where the folder holds a run that this one does not continue."""
    if not (path / CONFIG_FILE).is_file() or _is_requeued() or config.get("resume") is not None:
        return
    checkpoint = config.get("ckpt_path")
    if checkpoint is not None and Path(checkpoint).absolute().is_relative_to(path.absolute()):
        return
    verb, way = ("resume", "--resume auto") if subcommand == "fit" else (subcommand, "--ckpt_path last")
    raise ConfigurationError(
        f"run_dir {path} already holds a run; choose another folder, or {verb} that run with {way}"
    )


def _refuse_tested(path: Path) -> None:
    """Stop before predictions would take the place of a test's answers, beside numbers that rest on those."""
    if (path / PREDICTIONS).is_file() and is_tested(read_numbers(path)):
        raise ConfigurationError(
            f"run_dir {path} holds the answers of a test, which predict would replace; choose another folder "
            "and name the checkpoint with --ckpt_path"
        )


def _is_requeued() -> bool:
    """SLURM puts a preempted job back with the same id; it goes on in its own folder."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0


def _is_launched_child() -> bool:
    """Tell the processes that Lightning itself started from rank zero."""
    return HANDED_ON in os.environ and not is_rank_zero()
