"""What a sweep leaves: results without duplicates, summary numbers, table, plot."""

import csv
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from contextblip.errors import ConfigurationError
from contextblip.estimates import seed_interval, wilson_of_share
from contextblip.sweeps.display import Display, shown_time
from contextblip.sweeps.figure import draw
from contextblip.sweeps.plan import Plan, PlannedSweep, Run, show_value
from contextblip.sweeps.results import ResultsFile, is_recorded
from contextblip.sweeps.run_state import mark_done, measure
from contextblip.sweeps.summary import Estimate, estimate, write_summary
from contextblip.sweeps.tables import show_estimate
from contextblip.sweeps.work import Progress, survey

Write = Callable[..., Path]
PlanOf = Callable[..., Plan]
RunSweep = Callable[..., bool]
METRICS = ("accuracy", "accuracy_video", "accuracy_static")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def finish(run: Run, **metrics: float) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, float] = {}
    for name, value in metrics.items():
        numbers |= {f"test/{name}": value, f"n/test/{name}": 200}
    (run.folder / "metrics.json").write_text(json.dumps(numbers))
    mark_done(run, seconds=1.5, finished="2030-01-01T00:00:00+00:00")


@pytest.fixture
def plan(write: Write, plan_of: PlanOf) -> Plan:
    """Two mask ratios, three seeds."""
    return plan_of(write(seeds=[1, 2, 3], paper="table5", measures={"zero_shot": list(METRICS)}))


@pytest.fixture
def rows(plan: Plan) -> dict[str, dict[str, str]]:
    """Accuracies of 0.30, 0.32 and 0.34 at the first ratio; at the second the last seed is missing."""
    results = ResultsFile(Path("out/results.csv"))
    for trial in plan.sweeps[0].trials:
        run = plan.runs[trial.runs["zero_shot"]]
        if (trial.point.values["mask ratio"], trial.seed) == (0.5, 3):
            continue
        value = 0.28 + 0.02 * (trial.seed or 0)
        finish(run, accuracy=value, accuracy_video=value - 0.1, accuracy_static=value + 0.4)
        results.record(run)
    return results.rows()


def test_a_run_has_one_row_however_often_it_is_recorded(plan: Plan) -> None:
    results = ResultsFile(Path("kept/results.csv"))
    runs = [run for run in plan.runs.values() if run.measures]
    for run in runs:
        finish(run, accuracy=0.25, accuracy_video=0.2, accuracy_static=0.5)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(results.record, runs * 5))
    found = read(Path("kept/results.csv"))
    assert sorted(row["hash"] for row in found) == sorted(run.hash for run in runs)
    row = next(row for row in found if row["hash"] == runs[0].hash)
    expected = {
        "sweep": "small",
        "point": "mask ratio 0.25",
        "seed": "1",
        "stage": "zero_shot",
        "seconds": "1.5",
    }
    assert row.items() >= expected.items()
    assert (row["accuracy"], row["n/accuracy"]) == ("0.25", "200")


def test_a_new_measure_is_added_to_an_old_row(write: Write, plan_of: PlanOf) -> None:
    results = ResultsFile(Path("results.csv"))
    first = [run for run in plan_of(write()).runs.values() if run.measures]
    for run in first:
        finish(run, accuracy=0.25, mrr=0.5)
        results.record(run)
    before = read(Path("results.csv"))
    more = [run for run in plan_of(write(measures={"zero_shot": ["mrr"]})).runs.values() if run.measures]
    assert [run.hash for run in more] == [run.hash for run in first]
    assert not is_recorded(more[0], results.rows())
    for run in more:
        results.record(run)
    after = read(Path("results.csv"))
    assert [{key: row[key] for key in old} for old, row in zip(before, after, strict=True)] == before
    assert {row["mrr"] for row in after} == {"0.5"}
    assert is_recorded(more[0], results.rows())


def test_a_line_cut_short_is_no_row_and_swallows_none(plan: Plan) -> None:
    results = ResultsFile(Path("results.csv"))
    first, second = [run for run in plan.runs.values() if run.measures][:2]
    for run in (first, second):
        finish(run, accuracy=0.25, accuracy_video=0.2, accuracy_static=0.5)
    results.record(first)
    with Path("results.csv").open("a") as file:
        file.write("2030-01-01,small,mask")
    results.record(second)
    assert set(results.rows()) == {first.hash, second.hash}


def test_another_kind_of_file_is_refused() -> None:
    Path("results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigurationError, match=r"results.csv is no results file: it has no column hash"):
        ResultsFile(Path("results.csv")).rows()


def test_the_tests_number_comes_before_validations() -> None:
    metrics = {"val/accuracy": 0.1, "test/accuracy": 0.2, "n/test/accuracy": 5, "val/loss": 3.0}
    assert measure(metrics, "accuracy") == (0.2, 5)
    assert measure(metrics, "val/accuracy") == (0.1, None)
    assert measure(metrics, "loss") == (3.0, None)
    with pytest.raises(ConfigurationError, match="there is no metric 'precision'; it has accuracy, loss"):
        measure(metrics, "precision")


def test_summary_numbers(plan: Plan, rows: dict[str, dict[str, str]]) -> None:
    estimates = estimate(plan.sweeps[0], rows)
    write_summary(Path("summary.csv"), estimates, "small")
    first, *_, last = read(Path("summary.csv"))
    interval, shares = seed_interval([0.30, 0.32, 0.34]), wilson_of_share(0.32, 200)
    assert interval is not None
    assert (first["mask ratio"], first["metric"], first["seeds"], first["missing"]) == (
        "0.25",
        "accuracy",
        "3",
        "0",
    )
    numbers = {key: float(first[key]) for key in first if key not in ("sweep", "stage", "metric")}
    assert numbers["mean"] == pytest.approx(0.32)
    assert numbers["sd"] == pytest.approx(0.02)
    assert (numbers["n"], numbers["pooled_n"]) == (200, 600)
    assert (numbers["seed_low"], numbers["seed_high"]) == pytest.approx(interval, abs=1e-6)
    assert (numbers["wilson_low"], numbers["wilson_high"]) == pytest.approx(shares, abs=1e-6)
    assert (last["mask ratio"], last["seeds"], last["missing"], last["pooled_n"]) == ("0.5", "2", "1", "400")


def test_seeds_that_share_a_run_count_once(write: Write, plan_of: PlanOf) -> None:
    config = {"configs": ["experiments/ablations/no_adapter.yaml"]}  # nothing is drawn
    plain = [{"name": "plain", "stages": {"pretrain": None, "zero_shot": config}}]
    plan = plan_of(write(axes=None, variants=plain, seeds=[1, 2]))
    (run,) = plan.runs.values()
    row = {"accuracy": "0.3", "n/accuracy": "100"}
    (found,) = estimate(plan.sweeps[0], {run.hash: row})
    assert (found.values, found.sd, found.pooled_count) == ((0.3,), None, 100)
    assert show_estimate(found) == "30.0 [21.9, 39.6]"


def looks_drawn(path: Path) -> bool:
    with Image.open(path) as image:
        colours = image.convert("RGB").getcolors(maxcolors=1_000_000) or []
        return min(image.size) > 600 and {(0, 114, 178), (213, 94, 0)} <= {rgb for _, rgb in colours}


def test_a_plot_of_numbers_is_drawn(plan: Plan, rows: dict[str, dict[str, str]]) -> None:
    assert draw(Path("plot.png"), plan.sweeps[0], estimate(plan.sweeps[0], rows))
    assert looks_drawn(Path("plot.png"))
    assert not draw(Path("none.png"), plan.sweeps[0], estimate(plan.sweeps[0], {}))


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": [{"key": "model.adapter_layers", "values": [[12], [3, 6, 9, 12]]}]},
        {"axes": [{"key": "model.downsampling_rate", "values": [1, 8]}]},
        {"axes": None, "variants": [{"name": "a longer name of a variant"}, {"name": "b"}]},
        {"axes": [{"key": key, "values": [0.25, 0.5]} for key in ("model.mask_ratio", "model.dropout")]},
    ],
)
def test_plots_of_lists_variants_and_grids_are_drawn(
    changes: dict[str, object], write: Write, plan_of: PlanOf
) -> None:
    measures = {"zero_shot": ["accuracy", "accuracy_video"], "pretrain": ["accuracy_itm"]}
    plan = plan_of(write(**changes, measures=measures))
    planned: PlannedSweep = plan.sweeps[0]
    row = {"accuracy": "0.5", "accuracy_video": "0.4", "accuracy_itm": "0.8"}
    estimates = estimate(planned, {run.hash: row for run in plan.runs.values()})
    assert draw(Path("plot.png"), planned, estimates)
    assert looks_drawn(Path("plot.png"))


def test_values_are_written_short() -> None:
    assert [show_value(v) for v in ([*range(1, 13)], [12], [3, 6, 9], [], None, True, 0.5)] == [
        "1-12",
        "12",
        "3,6,9",
        "none",
        "none",
        "on",
        "0.5",
    ]
    assert [shown_time(seconds) for seconds in (0.0, 61.4, 3600.0)] == ["", "0:01:01", "1:00:00"]


def test_a_number_that_is_no_share_has_no_wilson_interval(plan: Plan) -> None:
    found = Estimate(plan.sweeps[0].points[0], "pretrain", "loss", (1.5, 1.75), 0, 100, 200)
    assert found.wilson is None
    assert show_estimate(found) == "1.625 ± 0.18"


def test_the_live_table_shows_what_matters_first(plan: Plan) -> None:
    progress = survey(plan, {})
    keys = list(plan.runs)
    progress[keys[5]] = Progress("running", seconds=61, metric="loss 1.250")
    progress[keys[8]] = Progress("failed", "error: why")
    console = Console(width=120, height=10, force_terminal=True, color_system=None, record=True)
    with Display(plan.runs, progress, console) as display:
        display.changed(plan.runs[keys[8]], progress[keys[8]])
        display.tick()
        console.print(display.render())
    lines = console.export_text().splitlines()
    assert any(line.startswith(f"{plan.runs[keys[8]].name} failed: error: why") for line in lines)
    table = lines[max(n for n, line in enumerate(lines) if line.startswith("run ")) :]
    assert "failed" in table[1]
    assert "running" in table[2]
    assert "loss 1.250" in table[2]
    assert "1/12 runs ended" in "".join(lines)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_row_of_the_live_table_breaks(width: int, plan: Plan) -> None:
    console = Console(width=width, height=40, force_terminal=True, color_system=None, record=True)
    console.print(Display(plan.runs, survey(plan, {}), console).render())
    assert len(console.export_text().splitlines()) == 2 + len(plan.runs)
