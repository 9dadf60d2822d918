"""What a run is known by: everything that can change its result, and nothing else."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from typing import Any

from contextblip.sweeps.inputs import fingerprint_images, fingerprint_path, fingerprint_root
from contextblip.sweeps.plan import SHOWN_DIGITS
from contextblip.sweeps.resolving import task_class

# Where results go, what is shown, and how the same sums are computed: none of it changes a result.
NEUTRAL = {
    "": (
        "run_dir", "experiment", "cache", "compile", "gradient_checkpointing", "verbose",
        "return_predictions", "weights_only",
    ),
    "trainer": (
        "accelerator", "strategy", "logger", "enable_progress_bar", "enable_model_summary",
        "enable_checkpointing", "enable_autolog_hparams", "default_root_dir", "log_every_n_steps", "profiler",
        "barebones", "benchmark", "detect_anomaly", "model_registry",
    ),
    "checkpoint": ("dirpath", "verbose", "auto_insert_metric_name", "enable_version_counter"),
    "data": ("num_workers", "backbone", "image_size"),  # the last two repeat the model's
}  # fmt: skip
# With a global batch size the command makes up for the number of devices; without one they enlarge a step.
_DEVICES = ("devices", "num_nodes")
# Callbacks that write and show; any other may stop or change a training.
_WATCHING = ("callbacks.", "lightning.pytorch.callbacks.LearningRateMonitor")
_INPUTS = ("backbone", "init_from", "continue_from", "tokenizer")


def identify(config: dict[str, Any], command: str, upstream: str | None) -> dict[str, Any]:
    """Reduce a resolved configuration to what can change the result.

    Args:
        config: The resolved configuration.
        command: fit, validate, test or predict.
        upstream: Hash of the run whose checkpoint ``model.init_from`` names, and which one; ``None`` where
            it names none or a file of the user.

    Returns:
        Plain values; paths of inputs are replaced by fingerprints of what lies there.
    """
    identity = deepcopy(config)
    model, data = _init_args(identity, "model"), _init_args(identity, "data")
    if not _seed_matters(config, command, upstream):
        identity.pop("seed_everything", None)
    trainer = identity.get("trainer", {})
    if command != "fit" or data.get("global_batch_size") is not None:
        for key in _DEVICES:
            trainer.pop(key, None)
    trainer["callbacks"] = [
        callback
        for callback in trainer.get("callbacks") or []
        if not str(callback.get("class_path")).startswith(_WATCHING)
    ]
    for section, keys in NEUTRAL.items():
        values = {"": identity, "data": data}.get(section, identity.get(section, {}))
        for key in keys:
            values.pop(key, None)
    _replace_inputs(identity, model, data, upstream)
    return {"command": command, **identity}


def _replace_inputs(
    identity: dict[str, Any], model: dict[str, Any], data: dict[str, Any], upstream: str | None
) -> None:
    """Put fingerprints in the place of paths."""
    for values in (model, data):
        for key in _INPUTS:
            if isinstance(values.get(key), str):
                values[key] = fingerprint_path(values[key])
    if upstream is not None:
        model["init_from"] = upstream
    if isinstance(identity.get("ckpt_path"), str):
        identity["ckpt_path"] = fingerprint_path(identity["ckpt_path"])
    if isinstance(data.get("root"), str):
        data["root"] = fingerprint_root(data["root"], identity["data"]["class_path"], data.get("datasets"))
    images = data.get("image_root")
    if isinstance(images, str):
        data["image_root"] = fingerprint_images(images)
    elif isinstance(images, dict):
        data["image_root"] = {name: fingerprint_images(str(place)) for name, place in images.items()}
    if isinstance(data.get("annotation_files"), list):
        data["annotation_files"] = [fingerprint_path(str(file)) for file in data["annotation_files"]]


def digest(identity: dict[str, Any]) -> str:
    """Hash an identity.

    Args:
        identity: As `identify` gives it.

    Returns:
        64 hexadecimal digits.
    """
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def configuration_digest(identity: dict[str, Any], upstream: str | None) -> str:
    """Hash what all seeds of one configuration have in common.

    Args:
        identity: As `identify` gives it.
        upstream: The same hash of the run whose checkpoint it starts from, and which one; ``None`` for none.

    Returns:
        64 hexadecimal digits.
    """
    seedless = deepcopy({key: value for key, value in identity.items() if key != "seed_everything"})
    if upstream is not None:
        _init_args(seedless, "model")["init_from"] = upstream
    return digest(seedless)


def inputs_shown(identity: dict[str, Any]) -> dict[str, str]:
    """Name the weights and the data of a run, short enough for a cell.

    Args:
        identity: As `identify` gives it.

    Returns:
        ``backbone`` and ``data``; empty where the task or data module has no such key.
    """
    return {
        "backbone": short_fingerprint(_init_args(identity, "model").get("backbone")),
        "data": short_fingerprint(_init_args(identity, "data").get("root")),
    }


def short_fingerprint(value: object) -> str:
    """Shorten a fingerprint or record so that it may stand in a cell.

    Args:
        value: Of an identity: ``sha256:`` or ``images:`` and digits, the record of a miniature world, or a
            name such as ``random:base``.

    Returns:
        Twelve hexadecimal digits, for a world behind ``miniature:``; a name as it is; of ``None`` nothing.
    """
    if value is None:
        return ""
    kind, _, rest = str(value).partition(":")
    if kind == "sha256" and " " not in rest:
        return rest[:SHOWN_DIGITS]
    if kind not in ("sha256", "images") and not rest.startswith("{"):
        return str(value)
    short = hashlib.sha256(str(value).encode()).hexdigest()[:SHOWN_DIGITS]
    return short if kind == "sha256" else f"{kind}:{short}"


def _init_args(config: dict[str, Any], section: str) -> dict[str, Any]:
    """Find the values of a class; an empty mapping of the caller's where there are none."""
    spec = config.get(section)
    found = spec.get("init_args") if isinstance(spec, dict) else None
    return found if isinstance(found, dict) else {}


def _seed_matters(config: dict[str, Any], command: str, upstream: str | None) -> bool:
    """Whether anything is drawn: not where a task of which no part trains is evaluated on given weights."""
    if command == "fit":
        return True
    model = _init_args(config, "model")
    task = task_class(config)
    if str(model.get("backbone")).startswith("random:") or getattr(task, "trained_parts", None) != ():
        return True
    is_given = upstream is not None or bool(model.get("init_from") or config.get("ckpt_path"))
    return bool(model.get("adapter_layers")) and not is_given  # an adapter of no file is drawn
