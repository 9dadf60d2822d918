"""What readers of weights return: a backbone, adapted weights, and a report of what matched."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from contextblip.models.config import BackboneConfig

StateDict = dict[str, Tensor]
AdaptedKind = Literal["checkpoint", "published-pretraining", "published-stage1", "published-stage2", "folder"]


@dataclass
class LoadReport:
    """What a reader or writer did with the tensors of a file.

    Attributes:
        source: The file, folder, id or preset as the user named it.
        matched: Number of tensors taken.
        ignored: Names of tensors that were left out on purpose.
        resized: Names of tensors whose size was changed, with both sizes.
        notes: Anything else a user should know, one sentence each.
    """

    source: str
    matched: int
    ignored: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the report for people, left-out tensors counted by module."""
        lines = [f"{self.source}: {self.matched} tensors"]
        if self.ignored:
            groups = Counter(_group(name) for name in self.ignored)
            lines.append("left out: " + ", ".join(f"{name} ({count})" for name, count in groups.items()))
        lines += [f"resized: {name}" for name in self.resized]
        return lines + self.notes


@dataclass
class RawBackbone:
    """What a reader finds before anything is checked or changed.

    Attributes:
        state_dict: Tensors in our names, of any type; ``meta`` ones where only sizes were asked for.
        config: Sizes as the source has them.
        vocabulary: Vocabulary file or folder, ``None`` where the source has none.
        ignored: Names of tensors that the source holds and a backbone has no use for.
        notes: Anything else a user should know.
    """

    state_dict: StateDict
    config: BackboneConfig
    vocabulary: Path | None = None
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Backbone:
    """BLIP's weights with their sizes.

    Attributes:
        config: Sizes; ``image_size`` is the one asked for.
        state_dict: fp32 tensors of the backbone parts and ``temperature``, in our names.
        vocabulary: Vocabulary file or folder from which a tokenizer can be loaded, ``None`` where the source
            has none.
        source: As the user named it.
        fingerprint: Of the weights as the source holds them, before any resizing of positions, so that
            adapted weights fit their backbone at every image size.
        report: What matched and what was left out.
    """

    config: BackboneConfig
    state_dict: StateDict
    vocabulary: Path | None
    source: str
    fingerprint: str
    report: LoadReport


@dataclass
class AdaptedWeights:
    """What a stage trained, with or without the backbone it stands on.

    Attributes:
        state_dict: Tensors in our names.
        source: As the user named it.
        kind: Whose form the file has.
        backbone_fingerprint: Of the backbone it was trained on, ``None`` where the file does not say.
        backbone_source: Where that backbone lay, ``None`` where the file does not say.
        hyper_parameters: Keys of the task that trained it; empty where the file does not say.
        config: Sizes of the backbone, ``None`` where the file does not say.
    """

    state_dict: StateDict
    source: str
    kind: AdaptedKind
    backbone_fingerprint: str | None = None
    backbone_source: str | None = None
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    config: BackboneConfig | None = None


def _group(name: str) -> str:
    """Return the module a tensor belongs to; BERT's ``position_ids`` are told apart from weights."""
    return "position_ids" if name.endswith("position_ids") else name.split(".")[0]
