"""fit, validate, test and predict: LightningCLI with the project's rules."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch import Trainer as LightningTrainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from contextblip.cli.arguments import Arguments, Source, find_default_config, read_sources
from contextblip.cli.checkpoint import compare_with_checkpoint, refuse_code, resolve_checkpoint
from contextblip.cli.checks import check_nothing_lost, check_values
from contextblip.cli.computing import add_computing_keys, computing_callbacks
from contextblip.cli.config_file import RunConfigCallback
from contextblip.cli.errors import ParsingError, hidden_mistake, one_line
from contextblip.cli.hardware import Trainer, resolve_accumulation, resolve_precision
from contextblip.cli.model_checkpoint import ModelCheckpoint
from contextblip.cli.noise import quiet
from contextblip.cli.parser import CommandParser, DiscardLog, limited_imports, named_roots
from contextblip.cli.parsing_errors import explain_parsing
from contextblip.cli.processes import say
from contextblip.cli.results import print_metrics
from contextblip.cli.resuming import find_resumable
from contextblip.cli.run_folder import RunFolder, shown
from contextblip.cli.safeguards import add_safeguard_keys, fit_callbacks
from contextblip.cli.test_after import (
    Which,
    as_test,
    check_test_after,
    checkpoint_to_test,
    prepare_test_after,
)
from contextblip.errors import ConfigurationError, UserError
from contextblip.heap import keep_few_primitives, keep_freed_memory

# (key, value) of the trainer -> the callback that has nothing to do then
IDLE_CALLBACKS = {
    ("logger", False): "LearningRateMonitor",
    ("enable_progress_bar", False): "ThroughputProgressBar",
}


def run(arguments: Arguments) -> None:
    """Run fit, validate, test or predict.

    Args:
        arguments: The command line.

    Raises:
        ConfigurationError: The arguments or files cannot be used.
    """
    default_config = find_default_config()
    sources = read_sources(arguments, default_config)
    extra = sorted(named_roots(sources)) if "--allow-code" in arguments.flags else []
    folder = RunFolder()
    keep_freed_memory()
    keep_few_primitives()
    with quiet(evaluating=arguments.subcommand != "fit"), limited_imports(extra):
        try:
            ContextBLIPCLI(arguments, sources, default_config, folder)
        except ParsingError as error:
            raise ConfigurationError(explain_parsing(error, sources)) from error
        except (UserError, ValueError) as error:
            if (mistake := hidden_mistake(error)) is None:
                raise
            folder.discard()
            raise mistake from None  # the wrapper would lead back to it
        finally:
            folder.close()


def leave_out_idle_callbacks(trainer: Namespace) -> None:
    """Drop callbacks of the defaults that Lightning refuses beside what the user switched off.

    Args:
        trainer: Values of the trainer; changed in place.
    """
    idle = [name for (key, value), name in IDLE_CALLBACKS.items() if trainer[key] is value]
    if isinstance(trainer["callbacks"], list):
        trainer["callbacks"] = [
            callback
            for callback in trainer["callbacks"]
            if callback["class_path"].rpartition(".")[2] not in idle
        ]


class ContextBLIPCLI(LightningCLI):
    """The four subcommands that run a trainer.

    Args:
        arguments: The command line.
        sources: What was given where.
        default_config: The ``lightning_cli.yaml`` in force.
        folder: Where the run leaves what it makes.
    """

    def __init__(
        self, arguments: Arguments, sources: list[Source], default_config: str, folder: RunFolder
    ) -> None:
        self.arguments = arguments
        self.sources = sources
        self.folder = folder
        self.discards = DiscardLog()
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=RunConfigCallback,
            trainer_class=Trainer,
            seed_everything_default=42,
            # LightningCLI fails on default files of the main parser; each subcommand has to be given them.
            parser_kwargs={
                "logger": self._parsing_logger(),
                **{name: {"default_config_files": [default_config]} for name in self.subcommands()},
            },
            parser_class=CommandParser,
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=arguments.words,
            auto_configure_optimizers=False,
        )

    def _parsing_logger(self) -> logging.Logger:
        """Make a logger that hears what jsonargparse drops, and tells nobody else."""
        logger = logging.getLogger("contextblip.cli.parsing")  # a registered one: jsonargparse pickles it
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.handlers = [self.discards]
        return logger

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the keys of the run folder and of the checkpoints, and the two links.

        Args:
            parser: Parser of one subcommand.
        """
        parser.add_argument(
            "--experiment", type=str, default="default", help="Runs go to runs/<experiment>/."
        )
        parser.add_argument(
            "--run_dir",
            type=str | None,
            default=None,
            help="Exact folder of this run; null: runs/<experiment>/version_<next free number>.",
        )
        parser.add_argument(
            "--test_after",
            type=Which | None,
            default=None,
            help="Checkpoint that fit also tests once training is done; null: none.",
        )
        add_safeguard_keys(parser)
        add_computing_keys(parser)
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        # The data need the backbone's vocabulary: a second copy of its path could contradict the first.
        parser.link_arguments("model.init_args.backbone", "data.init_args.backbone")
        # Images are cut to what the vision encoder's position embeddings are resized to.
        parser.link_arguments("model.init_args.image_size", "data.init_args.image_size")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:  # noqa: ARG002
        """Parse, or answer a request for help.

        LightningCLI's own warns about `sys.argv`, which belongs to whoever called `main`.

        Args:
            parser: The main parser.
            args: Unused, the same as the words of ``arguments``.

        Raises:
            SystemExit: Help was asked for.
        """
        if self.arguments.flags & {"--help", "-h"}:
            from contextblip.cli.help import print_experiment_help

            print_experiment_help(self.arguments, self.sources, self._parser(self.arguments.subcommand))
            raise SystemExit(0)
        self.config = parser.parse_args(self.arguments.words)
        check_values(self.run_config, self.sources)
        check_nothing_lost(self.run_config, self.sources, self.discards.messages)

    @property
    def run_config(self) -> Namespace:
        """Values of the chosen subcommand."""
        config: Namespace = self.config[self.arguments.subcommand]
        return config

    def _parse_ckpt_path(self) -> None:
        """Compare with the checkpoint; LightningCLI lets its hyper-parameters win over the user's."""
        config = self.run_config
        if config["resume"] is not None:
            config["ckpt_path"] = find_resumable(config, self.arguments.subcommand)
        if config["ckpt_path"] is not None:
            config["ckpt_path"] = resolve_checkpoint(config["ckpt_path"], config["run_dir"])
            refuse_code(config, allowed="--allow-code" in self.arguments.flags)
            compare_with_checkpoint(config["ckpt_path"], config["model"])

    def before_instantiate_classes(self) -> None:
        """Resolve what depends on the machine, then choose the run folder."""
        config = self.run_config
        check_test_after(config, self.arguments.subcommand, self.sources)
        trainer, checkpoint = config["trainer"], config["checkpoint"]
        trainer["precision"] = resolve_precision(trainer["precision"], trainer["accelerator"])
        self._accumulation = trainer["accumulate_grad_batches"]
        if self.subcommand == "fit":
            resolve_accumulation(config)
        if trainer["default_root_dir"] is not None:
            raise ConfigurationError("trainer.default_root_dir is the run folder here; use --run_dir")
        leave_out_idle_callbacks(trainer)
        if checkpoint["filename"] is None and checkpoint["monitor"] is not None:
            # A name that later stages can count on, where there is only one best
            checkpoint["filename"] = "best" if checkpoint["save_top_k"] == 1 else "best-{epoch}"
        self._dump_config()  # what checkpoints keep as hyper-parameters: values, no places
        self.folder.choose(config, self.arguments.subcommand)
        self.save_config_kwargs = {"folder": self.folder, "subcommand": self.arguments.subcommand}

    def instantiate_trainer(self, **kwargs: Any) -> LightningTrainer:  # noqa: ANN401
        """Make the trainer, with TensorBoard in the run folder unless a logger was asked for.

        Args:
            kwargs: Further arguments of the trainer.

        Returns:
            The trainer.

        Raises:
            ConfigurationError: Lightning refuses its arguments.
        """
        trainer = self.run_config["trainer"]
        if trainer["logger"] in (None, True) and not trainer["fast_dev_run"]:
            kwargs["logger"] = self.folder.tensorboard()
        checkpoints = self._get(self.config_init, "checkpoint")
        # Set here and not in the configuration, which may be used for other runs
        if checkpoints.dirpath is None:
            checkpoints.dirpath = str(self.folder.path.absolute() / "checkpoints")
        if trainer["fast_dev_run"]:
            checkpoints.save_last = False  # Lightning 2.6 would write it at the end of a trial all the same
        try:
            return super().instantiate_trainer(**kwargs, default_root_dir=str(self.folder.path))
        except (MisconfigurationException, TypeError, ValueError, ModuleNotFoundError) as error:
            raise ConfigurationError(f"trainer: {one_line(str(error))}") from error

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> LightningTrainer:
        """Leave our checkpoints out where the user wants none, and add what fit needs."""
        if config["enable_checkpointing"] is False:  # Lightning refuses them then
            callbacks = [callback for callback in callbacks if not isinstance(callback, ModelCheckpoint)]
        if self.subcommand == "fit":
            callbacks = [*callbacks, *fit_callbacks(self.run_config, self.folder.path)]
        if self.run_config["test_after"] is not None:
            callbacks = [*callbacks, prepare_test_after(self.model, self.datamodule)]
        return super()._instantiate_trainer(config, [*callbacks, *computing_callbacks(self.run_config)])

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Let no checkpoint run code, and keep Lightning's table of metrics back, which says no n."""
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        fixed = {"weights_only": True, "verbose": False}
        return kwargs | {key: value for key, value in fixed.items() if key in kwargs}

    def _run_subcommand(self, subcommand: str) -> None:
        """Run, then say what came out and where it lies."""
        which: Which | None = self.run_config["test_after"]
        super()._run_subcommand(subcommand)
        if which is not None:
            with quiet(evaluating=True):
                self._test(which)
        if (which is not None or self.run_config.get("verbose")) and self.trainer.is_global_zero:
            print_metrics(self.trainer.callback_metrics)
        if not self.run_config["trainer"]["fast_dev_run"]:
            say(f"Run folder: {shown(self.folder.path)}")

    def _test(self, which: Which) -> None:
        """Test a checkpoint that training left, as `lightning test` in the run folder would."""
        path = None
        if not self.run_config["trainer"]["fast_dev_run"]:  # which leaves no checkpoint: the weights at hand
            path = checkpoint_to_test(which, self._get(self.config_init, "checkpoint"))
            config = as_test(self.run_config, shown(Path(path)), self._accumulation)
            # it writes the file as the test is set up, and what the test measures is recorded as that file's
            writer = RunConfigCallback(self._parser("test"), config, self.folder, "test")
            self.trainer.callbacks.append(writer)  # type: ignore[attr-defined]  # Lightning sets it elsewhere
        self.trainer.test(self.model, ckpt_path=path, verbose=False, datamodule=self.datamodule)
