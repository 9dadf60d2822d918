"""Which of the paper's numbers stand beside ours in a sweep's table, and why the others stand below."""

from collections.abc import Callable
from pathlib import Path

import pytest

from contextblip.sweeps.beside_paper import measured_on
from contextblip.sweeps.plan import Plan
from contextblip.sweeps.planning import Settings
from contextblip.sweeps.summary import estimate
from contextblip.sweeps.tables import markdown

Write = Callable[..., Path]
PlanOf = Callable[..., Plan]
METRICS = ("accuracy", "accuracy_video", "accuracy_static")
PART = {f"n/{metric}": "200" for metric in METRICS}
WHOLE = {"n/accuracy": "2302", "n/accuracy_video": "1872", "n/accuracy_static": "430"}
EVALUATE = {"name": "zero_shot", "command": "test", "configs": ["experiments/zero_shot.yaml"]}


@pytest.fixture
def plan(write: Write, plan_of: PlanOf) -> Plan:
    """Two mask ratios, three seeds."""
    return plan_of(write(seeds=[1, 2, 3], paper="table5", measures={"zero_shot": list(METRICS)}))


@pytest.fixture
def rows(plan: Plan) -> dict[str, dict[str, str]]:
    """Accuracies of 0.30, 0.32 and 0.34 at the first ratio; at the second the last seed is missing."""
    found = {}
    for trial in plan.sweeps[0].trials:
        if (trial.point.values["mask ratio"], trial.seed) != (0.5, 3):
            values = [0.28 + 0.02 * (trial.seed or 0) + more for more in (0, -0.1, 0.4)]
            found[trial.runs["zero_shot"]] = PART | dict(zip(METRICS, map(str, values), strict=True))
    return found


def table(plan: Plan, rows: dict[str, dict[str, str]]) -> str:
    return markdown(plan, plan.sweeps[0], estimate(plan.sweeps[0], rows))


def test_the_papers_numbers_stand_beside_ours_where_both_measure_the_same(
    plan: Plan, rows: dict[str, dict[str, str]]
) -> None:
    text = table(plan, {key: row | WHOLE for key, row in rows.items()})
    head, _, first, second = text.splitlines()[2:6]
    assert head == "| mask ratio | all | all, paper | video | video, paper | static | static, paper |"
    assert first == (
        "| 0.25 | 32.0 ± 2.0 [30.1, 33.9] | 31.1 † | 22.0 ± 2.0 [20.2, 23.9] | 19.9 "
        "| 72.0 ± 2.0 [67.6, 76.0] | 79.5 † |"
    )
    assert second.startswith("| 0.5 | 31.0 ± 1.4 [29.1, 32.9] | 31.0 |")
    assert "2 or 3 seeds a point; n: all 2,302, video 1,872, static 430" in text
    assert "paper: Table 5, same split" in text
    assert "3 numbers are still missing" in text
    assert "† mask ratio 0.25: the paper's default setting" in text


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (
            {},
            "Ours are measured on 200 queries (all), the paper's on the 2,302 of IMAGECODE's validation",
        ),
        (
            WHOLE | {"n/accuracy_video": "1871"},
            "Ours are measured on 1,871 queries (video), the paper's on the 1,872",
        ),
        (WHOLE | {"n/accuracy_static": ""}, "Ours are measured on an unknown number of queries (static)"),
    ],
)
def test_numbers_of_a_part_of_the_split_never_stand_beside_the_papers(
    counts: dict[str, str], reason: str, plan: Plan, rows: dict[str, dict[str, str]]
) -> None:
    text = table(plan, {key: row | counts for key, row in rows.items()})
    assert "paper |" not in text
    assert "same split" not in text
    assert f"**For reference only: the paper's Table 5.** {reason}" in text
    assert "| mask ratio 0.50 | 31.0 | 20.6 | 76.3 |" in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"data.root": "miniature:world"}, "Ours are measured on the miniature world"),
        ({"data.root": "drawn"}, "Ours are measured on the miniature world"),
        ({"data.root": "drawn/imagecode"}, "Ours are measured on the miniature world"),
        (
            {"data.test_split": "test"},
            "It is on IMAGECODE's validation split, ours on IMAGECODE's test split; they do not compare.",
        ),
    ],
)
def test_numbers_of_other_data_never_stand_beside_the_papers(
    arguments: dict[str, str], reason: str, write: Write, plan_of: PlanOf, world: Path
) -> None:
    Path("drawn").symlink_to(world)
    plan = plan_of(write(stages=[EVALUATE | {"arguments": arguments}], axes=None, paper="table5"))
    text = table(plan, {run.hash: {"accuracy": "0.5"} | WHOLE for run in plan.runs.values()})
    assert "paper |" not in text
    assert f"**For reference only: the paper's Table 5.** {reason}" in text
    assert "| mask ratio 0.50 | 31.0 | 20.6 | 76.3 |" in text


@pytest.mark.parametrize(
    ("paper", "experiment", "row"),
    [
        ("table15", "zero_shot", "| ContextBLIP | 30.6 † | 19.9 | 77.0 † | 38.5 | 28.7 | 81.2 |"),
        ("table5", "zero_shot", "| mask ratio 0.50 | 31.0 | 20.6 | 76.3 |"),  # none of its rows is ours
        ("table16", "mmvp_vlm", "53.3 | 47.4 |"),
    ],
)
def test_the_papers_table_stands_below_where_no_cell_of_it_belongs_beside_ours(
    paper: str, experiment: str, row: str, write: Write, plan_of: PlanOf
) -> None:
    stage = EVALUATE | {"configs": [f"experiments/{experiment}.yaml"]}
    measures = {"zero_shot": ["accuracy" if experiment == "zero_shot" else "pair_accuracy"]}
    plan = plan_of(write(stages=[stage], axes=None, paper=paper, measures=measures))
    found = {"accuracy": "0.5", "pair_accuracy": "0.4", "n/pair_accuracy": "135"} | WHOLE
    text = table(plan, {run.hash: found for run in plan.runs.values()})
    assert "same split" not in text
    number = paper.removeprefix("table")
    reason = "None of its numbers belongs to a row and a column of ours."
    assert f"**For reference only: the paper's Table {number}.** {reason}" in text
    assert row in text


@pytest.mark.parametrize(
    ("experiment", "overlays", "place"),
    [
        ("zero_shot", [], "IMAGECODE, validation split"),
        ("zero_shot", [Path("experiments/miniature")], "miniature world, validation split"),
        ("mmvp_vlm", [], "MMVP-VLM"),
        ("mmvp_vlm", [Path("experiments/miniature")], "miniature world, MMVP-VLM"),
    ],
)
def test_a_plot_says_on_what_it_was_measured(
    experiment: str, overlays: list[Path], place: str, write: Write, plan_of: PlanOf
) -> None:
    stage = EVALUATE | {"configs": [f"experiments/{experiment}.yaml"]}
    plan = plan_of(write(stages=[stage], axes=None), settings=Settings(Path("out"), overlays))
    assert measured_on(plan, plan.sweeps[0]) == place
