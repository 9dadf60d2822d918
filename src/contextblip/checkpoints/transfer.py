"""Adapted weights put into a model: what fits is loaded, the rest is an error or a line of the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from contextblip.checkpoints.adapted import check_metadata
from contextblip.checkpoints.names import ADAPTED_PARTS, TEMPERATURE, few, is_backbone_name, part_of
from contextblip.checkpoints.sizes import POSITIONS, resize_positions
from contextblip.checkpoints.structures import AdaptedWeights, Backbone, LoadReport, StateDict
from contextblip.errors import CheckpointError
from contextblip.models.contextblip import ContextBLIP

# The keys that decide a part's shapes, for the message and for what a checkpoint says about them
_SHAPE_KEYS = {
    "adapter": ("adapter_layers", "downsampling_rate", "adapter_fusion", "adapter_zero_init"),
    "mim_decoder": ("decoder_layers", "decoder_text", "image_size"),
    "inter_context": ("inter_context_layers", "max_candidates"),
}


def load_adapted(
    model: ContextBLIP,
    adapted: AdaptedWeights,
    *,
    backbone: Backbone,
    may_be_missing: Sequence[str] = (),
) -> LoadReport:
    """Put what an earlier stage trained into a model that already holds its backbone.

    Where the weights include a whole backbone (stages one and two, published files) its values win;
    otherwise they must have been trained on the backbone at hand.

    Args:
        model: The model; changed only if everything fits.
        adapted: The weights.
        backbone: The backbone that ``model`` holds.
        may_be_missing: Parts that are new in this stage, for example ``inter_context``.

    Returns:
        What was taken, and which tensors the model has no part for.

    Raises:
        CheckpointError: Another backbone, another shape, a part that is missing, or an unknown tensor.
    """
    target = model.state_dict()
    backbone_names = {name for name in target if is_backbone_name(name)}
    complete = backbone_names <= adapted.state_dict.keys()
    if not complete:
        check_metadata(
            {
                "backbone_fingerprint": adapted.backbone_fingerprint,
                "backbone_source": adapted.backbone_source,
            },
            backbone,
            adapted.source,
        )
    taken, report = _sort(adapted, target)
    new = {part_of(prefix) for prefix in may_be_missing}
    missing = [name for name in target if name not in taken and name != TEMPERATURE]
    missing = [name for name in missing if not is_backbone_name(name)]
    untouched = {part_of(name) for name in missing} - {part_of(name) for name in taken}
    lacking = [name for name in missing if part_of(name) not in new & untouched]
    if lacking:
        part = part_of(lacking[0])
        raise CheckpointError(
            f"{adapted.source}: {len(lacking)} tensors that this stage needs are missing: {few(lacking)}; "
            f"{_advice(part, adapted.hyper_parameters)}"
        )
    _check_shapes(taken, target, adapted)
    _check_reading(model, {part_of(name) for name in taken}, adapted)
    model.load_state_dict(taken, strict=False)
    report.matched = len(taken)
    report.notes += [f"starts new: {part}" for part in sorted(untouched)]
    if complete:
        report.notes.append(f"backbone taken from {adapted.source}, not from {backbone.source}")
    return report


def _sort(adapted: AdaptedWeights, target: Mapping[str, Tensor]) -> tuple[StateDict, LoadReport]:
    """Divide tensors into those the model has, those of parts it lacks, and unknown ones (an error)."""
    report = LoadReport(adapted.source, 0)
    parts = {part_of(name) for name in target}
    taken: StateDict = {}
    unknown = []
    for name, tensor in adapted.state_dict.items():
        if name in target:
            taken[name] = tensor
        elif part_of(name) in ADAPTED_PARTS and part_of(name) not in parts:
            report.ignored.append(name)
        else:
            unknown.append(name)
    if unknown:
        raise CheckpointError(
            f"{adapted.source}: {len(unknown)} tensors have no place in this model: {few(unknown)}; "
            f"{_advice(part_of(unknown[0]), adapted.hyper_parameters)}"
        )
    if POSITIONS in taken and taken[POSITIONS].shape[1] != target[POSITIONS].shape[1]:
        before = taken[POSITIONS]
        side = round((target[POSITIONS].shape[1] - 1) ** 0.5)
        taken[POSITIONS] = resize_positions(before.float(), side)
        report.resized.append(f"{POSITIONS} {tuple(before.shape)} -> {tuple(taken[POSITIONS].shape)}")
    return taken, report


def _check_shapes(taken: StateDict, target: Mapping[str, Tensor], adapted: AdaptedWeights) -> None:
    wrong = [name for name in taken if taken[name].shape != target[name].shape]
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{adapted.source}: {len(wrong)} tensors have another shape: {name} is "
            f"{tuple(taken[name].shape)}, this model has {tuple(target[name].shape)}; "
            f"{_advice(part_of(name), adapted.hyper_parameters)}"
        )


def _check_reading(model: ContextBLIP, parts: set[str], adapted: AdaptedWeights) -> None:
    """Compare what decides how tensors are read but not their shape, where the checkpoint knows it."""
    ours: dict[str, Any] = {"itm_token": model.itm_token}
    if "adapter" in parts and model.adapter is not None:
        ours |= {"adapter_layers": list(model.adapter.layers), "adapter_fusion": model.adapter.fusion}
    if "inter_context" in parts and model.inter_context is not None:
        ours["inter_context_heads"] = model.inter_context.heads
    if "mim_decoder" in parts and model.mim_decoder is not None:
        ours["decoder_heads"] = model.mim_decoder.heads
    for key, used in ours.items():
        trained = adapted.hyper_parameters.get(key, used)
        if (list(trained) if isinstance(trained, tuple) else trained) != used:
            raise CheckpointError(
                f"{adapted.source}: was trained with {key} {trained!r}, this model has {used!r}; "
                f"set --model.{key} to the former"
            )


def _advice(part: str, hyper_parameters: Mapping[str, Any]) -> str:
    """Say which keys decide a part's tensors, and what they were where the checkpoint knows."""
    keys = _SHAPE_KEYS.get(part)
    if keys is None:
        return "was another stage or another backbone meant?"
    trained = [f"{key}={hyper_parameters[key]}" for key in keys if key in hyper_parameters]
    if trained:
        return f"it was trained with {', '.join(trained)}: do --model's keys differ?"
    return f"do {', '.join(keys)} differ from its training, or was another stage meant?"
