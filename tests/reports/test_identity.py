"""What model a run evaluated, and which runs are pooled."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from contextblip.errors import ConfigurationError
from contextblip.reports.identity import identify, setting_words
from contextblip.reports.pooling import pool, seed_words
from contextblip.runs import Run, read_run

MakeRun = Callable[..., Run]
Pretrained = Callable[..., str]


def test_the_papers_model_and_plain_blip(make_run: MakeRun, pretrained: Pretrained) -> None:
    checkpoint = pretrained()
    assert identify(make_run("a", init_from=checkpoint)).name == "ContextBLIP"
    assert identify(make_run("b", adapter_layers=[])).name == "BLIP"
    assert identify(make_run("c", task="InterContext", init_from=checkpoint)).name == "ContextBLIP"
    alone = identify(make_run("d", task="FineTuning", init_from=checkpoint))
    assert (alone.name, alone.stage) == ("ContextBLIP (stage one alone)", "fine-tuned")


def test_what_differs_is_named_from_the_whole_chain(make_run: MakeRun, pretrained: Pretrained) -> None:
    checkpoint = pretrained(mask_ratio=0.5, mask_strategy="random")
    stage = make_run("stage", task="FineTuning", init_from=checkpoint)
    last = make_run(
        "last", task="InterContext", init_from=str(stage.folder / "checkpoints/best.ckpt"), score="itm"
    )
    assert identify(last).name == "ContextBLIP (mask_ratio 0.5, mask_strategy random, score itm)"
    assert identify(make_run("plain", init_from=None)).name == "ContextBLIP (adapter untrained)"
    gone = identify(make_run("gone", init_from="runs/removed/checkpoints/last.ckpt"))
    assert (gone.name, gone.is_unsure) == ("ContextBLIP", True)


def test_another_decoder_is_not_the_papers_pretraining(make_run: MakeRun, pretrained: Pretrained) -> None:
    checkpoint = pretrained(decoder_layers=1, decoder_heads=8)
    assert identify(make_run("a", init_from=checkpoint)).name == (
        "ContextBLIP (decoder_layers 1, decoder_heads 8)"
    )


def test_random_weights_are_not_blip(make_run: MakeRun, pretrained: Pretrained) -> None:
    named = make_run("named", adapter_layers=[], backbone="random:base")
    assert identify(named).name == "BLIP (backbone random:base)"
    checkpoint = pretrained(backbone="random:base")
    (named.folder.parent / "pretrain" / "backbone").mkdir()
    kept = make_run("kept", adapter_layers=[], backbone="runs/pretrain/backbone")
    assert identify(kept).name == "BLIP (backbone random:base)", "the pre-training left it in its folder"
    assert identify(make_run("last", init_from=checkpoint)).name == "ContextBLIP (backbone random:base)"
    trained = make_run("trained", task="BackbonePretraining", answers=False, backbone="random:miniature")
    (trained.folder / "backbone").mkdir()
    own = make_run("own", adapter_layers=[], backbone=str(trained.folder / "backbone"))
    assert identify(own).name == "BLIP", "random weights that were trained"


def test_other_scores_and_texts_in_parts_are_not_the_papers_model(make_run: MakeRun) -> None:
    other = make_run("sum", adapter_layers=[], score="itm+itc")
    assert identify(other).name == "BLIP (score itm+itc)"
    run = make_run("parts", adapter_layers=[], parts_score="min")
    init_args = {**run.data, "text_parts": "sentences"}
    config = {
        **run.config,
        "data": {"class_path": "data_modules.ImageCoDeDataModule", "init_args": init_args},
    }
    parts = replace(run, config=config)
    assert identify(parts).name == "BLIP (parts_score min, text_parts sentences)"


def test_runs_that_differ_only_in_seeds_are_pooled(make_run: MakeRun, pretrained: Pretrained) -> None:
    runs = []
    for seed in (1, 2, 3):
        checkpoint = pretrained(f"pretrain-{seed}", seed=seed)
        runs.append(make_run(f"zero-{seed}", (700 + seed, 400, 300), init_from=checkpoint))
    other = make_run("other", (1, 1, 0), init_from=pretrained("other-pretrain", mask_ratio=0.5))
    first, second = pool([*runs, other, runs[0]])
    assert (first.letter, len(first.runs), second.letter, len(second.runs)) == ("a", 3, "b", 1)
    assert "seeds 42/1, 42/2, 42/3" in first.describe(), "only the pre-training tells them apart"
    estimate = first.estimate("accuracy")
    assert estimate is not None
    assert estimate.value == pytest.approx(100 * 702 / 2302)
    assert estimate.sd == pytest.approx(100 / 2302), "of 701, 702, 703"
    assert (estimate.n, estimate.seeds) == (2302, 3)
    assert estimate.low < estimate.value < estimate.high
    assert first.estimate("accuracy/sample_video_1") is None
    single = second.estimate("accuracy")
    assert single is not None
    assert single.sd is None


def test_a_repetition_and_unequal_queries_are_refused(make_run: MakeRun) -> None:
    one = make_run("one", (700, 400, 300), adapter_layers=[])
    again = make_run("again", (700, 400, 300), adapter_layers=[])
    with pytest.raises(
        ConfigurationError, match="runs/one and runs/again have the same configuration and seeds"
    ):
        pool([one, again])
    tuned = {"task": "FineTuning", "adapter_layers": []}
    whole = make_run("whole", (700, 400, 300), **tuned)
    fewer = make_run("fewer", also={"accuracy": (17, 34)}, seed=7, **tuned)
    with pytest.raises(ConfigurationError, match="accuracy has 2302 answers in one, 34 in the other"):
        pool([whole, fewer])[0].estimate("accuracy")


def test_a_seed_counts_only_where_something_is_trained_or_drawn(
    make_run: MakeRun, pretrained: Pretrained
) -> None:
    checkpoint = pretrained()
    chained = [make_run(f"zero-{seed}", (704, 372, 332), init_from=checkpoint, seed=seed) for seed in (1, 7)]
    plain = [make_run(f"blip-{seed}", (700, 400, 300), adapter_layers=[], seed=seed) for seed in (1, 7)]
    for runs in (chained, plain):
        with pytest.raises(ConfigurationError, match=r"same configuration and seeds \(that of an evaluation"):
            pool(runs)
    drawn = [make_run(f"untrained-{seed}", (700, 400, 300), seed=seed) for seed in (1, 7)]
    assert len(pool(drawn)[0].runs) == 2, "the untrained adapter is drawn"
    tuned = [make_run(f"tuned-{seed}", (800, 500, 300), task="FineTuning", seed=seed) for seed in (1, 7)]
    assert len(pool(tuned)[0].runs) == 2
    moved = [
        make_run(
            f"moved-{seed}", (800, 500, 300), task="FineTuning", seed=seed, ckpt=f"{tuned[0].folder}/c/a"
        )
        for seed in (1, 7)
    ]
    with pytest.raises(ConfigurationError, match="moved-1 and runs/moved-7"):
        pool(moved)


def test_the_seed_of_a_tested_training_is_that_of_its_training(make_run: MakeRun) -> None:
    runs = []
    for seed in (1, 2):
        fitted = make_run(f"tuned-{seed}", (800 + seed, 500, 300), task="FineTuning", seed=seed)
        test = {**fitted.config, "seed_everything": 42, "ckpt_path": f"{fitted.folder}/checkpoints/best.ckpt"}
        runs.append(replace(fitted, config=test))
    (group,) = pool(runs)
    assert "seeds 1, 2;" in group.describe(), "not the 42 of both tests"


def test_a_resumed_training_is_pooled_with_one_that_was_not(make_run: MakeRun) -> None:
    straight = make_run("straight", (800, 500, 300), task="FineTuning", seed=1)
    resumed = make_run("resumed", (790, 490, 300), task="FineTuning", seed=2)
    config = (resumed.folder / "config.yaml").read_text()
    checkpoint = f"ckpt_path: {resumed.folder}/checkpoints/last.ckpt\n"
    (resumed.folder / "config_fit.yaml").write_text(config + checkpoint)
    (resumed.folder / "configs.json").write_text('{"metrics.json:test": "config_fit.yaml"}')
    again = read_run(resumed.folder)
    assert again.config_file == "config_fit.yaml"
    (group,) = pool([straight, again])
    assert len(group.runs) == 2


def test_seeds_in_words() -> None:
    assert seed_words([(42, 1)]) == "seed 42"
    assert seed_words([(42, 1), (43, 1)]) == "seeds 42, 43"
    assert seed_words([(42, 1), (42, None)]) == "seeds 42/1, 42/none"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (list(range(1, 13)), "1-12"),
        ([3, 6, 9, 12], "3+6+9+12"),
        ([11, 12], "11+12"),
        ([3, 2, 1], "3+2+1"),
        (["a", "b", "c"], "a+b+c"),
        ([], "none"),
    ],
)
def test_lists_are_written_shortly(value: list[object], words: str) -> None:
    assert setting_words(value) == words
