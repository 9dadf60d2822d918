"""Runs beside the paper's numbers: where they stand, what is refused, what is flagged."""

from collections.abc import Callable

import pytest

from contextblip.errors import ConfigurationError
from contextblip.estimates import wilson_of_share
from contextblip.groups import MMVP_TYPES, SAMPLES
from contextblip.paper import published_counts
from contextblip.reports import TABLES, build_report, to_csv, to_terminal
from contextblip.reports.layout import Grid, lay_out
from contextblip.runs import Run

MakeRun = Callable[..., Run]
Pretrained = Callable[..., str]


def test_table_15_has_ours_beside_the_papers_row(make_run: MakeRun, pretrained: Pretrained) -> None:
    checkpoint = pretrained()
    zero = make_run("zero", (704, 372, 332), init_from=checkpoint)
    tuned = make_run("tuned", (886, 537, 349), task="InterContext", init_from=checkpoint)
    (table,) = build_report([zero, tuned], [15]).tables
    cells = {(entry.row, entry.column): entry for entry in table.entries}
    assert [column for _, column in cells] == list(table.paper.columns)
    ours = cells["ContextBLIP", "zs_all"]
    assert (round(ours.ours.value, 1), ours.paper, ours.ours.n, ours.split) == (30.6, 30.6, 2302, "valid")
    assert "Tables 5 to 7" in (ours.doubt or "")
    assert cells["ContextBLIP", "zs_video"].doubt is None
    assert cells["ContextBLIP", "ft_image"].group.letter == "b"
    assert not ours.is_partial


def test_the_position_prior_is_a_baseline_row(make_run: MakeRun, pretrained: Pretrained) -> None:
    prior = {
        "baseline/position_prior": (299, 2302),
        "baseline/position_prior_video": (281, 1872),
        "baseline/position_prior_static": (47, 430),
    }
    zero = make_run("zero", (704, 372, 332), init_from=pretrained(), also=prior)
    other = make_run("other", (690, 360, 330), init_from=pretrained("again", seed=7), also=prior)
    report = build_report([zero, other], [15])
    rows = [entry for entry in report.tables[0].entries if entry.is_baseline]
    assert [(entry.row, entry.column, round(entry.ours.value, 1), entry.ours.sd) for entry in rows] == [
        ("Position prior", "zs_all", 13.0, 0.0),
        ("Position prior", "zs_video", 15.0, 0.0),
        ("Position prior", "zs_image", 10.9, 0.0),
    ]
    assert all(entry.paper is None and entry.doubt is None for entry in rows)
    assert "- Position prior: no model" in to_terminal(report)
    assert "15,Position prior,zs_all,12.9887,2302," in to_csv(report)
    tables = {table.paper.number for table in build_report([zero]).tables}
    assert not tables & {5, 6, 7}, "a baseline beside one row is no ablation"


def test_table_8_has_the_three_draws(make_run: MakeRun, pretrained: Pretrained) -> None:
    counted = {f"accuracy/sample_{name}": (10 + number, 50) for number, name in enumerate(SAMPLES)}
    run = make_run("zero", (704, 372, 332), init_from=pretrained(), also=counted)
    (table,) = build_report([run], [8]).tables
    assert {entry.column: entry.ours.value for entry in table.entries} == pytest.approx(
        {"static_1": 20, "static_2": 22, "static_3": 24, "video_1": 26, "video_2": 28, "video_3": 30}
    )
    assert {entry.column: entry.paper for entry in table.entries}["static_3"] == 78


def test_a_validation_number_never_stands_beside_a_test_number(
    make_run: MakeRun, pretrained: Pretrained
) -> None:
    checkpoint = pretrained()
    valid = make_run("valid", (704, 372, 332), init_from=checkpoint)
    test = make_run("test", (704, 372, 332), init_from=checkpoint, test_split="test")
    for number in (1, 4):
        with pytest.raises(ConfigurationError) as refused:
            build_report([valid], [number])
        assert str(refused.value) == (
            f"runs/valid is on IMAGECODE's validation split, Table {number} on its test split: the two are "
            "never set side by side; use --table 15, which is on the validation split"
        )
    with pytest.raises(
        ConfigurationError, match="runs/test is on IMAGECODE's test split, Table 2 .* use --table 1"
    ):
        build_report([valid, test], [2])
    chosen = build_report([valid, test]).tables
    assert {table.paper.number for table in chosen} == {1, 15}
    for table in chosen:
        assert {entry.split for entry in table.entries} == {table.paper.split}


def test_the_miniature_world_has_tables_of_its_own(make_run: MakeRun, pretrained: Pretrained) -> None:
    checkpoint = pretrained()
    real = make_run("real", (704, 372, 332), init_from=checkpoint)
    drawn = make_run("drawn", (900, 500, 400), init_from=checkpoint, root="miniature:data/miniature")
    tables = build_report([real, drawn], [15]).tables
    assert [table.world for table in tables] == ["real", "miniature"]
    assert {entry.group.first.world for entry in tables[0].entries} == {"real"}
    assert all(entry.paper is None and entry.doubt is None for entry in tables[1].entries)
    test = make_run("test", (9, 5, 4), init_from=checkpoint, root="miniature:data", test_split="test")
    train = make_run("train", (9, 5, 4), init_from=checkpoint, root="miniature:data", test_split="train")
    for other in (test, train):
        for number in (4, 15):
            with pytest.raises(ConfigurationError) as refused:
                build_report([drawn, other], [number])
            assert str(refused.value).startswith(
                f"Table {number}: runs of the miniature world are on different splits (runs/drawn on valid, "
                f"{other.folder} on {other.split}), which are never set side by side"
            )
    for table in build_report([drawn, test, train]).tables:
        assert len({entry.split for entry in table.entries}) == 1, "without --table each finds its own"
    (ablation,) = build_report([drawn], [4]).tables
    assert (ablation.world, ablation.entries[0].split) == ("miniature", "valid"), "apart, so no refusal"


def test_captions_of_the_miniature_world_name_both_splits(make_run: MakeRun, pretrained: Pretrained) -> None:
    drawn = make_run("drawn", (900, 500, 400), init_from=pretrained(), root="miniature:data")
    own = "our validation split; the paper's is test; drawn images"
    for number, said in ((1, own), (4, own), (15, " in %, validation split; drawn images")):
        report = build_report([drawn], [number])
        ours = next(block for block in lay_out(report) if isinstance(block, Grid))
        assert said in ours.caption


def test_ablations_and_sweeps_find_their_rows(make_run: MakeRun, pretrained: Pretrained) -> None:
    root = "miniature:data"
    runs = []
    for ratio in (0.25, 0.5, 0.6):
        checkpoint = pretrained(f"pretrain-{ratio}", mask_ratio=ratio)
        runs.append(make_run(f"ratio-{ratio}", (704, 372, 332), init_from=checkpoint, root=root))
    without = pretrained("pretrain-without", use_tmim=False)
    runs.append(make_run("tmim", (600, 300, 300), init_from=without, root=root))
    default = "runs/pretrain-0.25/checkpoints/last.ckpt"
    runs.append(make_run("alone", (800, 500, 300), task="FineTuning", init_from=default, root=root))
    runs.append(make_run("blip", (500, 300, 200), adapter_layers=[], root=root))
    report = build_report(runs)
    tables = {table.paper.number: table for table in report.tables}
    rows = {
        number: list(dict.fromkeys(entry.row for entry in table.entries)) for number, table in tables.items()
    }
    assert rows[5] == ["mask ratio 0.25", "mask ratio 0.50", "mask ratio 0.6"]
    assert rows[4] == ["w/o multi-scale adapter", "w/o TMIM loss", "w/o inter-context encoder", "ContextBLIP"]
    assert {entry.column for entry in tables[4].entries} == {"zero_shot", "fine_tuned"}
    assert 6 not in tables
    assert report.notes[-1] == "a single row each in Table 6, Table 7: ask for them with --table 6 7"
    notes = build_report(runs, [6]).notes
    assert (
        "runs/tmim has no place in Table 6: it also differs from the paper's model in use_tmim (off)" in notes
    )
    assert "runs/alone has no place in Table 6: the table is zero-shot" in notes


def test_table_4_has_no_row_for_blip_with_the_inter_context_encoder(make_run: MakeRun) -> None:
    root = "miniature:data"
    plain = make_run("plain", (800, 500, 300), task="FineTuning", adapter_layers=[], root=root)
    ranked = make_run("ranked", (900, 600, 300), task="InterContext", adapter_layers=[], root=root)
    report = build_report([plain, ranked], [4])
    (table,) = report.tables
    assert [(entry.row, entry.column, entry.group.folders) for entry in table.entries] == [
        ("w/o multi-scale adapter", "fine_tuned", ["runs/plain"])
    ]
    assert report.notes[-1].startswith(
        "runs/ranked has no place in Table 4: it is BLIP with the inter-context encoder"
    )


def test_table_5_names_a_run_whose_mask_ratio_is_unknown(make_run: MakeRun) -> None:
    run = make_run("zero", (704, 372, 332), init_from="runs/gone/checkpoints/last.ckpt")
    with pytest.raises(
        ConfigurationError, match="runs/zero has no place in Table 5: .* mask_ratio is unknown"
    ):
        build_report([run], [5])


def test_phenomena_divide_by_matches_or_by_published_tag_counts(
    make_run: MakeRun, pretrained: Pretrained
) -> None:
    tags = published_counts().tags
    counted = {f"accuracy/{name}": (n // 4, n - 4) for name, n in tags.items()}
    run = make_run("tuned", (886, 537, 349), also=counted, task="InterContext", init_from=pretrained())
    for published, n in ((False, 470), (True, 474)):
        (table,) = build_report([run], [2], published_denominators=published).tables
        first = table.entries[0]
        assert (first.row, first.column, first.paper) == ("ContextBLIP, fine-tuned", "context", 25.1)
        assert first.ours.n == n
        assert first.ours.value == pytest.approx(100 * 118 / n)
        assert table.divides_by_tags == published
    part = make_run("part", also={"accuracy": (17, 34)}, adapter_layers=[])
    with pytest.raises(
        ConfigurationError, match="runs/part counted 34 queries, the tag counts are of all 2,302"
    ):
        build_report([part], [2], published_denominators=True)


def test_patterns_draws_and_propositions(make_run: MakeRun, pretrained: Pretrained) -> None:
    checkpoint = pretrained()
    pairs = {f"pair_accuracy/{name}": (7, 15) for name in MMVP_TYPES} | {"pair_accuracy": (63, 135)}
    mmvp = make_run("mmvp", also=pairs, task="InterContext", data="MMVPVLMDataModule", init_from=checkpoint)
    draws = {
        f"accuracy/sample_{subset}_{seed}": (10, 50)
        for subset in ("video", "static")
        for seed in (1, 10, 100)
    }
    parts = {f"accuracy/propositions_{number}": (3, 9) for number in range(1, 7)}
    tuned = make_run("tuned", (886, 537, 349), also=draws | parts, task="InterContext", init_from=checkpoint)
    report = build_report([mmvp, tuned])
    found = {table.paper.number: table.entries for table in report.tables}
    assert set(found) == {3, 8, 10, 15, 16}
    assert [entry.paper for entry in found[16]][-2:] == [53.3, 47.4]
    assert [entry.ours.n for entry in found[3]] == [15] * 9 + [135]
    assert [(entry.column, entry.paper, entry.ours.n) for entry in found[8]][:2] == [
        ("video_1", 20, 50),
        ("video_2", 24, 50),
    ]
    assert found[10][0].paper == pytest.approx(100 * 36 / 72), "counts become percent"


def test_a_part_of_a_split_is_flagged_and_incomplete_runs_are_named(
    make_run: MakeRun, pretrained: Pretrained
) -> None:
    checkpoint = pretrained()
    part = make_run("part", also={"accuracy": (17, 34)}, init_from=checkpoint, answers=False)
    empty = make_run("empty", init_from=checkpoint, answers=False, seed=7)
    report = build_report([part, empty], [15])
    assert all(entry.is_partial for entry in report.tables[0].entries)
    assert report.notes[0].startswith("runs/part lacks predictions.jsonl: `lightning test`")
    assert report.notes[1].startswith("runs/empty lacks metrics.json and predictions.jsonl")
    with pytest.raises(ConfigurationError, match="runs/empty lacks metrics.json"):
        build_report([empty])


def test_every_table_can_be_asked_for_and_says_who_could_fill_it(make_run: MakeRun) -> None:
    pretraining = make_run("pretrain", task="Pretraining", data="CaptionDataModule")
    for number in TABLES:
        with pytest.raises(
            ConfigurationError, match=f"Pretraining on captions.*; Table {number} is on (IMAGECODE|MMVP)"
        ):
            build_report([pretraining], [number])


def test_the_interval_of_pooled_runs_is_that_of_their_mean_share(make_run: MakeRun) -> None:
    """A mean count of 100.5 is not rounded to either side."""
    runs = [
        make_run(f"seed{seed}", also={"accuracy": (right, 361)}, seed=seed, root="miniature:data")
        for seed, right in ((1, 99), (2, 102))
    ]
    (table,) = build_report(runs, [15]).tables
    low, high = wilson_of_share(100.5 / 361, 361)
    assert (table.entries[0].ours.seeds, table.entries[0].ours.n) == (2, 361)
    assert (table.entries[0].ours.low, table.entries[0].ours.high) == pytest.approx((100 * low, 100 * high))
