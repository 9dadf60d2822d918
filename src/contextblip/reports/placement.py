"""Where a run's numbers belong in the paper's tables."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from contextblip.groups import MMVP_TYPES, SAMPLE_SEEDS
from contextblip.paper import PaperTable
from contextblip.reports.identity import Identity, setting_words

TABLES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 15, 16)
# Without --table these are shown only where at least two of their rows can be filled
ABLATION_TABLES = (4, 5, 6, 7)
SUBSETS = {"all": "accuracy", "video": "accuracy_video", "image": "accuracy_static"}
SWEPT = {5: "mask_ratio", 6: "adapter_layers", 7: "downsampling_rate"}
# Accuracies of subsets that the best constant guess is known for
PRIORS = {name: name.replace("accuracy", "baseline/position_prior") for name in SUBSETS.values()}
PRIOR_ROW = "Position prior"


class Place(NamedTuple):
    """Where a run's numbers belong.

    Attributes:
        row: Label of the row; one that the paper lacks where the model is not one of the paper's.
        columns: Name of the accuracy for each column it fills.
    """

    row: str
    columns: Mapping[str, str]


def data_of(number: int) -> str:
    """Name the data set of a table."""
    return "MMVP-VLM" if number in (3, 16) else "IMAGECODE"


def find_place(table: PaperTable, identity: Identity) -> Place | str:
    """Find where a model belongs in a table of its data set.

    Args:
        table: The table.
        identity: The model.

    Returns:
        The place, or why it has none.
    """
    return _FINDERS[table.number](table, identity)


def _find_main(_: PaperTable, identity: Identity) -> Place:
    """Tables 1 and 15: a column a stage and subset."""
    stage = "zs" if identity.stage == "zero-shot" else "ft"
    return Place(identity.name, {f"{stage}_{subset}": name for subset, name in SUBSETS.items()})


def _find_phenomena(table: PaperTable, identity: Identity) -> Place:
    """Table 2: a row a method and stage."""
    row = f"{identity.name}, {identity.stage}"
    return Place(row, {column: f"accuracy/{column}" for column in table.columns})


def _find_patterns(_: PaperTable, identity: Identity) -> Place:
    """Tables 3 and 16: the paper's model is the fine-tuned one, its BLIP the zero-shot one."""
    names = {f"p{number}": f"pair_accuracy/{name}" for number, name in enumerate(MMVP_TYPES, start=1)}
    published = "zero-shot" if identity.method == "BLIP" else "fine-tuned"
    return Place(_with_stage(identity, published), {**names, "average": "pair_accuracy"})


def _find_ablation(_: PaperTable, identity: Identity) -> Place | str:
    """Table 4: a part of the method is missing in each row."""
    zero_shot = identity.stage == "zero-shot"
    differences = dict(identity.differences)
    without_tmim = differences.pop("use_tmim", True) is False
    if differences:
        return f"it differs from the paper's model in {_words(differences)}"
    if identity.method == "BLIP" and identity.inter_context:
        return "it is BLIP with the inter-context encoder; the table's row without adapter is plain BLIP"
    if identity.method == "BLIP":
        row = "w/o multi-scale adapter"
    elif without_tmim and (zero_shot or identity.inter_context):
        row = "w/o TMIM loss"
    elif zero_shot or identity.inter_context:
        row = "ContextBLIP"
    elif not without_tmim:
        row = "w/o inter-context encoder"
    else:
        return "it lacks both TMIM and the inter-context encoder"
    return Place(row, {"zero_shot" if zero_shot else "fine_tuned": SUBSETS["video"]})


def _find_sweep(table: PaperTable, identity: Identity) -> Place | str:
    """Tables 5 to 7: a row a value of one setting, all others the paper's."""
    setting = SWEPT[table.number]
    if identity.stage != "zero-shot":
        return "the table is zero-shot"
    if identity.method == "BLIP":
        return "it has no adapter"
    if setting not in identity.settings:
        return f"the run that pre-trained its adapter is not at hand, so that {setting} is unknown"
    if differences := {key: value for key, value in identity.differences.items() if key != setting}:
        return f"it also differs from the paper's model in {_words(differences)}"
    value = identity.settings[setting]
    known = next((row.label for row in table.rows if row.details[setting] == value), None)
    return Place(known or f"{setting.replace('_', ' ')} {setting_words(value)}", SUBSETS)


def _find_draws(_: PaperTable, identity: Identity) -> Place:
    """Table 8: three draws of each subset; the paper does not say which stage it is."""
    columns = {
        f"{subset}_{number}": f"accuracy/sample_{subset}_{seed}"
        for subset in ("video", "static")
        for number, seed in enumerate(SAMPLE_SEEDS, start=1)
    }
    return Place(identity.name, columns)


def _find_propositions(table: PaperTable, identity: Identity) -> Place:
    """Table 10: its counts are those of the fine-tuned model of Table 15."""
    columns = {column: f"accuracy/propositions_{column}" for column in table.columns}
    return Place(_with_stage(identity, "fine-tuned"), columns)


def _with_stage(identity: Identity, published: str) -> str:
    """Name the model, and its stage where it is not the one that the paper's row has."""
    return identity.name if identity.stage == published else f"{identity.name}, {identity.stage}"


def _words(differences: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} ({setting_words(value)})" for key, value in differences.items())


_FINDERS: Mapping[int, Callable[[PaperTable, Identity], Place | str]] = {
    1: _find_main,
    2: _find_phenomena,
    3: _find_patterns,
    4: _find_ablation,
    5: _find_sweep,
    6: _find_sweep,
    7: _find_sweep,
    8: _find_draws,
    10: _find_propositions,
    15: _find_main,
    16: _find_patterns,
}
