"""What model a run evaluated, in the paper's words: method, stage, and what differs from its settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from contextblip.run_record import CONFIG
from contextblip.runs import Run, read_run

# Settings of the paper's model that change what it is; budgets and learning rates do not
MODEL_SETTINGS: Mapping[str, Any] = {
    "adapter_layers": [3, 6, 9, 12],
    "downsampling_rate": 2,
    "adapter_fusion": "concat",
    "adapter_zero_init": False,
    "itm_token": "enc",
    "parts_score": "mean",
    "inter_context_layers": 2,
    "inter_context_heads": 8,
}
PRETRAINING_SETTINGS: Mapping[str, Any] = {
    "use_tmim": True,
    "mask_ratio": 0.25,
    "mask_strategy": "top",
    "mask_token_row": "word",
    "mask_noise": 0.02,
    "attention_layers": None,
    "attention_heads": None,
    "refine_steps": 1,
    "decoder_text": "fused",
    "decoder_layers": 4,
    "decoder_heads": 12,
    "normalize_pixels": False,
    "negatives": "local",
    "negatives_temperature": None,
    "exclude_same_image": True,
}
PRETRAINING_DATA: Mapping[str, Any] = {"horizontal_flip": False}
# the miniature world keeps its whole texts, since they are short
TEXT_LIMITS: Mapping[str, Any] = {"max_words": 30, "max_tokens": 30}
# joined by the model's parts_score, and kept by every world
TEXT_PARTS: Mapping[str, Any] = {"text_parts": "whole"}
SCORES = {"ZeroShot": "itm", "InterContext": "candidate"}
EVALUATING_TASKS = ("ZeroShot", "FineTuning", "InterContext")
_RANDOM = "random:"
_OF_ADAPTER = ("adapter_", "downsampling_rate")
_LONGEST_CHAIN = 8


@dataclass(frozen=True)
class Identity:
    """What model a run evaluated.

    Attributes:
        method: ``BLIP`` without adapter, else ``ContextBLIP``.
        stage: Whether it was fine-tuned on IMAGECODE.
        inter_context: Whether the inter-context encoder ranks.
        settings: Of the adapter and, where its run is at hand, of its pre-training.
        differences: Settings that are not the paper's, with their values.
        is_unsure: Whether the run that trained the adapter is not at hand, so that its settings are unknown.
    """

    method: Literal["BLIP", "ContextBLIP"]
    stage: Literal["zero-shot", "fine-tuned"]
    inter_context: bool
    settings: Mapping[str, Any]
    differences: Mapping[str, Any]
    is_unsure: bool

    @property
    def name(self) -> str:
        """The method, and what differs from the paper's model."""
        parts = [f"{key} {setting_words(value)}" for key, value in self.differences.items()]
        if self.stage == "fine-tuned" and self.method == "ContextBLIP" and not self.inter_context:
            parts.insert(0, "stage one alone")
        if self.method == "BLIP" and self.inter_context:
            parts.insert(0, "with inter-context encoder")
        return f"{self.method} ({', '.join(parts)})" if parts else self.method


def identify(run: Run) -> Identity:
    """Tell what model a run evaluated.

    Args:
        run: A run of one of `EVALUATING_TASKS`.

    Returns:
        Its identity.
    """
    pretraining = next((step for step in chain(run)[1:] if step.task == "Pretraining"), None)
    model = dict(run.model)
    settings = {key: model.get(key, default) for key, default in MODEL_SETTINGS.items()}
    is_plain = settings["adapter_layers"] == []
    differences = _differences(settings, MODEL_SETTINGS)
    if is_plain:
        # without adapter its settings mean nothing
        differences = {key: value for key, value in differences.items() if not key.startswith(_OF_ADAPTER)}
    else:
        differences |= _pretraining_differences(run, pretraining)
    if run.task in SCORES:
        score = model.get("score", SCORES[run.task])
        differences |= {} if score == SCORES[run.task] else {"score": score}
    differences |= _differences(run.data, TEXT_PARTS)
    if run.world == "real" and run.dataset == "IMAGECODE":
        differences |= _differences(run.data, TEXT_LIMITS)
    if backbone := _random_backbone(chain(run)):
        differences = {"backbone": backbone} | differences
    if pretraining is not None:
        settings |= {key: pretraining.model.get(key, value) for key, value in PRETRAINING_SETTINGS.items()}
    return Identity(
        method="BLIP" if is_plain else "ContextBLIP",
        stage="zero-shot" if run.task == "ZeroShot" else "fine-tuned",
        inter_context=run.task == "InterContext",
        settings=settings,
        differences=differences,
        is_unsure=not is_plain and pretraining is None and bool(run.sources()),
    )


def chain(run: Run) -> list[Run]:
    """List a run and those it started from, the nearest first."""
    steps = [run]
    while len(steps) < _LONGEST_CHAIN and (before := steps[-1].upstream()) is not None:
        steps.append(before)
    return steps


def setting_words(value: object) -> str:
    """Write a setting shortly."""
    if isinstance(value, list):
        whole = len(value) > 2 and all(isinstance(item, int) for item in value)
        if whole and value == list(range(value[0], value[0] + len(value))):
            return f"{value[0]}-{value[-1]}"
        return "+".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


def _random_backbone(steps: Sequence[Run]) -> str | None:
    """Name the random weights that stood for BLIP's and were kept, by a run itself or in another's folder."""
    for step in steps:
        name = str(step.model.get("backbone") or "")
        if name.startswith(_RANDOM):
            return name
        folder = step.locate(name) if name else None
        if folder and folder.is_dir() and (folder.parent / CONFIG).is_file():
            kept = read_run(folder.parent)
            source = str(kept.model.get("backbone") or "")
            if kept.task != "BackbonePretraining" and source.startswith(_RANDOM):
                return source
    return None


def _pretraining_differences(run: Run, pretraining: Run | None) -> dict[str, Any]:
    """List how the adapter's training differs; that it was never trained is one way."""
    if pretraining is not None:
        return _differences(pretraining.model, PRETRAINING_SETTINGS) | _differences(
            pretraining.data, PRETRAINING_DATA
        )
    return {} if run.sources() else {"adapter": "untrained"}


def _differences(given: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    return {key: given[key] for key, value in expected.items() if key in given and given[key] != value}
