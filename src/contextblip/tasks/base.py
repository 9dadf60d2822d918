"""What every task shares: building the model from a backbone, freezing, and lean checkpoints (Sec. 3.1)."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypedDict, cast

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from torch import Tensor
from torch.nn.modules.module import _IncompatibleKeys

from contextblip.checkpoints import (
    Backbone,
    fingerprint,
    load_adapted,
    load_backbone,
    read_adapted,
    save_backbone,
)
from contextblip.errors import CheckpointError
from contextblip.models.adapter import AdapterFusion
from contextblip.models.config import BackboneConfig
from contextblip.models.contextblip import BACKBONE_PARTS, ContextBLIP, ITMToken
from contextblip.tasks.checking import check, check_stamp, of_backbone, refuse, stamp

log = logging.getLogger(__name__)


class AdapterArguments(TypedDict):
    """Keys of the adapter and of fusion that every stage after the backbone's must share."""

    adapter_layers: Sequence[int]
    downsampling_rate: int
    adapter_fusion: AdapterFusion
    adapter_zero_init: bool
    itm_token: ITMToken


class ContextBLIPTask(LightningModule):
    """Base of the tasks: a ContextBLIP of which some parts train and all others are frozen.

    A checkpoint holds what trained in this stage and every earlier adapted part, not an untouched backbone:
    that is named by its source and fingerprint, and loading on another one is an error.

    Args:
        backbone: Folder, file or hub id of BLIP's weights, ``random:base`` or ``random:miniature``.
        image_size: Side of the input in pixels; ``None`` keeps the backbone's own.
        init_from: Checkpoint or weights of an earlier stage; ``None`` starts from the backbone alone.
        adapter_layers: ViT layers the adapter reads, counted from 1; empty means plain BLIP.
        downsampling_rate: The paper's δ: width of the ViT over width of a down-projection.
        adapter_fusion: Whether the adapter's scales are concatenated (paper's counts) or added.
        adapter_zero_init: Whether the adapter's update starts at zero, by a gate that is learned.
        itm_token: First token of an image-grounded text: [ENC] as BLIP was trained, or [CLS].
    """

    # Parts of the model that receive gradients; all others are frozen and stay in evaluation mode.
    trained_parts: tuple[str, ...] = ()
    # Parts that a file given by init_from may lack, since they first appear in this stage.
    new_parts: tuple[str, ...] = ()
    # Whether a random backbone is kept in the run folder, where later stages can name it.
    keeps_random_backbone = True
    # What the candidates are ranked by, in the tasks that rank.
    ranks_by: str | None = None

    model: ContextBLIP

    def __init__(
        self,
        backbone: str,
        image_size: int | None = None,
        init_from: str | None = None,
        adapter_layers: Sequence[int] = (),
        downsampling_rate: int = 2,
        adapter_fusion: AdapterFusion = "concat",
        adapter_zero_init: bool = False,
        itm_token: ITMToken = "enc",
    ) -> None:
        super().__init__()
        check(image_size is None or image_size > 0, "image_size", image_size, "a positive number of pixels")
        self.backbone = backbone
        self.image_size = image_size
        self.init_from = init_from
        self.adapter_arguments: AdapterArguments = {
            "adapter_layers": list(adapter_layers),
            "downsampling_rate": downsampling_rate,
            "adapter_fusion": adapter_fusion,
            "adapter_zero_init": adapter_zero_init,
            "itm_token": itm_token,
        }
        # The untouched backbone's keys are absent by design; load_state_dict checks what may be missing.
        self.strict_loading = False
        self._backbone: Backbone | None = None
        self._unwritten_backbone: dict[str, Tensor] | None = None
        self._backbone_adapted = "vision_encoder" in self.trained_parts
        self._untrained: set[str] = set()

    def build_model(self, config: BackboneConfig) -> ContextBLIP:
        """Build the stage's model with random weights.

        Args:
            config: The backbone's sizes.

        Returns:
            The model.
        """
        raise NotImplementedError

    def configure_model(self) -> None:
        """Load the backbone and what earlier stages trained, and freeze the rest; done once."""
        if hasattr(self, "model"):
            return
        backbone = load_backbone(self.backbone, self.image_size)
        _say(backbone.report.lines())
        self.model = self.build_model(backbone.config)
        self._untrained = {name for name, _ in self.model.named_children()} - set(BACKBONE_PARTS)
        _load_backbone_parts(self.model, backbone)
        if self.init_from is not None:
            self._load_init_from(backbone)
        if self.keeps_random_backbone and backbone.source.startswith("random:"):
            self._unwritten_backbone = backbone.state_dict
        backbone.state_dict = {}  # the model holds a copy; a second one would double the memory
        self._backbone = backbone
        self._freeze()
        self.train(self.training)

    def _load_init_from(self, backbone: Backbone) -> None:
        """Load what an earlier stage trained and note whether it brought a backbone of its own."""
        adapted = read_adapted(cast(str, self.init_from))
        report = load_adapted(self.model, adapted, backbone=backbone, may_be_missing=self.new_parts)
        _say(report.lines())
        loaded = {key.split(".")[0] for key in adapted.state_dict}
        self._untrained -= loaded
        self._backbone_adapted |= bool(loaded & set(BACKBONE_PARTS))
        if self.ranks_by not in (None, "candidate") and "score_head" in loaded:
            head = str(self.ranks_by).upper()  # ITM, ITC or both: fine-tuning's loss has none of them
            log.warning("%s is fine-tuned: its %s head, which ranks here, was not", self.init_from, head)

    def _freeze(self) -> None:
        """Leave gradients on the trained parts only, before any strategy wraps the module."""
        for name, part in self.model.named_children():
            part.requires_grad_(name in self.trained_parts)

    def train(self, mode: bool = True) -> Self:
        """Set the mode, keeping frozen parts in evaluation mode so that no dropout is active in them.

        Args:
            mode: True for training.

        Returns:
            The task itself.
        """
        super().train(mode)
        if hasattr(self, "model"):
            parts = dict(self.model.named_children())
            self.model.training = mode and set(parts) <= set(self.trained_parts)
            for name, part in parts.items():
                part.train(mode and name in self.trained_parts)
        return self

    @property
    def backbone_config(self) -> BackboneConfig:
        """Sizes of the loaded backbone."""
        return self.loaded_backbone.config

    @property
    def loaded_backbone(self) -> Backbone:
        """Where the backbone came from; its weights live in the model only."""
        if self._backbone is None:
            raise RuntimeError("configure_model() has not run yet")
        return self._backbone

    @property
    def run_folder(self) -> Path:
        """Folder of the run; call it on all processes."""
        return Path(self.trainer.log_dir or self.trainer.default_root_dir)

    @property
    def vocabulary(self) -> Path | None:
        """Vocabulary that belongs to the backbone: its own, else the data module's."""
        found = self.loaded_backbone.vocabulary
        return found or getattr(getattr(self.trainer, "datamodule", None), "vocabulary", None)

    def on_fit_start(self) -> None:
        """Keep a random backbone and tell which parts are new."""
        # Frozen parts are in evaluation mode on purpose.
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start")
        if new := sorted(self._untrained & set(self.trained_parts)):
            _say([f"new in this run, from random weights: {', '.join(new)}"])
        self._untrained -= set(self.trained_parts)
        self._on_start()

    def on_validation_start(self) -> None:
        """Keep a random backbone and tell of parts without trained weights."""
        self._on_start()

    def on_test_start(self) -> None:
        """Keep a random backbone and tell of parts without trained weights."""
        self._on_start()

    def on_predict_start(self) -> None:
        """Keep a random backbone and tell of parts without trained weights."""
        self._on_start()

    def _on_start(self) -> None:
        self._write_random_backbone()
        if self._untrained and self.global_rank == 0:
            parts = ", ".join(sorted(self._untrained))
            log.warning("random weights in: %s; give trained ones by --model.init_from or --ckpt_path", parts)
        self._untrained = set()  # say it once

    def _write_random_backbone(self) -> None:
        """Write the random draw into the run folder and name that folder as the backbone's source."""
        state_dict, self._unwritten_backbone = self._unwritten_backbone, None
        if state_dict is None or self.trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by the Trainer
            return
        folder = self.run_folder / "backbone"
        self.loaded_backbone.source = str(folder)
        # The draw may have been fitted to another image size since; what is written now counts.
        self.loaded_backbone.fingerprint = fingerprint(state_dict)
        self.save_backbone(folder, state_dict)

    @rank_zero_only
    def save_backbone(self, folder: Path, state_dict: Mapping[str, Tensor]) -> None:
        """Write a backbone folder that knows its own sizes.

        Args:
            folder: Where to.
            state_dict: The backbone's tensors under our names.
        """
        save_backbone(folder, self.backbone_config, dict(state_dict), self.vocabulary)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave an untouched backbone out and say which one it is.

        Args:
            checkpoint: What is about to be written; changed in place.
        """
        stamp(checkpoint, self.loaded_backbone, self._backbone_adapted)
        hyper_parameters = checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {})
        if "backbone" in hyper_parameters and self.keeps_random_backbone:
            # A random backbone can only be found again by the folder it was written to.
            hyper_parameters["backbone"] = self.loaded_backbone.source

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint belongs to the loaded backbone.

        Args:
            checkpoint: What was read.

        Raises:
            CheckpointError: It is not one of ours, or was trained on another backbone.
        """
        check_stamp(checkpoint, self.loaded_backbone)
        self._backbone_adapted |= any(of_backbone(key) for key in checkpoint["state_dict"])

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Load a checkpoint's tensors; only an untouched backbone's may be absent.

        Args:
            state_dict: Tensors by name.
            strict: Whether not even those may be absent.
            assign: As in torch.

        Returns:
            Nothing missing and nothing unexpected.

        Raises:
            CheckpointError: Other tensors are missing, unknown or of another shape.
        """
        task = type(self).__name__
        try:
            outcome = super().load_state_dict(state_dict, strict=False, assign=assign)
        except RuntimeError as error:
            refuse(task, "has other sizes", str(error).split("\n\t")[1:])
        required = strict or self._backbone_adapted
        if missing := [key for key in outcome.missing_keys if required or not of_backbone(key)]:
            refuse(task, "lacks", missing)
        if outcome.unexpected_keys:
            refuse(task, "holds unknown", outcome.unexpected_keys)
        self._untrained = set()
        return _IncompatibleKeys([], [])


def _load_backbone_parts(model: ContextBLIP, backbone: Backbone) -> None:
    """Copy a backbone into a model; everything the backbone has must fit, and nothing of it may lack."""
    outcome = model.load_state_dict(backbone.state_dict, strict=False)
    missing = [key for key in outcome.missing_keys if key.split(".")[0] in BACKBONE_PARTS]
    if missing or outcome.unexpected_keys:
        names = ", ".join((*missing, *outcome.unexpected_keys)[:3])
        raise CheckpointError(f"{backbone.source}: the backbone lacks or has unknown tensors: {names}")


def _say(lines: Sequence[str]) -> None:
    """Tell the user, once over all processes."""
    for line in lines:
        rank_zero_info(line)
