"""The sweep file: what is wrong with it is one clear line; each of the shipped ones is planned."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from benchmarks.miniature_results import CONFIGURATIONS, Configuration
from contextblip.errors import ConfigurationError
from contextblip.paper.reader import paper_table
from contextblip.sweeps.beside_paper import paper_row
from contextblip.sweeps.definition import read_sweeps
from contextblip.sweeps.plan import Plan
from contextblip.sweeps.planning import Settings

ROOT = Path(__file__).parents[2]
OUT = Path("out")
PRETRAIN = {"name": "pretrain", "command": "fit", "configs": ["experiments/pretrain.yaml"]}
ZERO_SHOT = {"name": "zero_shot", "command": "test", "configs": ["experiments/zero_shot.yaml"]}
Write = Callable[..., Path]
PlanOf = Callable[..., Plan]
SWEEPS = sorted((ROOT / "experiments" / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": [1]}, "has no key 'seed'; did you mean seeds?"),
        ({"stages": []}, "needs stages: a list"),
        ({"stages": [{"name": "a", "command": "fit"}]}, "stage a needs configs: a list"),
        ({"stages": [{**PRETRAIN, "config": []}]}, "has no key 'config'; did you mean configs?"),
        ({"stages": [{**PRETRAIN, "command": "train"}]}, "no command 'train'"),
        ({"stages": [PRETRAIN, {**ZERO_SHOT, "init_from": "pretrian"}]}, "did you mean pretrain?"),
        (
            {"stages": [{**PRETRAIN, "init_from": "pretrain"}]},
            "no earlier stage 'pretrain'; there is none yet",
        ),
        ({"stages": [PRETRAIN, PRETRAIN]}, "stage 'pretrain' stands there twice"),
        ({"axes": [{"key": "model.mask_ratio", "values": []}]}, "needs values"),
        ({"axes": [{"key": "model.mask_ratio", "values": [1, 1]}]}, "value 1 stands there twice"),
        (
            {"axes": [{"key": "a", "values": [1], "stages": ["zero"]}]},
            "no stage 'zero'; did you mean zero_shot?",
        ),
        ({"variants": [{"name": "a"}]}, "axes and variants exclude each other"),
        ({"axes": None, "variants": [{"name": "a", "stages": {"b": None}}]}, "variant 'a': no stage 'b'"),
        ({"seeds": ["x"]}, "seeds must be whole numbers from 0, not 'x'"),
        ({"measures": {"zeroshot": []}}, "did you mean zero_shot?"),
        ({"paper": "table55"}, "paper: table55: the paper has no such table; there are table1 to table18"),
        ({"paper": "table5", "measures": None}, "say what is measured"),
        ({"name": "a/b"}, "must be a plain folder name"),
    ],
)
def test_what_is_wrong_is_one_line(changes: dict[str, object], message: str, write: Write) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as error:
        read_sweeps(write(**changes))
    assert "small.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def axis(key: str, **more: object) -> dict[str, object]:
    return {"axes": [{"key": key, "values": [1, 2], **more}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (axis("model.mask_ration"), "no task has such a key; did you mean model.mask_ratio?"),
        (axis("model.mask_ratio", stages=["zero_shot"]), "stage zero_shot: no task has such a key"),
        (
            axis("model.mask_ratio") | {"stages": [{**PRETRAIN, "configs": ["no.yaml"]}]},
            "no.yaml: no such file",
        ),
        ({"axes": [{"key": "model.mask_ratio", "values": ["x"]}]}, "mask_ratio"),
        (
            {"measures": {"zero_shot": ["accuracy_statik"]}},
            "measures: zero_shot: there is no metric 'accuracy_statik'; did you mean accuracy_static?",
        ),
        ({"measures": {"zero_shot": ["test/mean_rnk"]}}, "did you mean mean_rank?"),
    ],
)
def test_what_no_task_takes_is_one_line(
    changes: dict[str, object], message: str, write: Write, plan_of: PlanOf
) -> None:
    changes = {**changes, "measures": None} if "stages" in changes else changes
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        plan_of(write(**changes))


@pytest.mark.parametrize("name", ["val/loss", "itc/text_recall@7", "baseline/position_prior_video", "speed"])
def test_measures_that_exist_or_are_like_none_pass(name: str, write: Write, plan_of: PlanOf) -> None:
    assert plan_of(write(measures={"zero_shot": [name]})).targets()


def test_measures_of_other_packages_may_have_any_name(write: Write, plan_of: PlanOf) -> None:
    file = write(measures={"zero_shot": ["accuracy_statix"]})
    assert plan_of(file, settings=Settings(OUT, allow_code=True)).targets()


def test_a_missing_file_suggests_another(write: Write) -> None:
    write()
    with pytest.raises(
        ConfigurationError, match=re.escape("did you mean experiments/sweeps/mask_ratio.yaml?")
    ):
        read_sweeps(Path("experiments/sweeps/mask_ratios.yaml"))


def test_overlays_and_settings_must_have_something_to_change(write: Write, plan_of: PlanOf) -> None:
    file = write()
    with pytest.raises(ConfigurationError, match="--overlay nowhere: no such folder"):
        plan_of(file, settings=Settings(OUT, [Path("nowhere")]))
    with pytest.raises(ConfigurationError, match=re.escape("holds none of pretrain.yaml, zero_shot.yaml")):
        plan_of(file, settings=Settings(OUT, [Path("experiments/sweeps")]))
    with pytest.raises(
        ConfigurationError, match=re.escape("--set data.rot: no task has such a key; did you")
    ):
        plan_of(file, settings=Settings(OUT, values={"data.rot": "x"}))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "model.mask_ratio",
            "--set model.mask_ratio: sweep small sweeps this key; change the values of its axis",
        ),
        ("seed_everything", "--set seed_everything: sweep small sets the seeds; say --seeds SEED"),
    ],
)
def test_values_that_would_do_nothing_are_refused(
    key: str, message: str, write: Write, plan_of: PlanOf
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        plan_of(write(), settings=Settings(OUT, values={key: 1}))


def test_values_reach_the_stages_that_an_axis_leaves_alone(write: Write, plan_of: PlanOf) -> None:
    axes = [{"key": "model.downsampling_rate", "values": [1, 4], "stages": ["pretrain"]}]
    plan = plan_of(write(axes=axes), settings=Settings(OUT, values={"model.downsampling_rate": 8}))
    tests = [run for run in plan.runs.values() if run.stage == "zero_shot"]
    assert {run.identity["model"]["init_args"]["downsampling_rate"] for run in tests} == {8}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweeps_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    header = text[: re.search("^[^#]", text, re.MULTILINE).start()]  # type: ignore[union-attr]  # each has one
    assert header.startswith(("# Table", "# Ours, no table of the paper"))
    assert f"# lightning sweep experiments/sweeps/{path.name}" in header
    assert all(word in header for word in ("Expected", "ardware", "--overlay experiments/miniature"))
    for sweep in read_sweeps(path):
        assert sweep.seeds == (42, 43, 44)
        assert (sweep.paper is None) == (sweep.name == "mask_strategy")


@pytest.fixture
def tables(plan_of: PlanOf) -> Plan:
    """What `make tables` runs, which is all shipped sweeps."""
    path = ROOT / "experiments" / "sweeps" / "tables.yaml"
    plan = plan_of(path, settings=Settings(OUT, [Path("experiments/miniature")]))
    assert {planned.sweep.name for planned in plan.sweeps} == {path.stem for path in SWEEPS} - {"tables"}
    return plan


def runs_of(plan: Plan, sweep: str) -> dict[tuple[str, int | None], dict[str, str]]:
    (planned,) = [each for each in plan.sweeps if each.sweep.name == sweep]
    return {(trial.point.label, trial.seed): trial.runs for trial in planned.trials}


def test_shipped_sweeps_are_planned_on_the_miniature(tables: Plan) -> None:
    for planned in tables.sweeps:
        if planned.sweep.paper is not None:
            paper = paper_table(planned.sweep.paper)
            assert all(paper_row(paper, planned, point) is not None for point in planned.points)
    assert all("experiments/miniature/" in " ".join(run.words) for run in tables.runs.values())
    counts = Counter(run.stage for run in tables.runs.values())
    # 11 configurations are pre-trained; plain BLIP draws nothing, so its three seeds are one test
    assert counts == {
        "pretrain": 11 * 3,
        "zero_shot": 11 * 3 + 1,
        "stage_one": 3 * 3,
        "stage_two": 2 * 3,
        "fine_tuned": 4 * 3,
    }
    # what tells most comes first
    told = dict.fromkeys((run.stage, run.used_by[0].point) for run in tables.runs.values() if run.measures)
    assert list(told)[:5] == [
        ("zero_shot", "w/o multi-scale adapter"),
        ("zero_shot", "ContextBLIP"),
        ("zero_shot", "w/o TMIM loss"),
        ("fine_tuned", "ContextBLIP"),
        ("fine_tuned", "w/o inter-context encoder"),
    ]
    # the default of all of them is one run a seed
    swept = ("mask_ratio", "adapter_layers", "downsampling_rate", "mask_strategy")
    whole = runs_of(tables, "table4")["ContextBLIP", 44]
    assert all(whole in runs_of(tables, sweep).values() for sweep in swept)


def test_the_row_without_inter_context_encoder_is_stage_one_of_the_whole(tables: Plan) -> None:
    runs = runs_of(tables, "table4_fine_tuned")
    zero_shot = runs_of(tables, "table4")
    for seed in (42, 43, 44):
        whole, without = runs["ContextBLIP", seed], runs["w/o inter-context encoder", seed]
        assert whole["pretrain"] == zero_shot["ContextBLIP", seed]["pretrain"]
        assert {key: whole[key] for key in ("pretrain", "stage_one")} == {
            key: without[key] for key in ("pretrain", "stage_one")
        }
        assert "stage_two" not in without
        one, two = tables.runs[without["fine_tuned"]], tables.runs[whole["fine_tuned"]]
        assert (one.upstream, two.upstream) == (whole["stage_one"], whole["stage_two"])
        assert tables.runs[whole["stage_two"]].upstream == whole["stage_one"]
        tasks = [run.identity["model"]["class_path"] for run in (one, two)]
        assert tasks == ["contextblip.tasks.FineTuning", "contextblip.tasks.InterContext"]
        assert one.checkpoint is not None
        assert one.checkpoint.name == "best.ckpt"


def test_the_miniatures_tables_know_each_measured_run_by_one_name(tables: Plan) -> None:
    named: dict[str, set[Configuration]] = {}
    for planned in tables.sweeps:
        for trial in planned.trials:
            for stage in planned.sweep.measures:
                found = [c for c in CONFIGURATIONS if c.stage == stage and trial.point.label in c.points]
                named.setdefault(tables.runs[trial.runs[stage]].configuration, set()).update(found)
                assert len(found) == 1, trial
    assert [len(found) for found in named.values()] == [1] * len(CONFIGURATIONS)
    assert set().union(*named.values()) == set(CONFIGURATIONS)


def test_an_overlay_follows_each_file_that_it_has_one_for(write: Write, plan_of: PlanOf) -> None:
    change = {"configs": ["experiments/ablations/no_truncation.yaml"]}
    variants = [{"name": "long", "stages": {"pretrain": change}}]
    plan = plan_of(
        write(axes=None, variants=variants), settings=Settings(OUT, [Path("experiments/miniature")])
    )
    words = next(run.words for run in plan.runs.values() if run.stage == "pretrain")
    assert [word.removeprefix("experiments/") for word in words if word.endswith(".yaml")] == [
        "pretrain.yaml",
        "miniature/pretrain.yaml",
        "ablations/no_truncation.yaml",
        "miniature/ablations/no_truncation.yaml",
    ]


def test_changes_of_variants_reach_the_commands(write: Write, plan_of: PlanOf) -> None:
    ablation = Path("ablation.yaml")
    ablation.write_text(yaml.safe_dump({"model": {"init_args": {"mask_strategy": "random"}}}))
    variants = [
        {
            "name": "plain",
            "stages": {"pretrain": None, "zero_shot": {"arguments": {"model.adapter_layers": []}}},
        },
        {"name": "random masks", "stages": {"pretrain": {"configs": ["ablation.yaml"]}}},
        {
            "name": "as fine-tuned",
            "stages": {"zero_shot": {"replace_configs": ["experiments/finetune.yaml"]}},
        },
    ]
    plan = plan_of(write(axes=None, variants=variants))
    find: Callable[[int, str], object] = lambda number, stage: plan.runs[  # noqa: E731
        plan.sweeps[0].trials[number].runs[stage]
    ].identity["model"]["init_args"]
    assert list(plan.sweeps[0].trials[0].runs) == ["zero_shot"]
    first, second = find(0, "zero_shot"), find(1, "pretrain")
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["adapter_layers"] == []
    assert first["init_from"] is None
    assert second["mask_strategy"] == "random"
    third = plan.runs[plan.sweeps[0].trials[2].runs["zero_shot"]]
    assert third.identity["model"]["class_path"] == "contextblip.tasks.FineTuning"
