"""Weights of any known form written in another."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from contextblip.checkpoints.adapted import HYPER_PARAMETERS_KEY, check_metadata, read_adapted
from contextblip.checkpoints.files import read_json
from contextblip.checkpoints.huggingface import is_huggingface, save_huggingface
from contextblip.checkpoints.kinds import open_weights
from contextblip.checkpoints.names import ADAPTED_PARTS, TEMPERATURE, is_backbone_name, part_of
from contextblip.checkpoints.native import CONFIG_FILE, save_folder
from contextblip.checkpoints.salesforce import save_salesforce
from contextblip.checkpoints.sizes import fit
from contextblip.checkpoints.sources import load_backbone, own_backbone
from contextblip.checkpoints.structures import AdaptedWeights, Backbone, LoadReport, RawBackbone, StateDict
from contextblip.errors import CheckpointError, ConfigurationError

Form = Literal["contextblip", "salesforce", "huggingface"]


@dataclass
class _Content:
    """A backbone and the adapted parts that stand on it."""

    backbone: Backbone
    adapted: StateDict = field(default_factory=dict)
    hyper_parameters: dict[str, Any] = field(default_factory=dict)


def convert(src: str, dst: str, to: Form) -> LoadReport:
    """Read weights in any form and write them in another.

    ``contextblip`` writes our folder with all parts; ``salesforce`` a file and ``huggingface`` a folder with
    the backbone alone, since those forms have no place for the rest.

    Args:
        src: Anything `load_backbone` or `read_adapted` takes. Of a checkpoint without its backbone, the
            backbone it names is loaded.
        dst: File or folder to write; it must not exist.
        to: The form.

    Returns:
        What was written and what was left out.

    Raises:
        CheckpointError: ``src`` cannot be read, or ``dst`` exists.
        ConfigurationError: There is no such form.
    """
    if to not in get_args(Form):
        raise ConfigurationError(f"--to is {to!r}, choose from {', '.join(get_args(Form))}")
    target = Path(dst).expanduser()
    if target.exists():
        raise CheckpointError(f"{target}: exists and is not overwritten; remove it or choose another name")
    content = _read(src)
    config, state = content.backbone.config, content.backbone.state_dict
    report = dataclasses.replace(content.backbone.report, source=f"{src} -> {dst} ({to})")
    vocabulary = content.backbone.vocabulary
    if to == "contextblip":
        metadata = {"source": src}
        if content.hyper_parameters:
            metadata[HYPER_PARAMETERS_KEY] = json.dumps(content.hyper_parameters, default=str)
        save_folder(target, config, {**state, **content.adapted}, vocabulary, metadata=metadata)
        report.matched = len(state) + len(content.adapted)
        return report
    report.matched = len(state)
    if to == "salesforce":
        save_salesforce(target, config, state)
        if vocabulary is not None:
            report.notes.append(f"the form has no place for the vocabulary {vocabulary}; keep it beside")
    else:
        save_huggingface(target, config, state, vocabulary)
    if content.adapted:
        report.ignored += list(content.adapted)
        parts = ", ".join(sorted({part_of(name) for name in content.adapted}))
        report.notes.append(f"the form has no place for {parts}; --to contextblip keeps them")
    return report


def _read(src: str) -> _Content:
    """Read a source with its adapted parts, if it has any."""
    adapted = read_adapted(src) if _may_be_adapted(Path(src).expanduser()) else None
    if adapted is None:
        return _Content(load_backbone(src))
    backbone = _backbone_of(adapted)
    parts = {name: tensor for name, tensor in adapted.state_dict.items() if part_of(name) in ADAPTED_PARTS}
    return _Content(backbone, parts, adapted.hyper_parameters)


def _may_be_adapted(path: Path) -> bool:
    """Tell whether `read_adapted` reads a source: a run's or the published code's file, or our folder."""
    if path.is_dir():
        file = path / CONFIG_FILE
        return file.is_file() and not is_huggingface(read_json(file))
    return path.is_file() and open_weights(path, shapes_only=True).naming in ("checkpoint", "published")


def _backbone_of(adapted: AdaptedWeights) -> Backbone:
    """Return the backbone that adapted weights hold, else the one they name."""
    own = {n: t for n, t in adapted.state_dict.items() if is_backbone_name(n) or n == TEMPERATURE}
    if any(map(is_backbone_name, own)):
        return fit(RawBackbone(own, *own_backbone(adapted)), adapted.source, None)
    if adapted.backbone_source is None:
        raise CheckpointError(f"{adapted.source}: neither holds its backbone nor names it")
    size = adapted.config.image_size if adapted.config else adapted.hyper_parameters.get("image_size")
    backbone = load_backbone(adapted.backbone_source, size)
    check_metadata({"backbone_fingerprint": adapted.backbone_fingerprint}, backbone, adapted.source)
    return backbone
