"""What model a run evaluated, and which runs are pooled."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from contextblip.errors import ConfigurationError
from contextblip.reports.identity import identify
from contextblip.reports.pooling import pool, seed_words
from contextblip.runs import Run

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
    fewer = make_run("fewer", also={"accuracy": (17, 34)}, adapter_layers=[], seed=7)
    with pytest.raises(ConfigurationError, match="accuracy has 2302 answers in one, 34 in the other"):
        pool([one, fewer])[0].estimate("accuracy")


def test_seeds_in_words() -> None:
    assert seed_words([(42, 1)]) == "seed 42"
    assert seed_words([(42, 1), (43, 1)]) == "seeds 42, 43"
    assert seed_words([(42, 1), (42, None)]) == "seeds 42/1, 42/none"
