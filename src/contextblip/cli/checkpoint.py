"""`--ckpt_path`: which file it means, and how that file's settings differ from the ones in use."""

from __future__ import annotations

import pickle
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace

from contextblip.cli.parser import class_arguments
from contextblip.cli.processes import say
from contextblip.errors import CheckpointError

# Keys that decide which tensors there are, their shapes or how heads read them; no weights fit across them.
ARCHITECTURE_KEYS = frozenset(
    {
        "adapter_fusion",
        "adapter_layers",
        "decoder_heads",
        "decoder_layers",
        "decoder_text",
        "downsampling_rate",
        "image_size",
        "inter_context_heads",
        "inter_context_layers",
        "max_candidates",
        "use_tmim",
    }
)


def resolve_checkpoint(value: str, run_dir: str | None) -> str:
    """Find the file that ``--ckpt_path`` means.

    Args:
        value: A path, ``best`` or ``last`` (of the run in ``run_dir``), or ``hpc``.
        run_dir: Folder of the earlier run.

    Returns:
        A path, or Lightning's own word ``hpc`` as it is.

    Raises:
        CheckpointError: There is no such file, or it lies on another machine.
    """
    if value == "hpc":
        return value
    if "://" in value or value.startswith("registry"):
        raise CheckpointError(
            f"ckpt_path {value}: runs fetch nothing from elsewhere; download the file and name it here"
        )
    if value in ("best", "last"):
        return str(_of_run(value, run_dir))
    if not Path(value).exists():
        raise CheckpointError(f"ckpt_path {value}: no such file{_nearest_file(Path(value))}")
    return value


def refuse_code(config: Namespace, *, allowed: bool) -> None:
    """Refuse checkpoints whose reading may run code that is stored in them.

    Args:
        config: Values of the subcommand; ``ckpt_path`` is a path by now.
        allowed: Whether the user trusts code that is not the project's.

    Raises:
        CheckpointError: A sharded strategy's folder is named without that, or Lightning is asked to unpickle.
    """
    path = config["ckpt_path"]
    if config.get("weights_only") is False:
        raise CheckpointError(
            f"weights_only false would let {path} run code; leave it out: all that runs write loads without"
        )
    if not allowed and Path(path).is_dir():
        raise CheckpointError(
            f"ckpt_path {path} is a folder, as sharded strategies write it: torch reads its .metadata as a "
            "pickle that may run code; --allow-code lifts this for a checkpoint that you trust"
        )


def compare_with_checkpoint(path: str, model: Namespace) -> None:
    """Print how a checkpoint's hyper-parameters differ from the ones in use, which stay in force.

    Args:
        path: The checkpoint.
        model: ``class_path`` and ``init_args`` of the model in use.

    Raises:
        CheckpointError: The file is no Lightning checkpoint, or another class or architecture wrote it.
    """
    if not Path(path).is_file():
        return  # a sharded folder or Lightning's own word: Lightning loads and checks it
    stored = _read_hyper_parameters(path)
    stored.pop("_instantiator", None)
    stored_class, used_class = stored.pop("_class_path", None), model["class_path"]
    if stored_class is not None and stored_class != used_class:
        raise CheckpointError(
            f"ckpt_path {path} was written by {stored_class}, this run uses {used_class}; "
            "--ckpt_path continues the same task, --model.init_from starts from another's weights"
        )
    used = class_arguments(model)
    differences = {
        key: (old, used[key]) for key, old in stored.items() if key in used and _differs(old, used[key])
    }
    clashes = [
        f"{key} {old!r} there, {new!r} here"
        for key, (old, new) in differences.items()
        if key in ARCHITECTURE_KEYS
    ]
    if clashes:
        raise CheckpointError(f"ckpt_path {path} has another architecture: {'; '.join(clashes)}")
    if differences:
        say(f"Differs from {path} (checkpoint -> used):")
    for key, (old, new) in sorted(differences.items()):
        say(f"  model.{key}: {old!r} -> {new!r}")


def _read_hyper_parameters(path: str) -> dict[str, Any]:
    """Load a checkpoint's hyper-parameters; its tensors stay on disk."""
    checkpoint = _read(path)
    if "state_dict" not in checkpoint:
        raise CheckpointError(
            f"ckpt_path {path} holds weights but no Lightning checkpoint; "
            "use --model.init_from or --model.backbone"
        )
    return dict(checkpoint.get("hyper_parameters", {}))


def _read(path: str) -> dict[str, Any]:
    """Load a checkpoint without running anything stored in it; its tensors stay on disk."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"names {found[1]}" if found else "may be cut short"
        raise CheckpointError(
            f"ckpt_path {path} cannot be read as a Lightning checkpoint: refused, for it holds more than "
            f"tensors and plain values ({what})"
        ) from error
    except Exception as error:  # torch raises a dozen kinds for files that are not its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"ckpt_path {path} cannot be read as a Lightning checkpoint: {reason}"
        ) from error
    return checkpoint if isinstance(checkpoint, dict) else {}


def _differs(old: object, new: object) -> bool:
    """Compare values, lists with tuples too."""
    sequences = (list, tuple)
    return bool(
        list(old) != list(new) if isinstance(old, sequences) and isinstance(new, sequences) else old != new
    )


def _of_run(word: str, run_dir: str | None) -> Path:
    """Find the last or best checkpoint of an earlier run."""
    if run_dir is None:
        raise CheckpointError(
            f"ckpt_path {word} needs --run_dir, the folder of the run it belongs to; or give a path"
        )
    folder = Path(run_dir) / "checkpoints"
    last = folder / "last.ckpt"
    if not last.is_file():
        raise CheckpointError(f"ckpt_path {word}: there is no {last}")
    if word == "last":
        return last
    callbacks = _read(str(last)).get("callbacks", {})
    names = [state["best_model_path"] for state in callbacks.values() if state.get("best_model_path")]
    best = [folder / Path(name).name for name in names]  # the run folder may have been moved
    if not best or not best[0].is_file():
        raise CheckpointError(f"ckpt_path best: {last} names no best checkpoint in {folder}; give a path")
    return best[0]


def _nearest_file(path: Path) -> str:
    """Suggest a file of the same folder."""
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, names, n=1, cutoff=0.5)
    return f"; did you mean {path.parent / near[0]}?" if near else ""
