"""Scoring candidates: against a slow loop, under shuffling and padding, and what is counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from contextblip.errors import ConfigurationError, DatasetError
from contextblip.tasks.retrieval import RetrievalTask, retrieval_output
from contextblip.types import RetrievalBatch, RetrievalOutput

ImageSets = Callable[..., RetrievalBatch]
Evaluate = Callable[..., dict[str, float]]
RANKING = ("mean_rank", "mrr", "baseline/position_prior")
STAGES = ("zero_shot", "fine_tuning", "inter_context")


MakeTask = Callable[..., Any]


def predict(trainer: Trainer, task: RetrievalTask, batch: RetrievalBatch) -> RetrievalOutput:
    loader: DataLoader[Any] = DataLoader([batch], batch_size=None)  # type: ignore[arg-type]  # a list will do
    predictions: Any = trainer.predict(task, loader)
    output: RetrievalOutput = predictions[0]
    return output


@torch.no_grad()
def logits(task: RetrievalTask, batch: RetrievalBatch) -> Tensor:
    return task.score(batch).candidate_logits


def shuffled(batch: RetrievalBatch, order: list[int]) -> RetrievalBatch:
    other = batch.copy()
    other["images"] = batch["images"][:, order]
    other["candidate_mask"] = batch["candidate_mask"][:, order]
    return other


@torch.no_grad()
def test_zero_shot_against_a_slow_loop(make_task: MakeTask, image_sets: ImageSets) -> None:
    task, batch = make_task("zero_shot"), image_sets()
    found = retrieval_output(batch, task.score(batch))
    for query, row in enumerate(batch["set_index"].tolist()):
        for candidate in range(4):
            if not batch["candidate_mask"][row, candidate]:
                assert found["candidate_logits"][query, candidate] == -torch.inf
                assert found["scores"][query, candidate] == 0.0
                continue
            embeds = task.model.encode_images(batch["images"][row, candidate][None]).image_embeds
            texts = batch["input_ids"][query][None], batch["attention_mask"][query][None]
            itm = task.model.itm_logits(task.model.fuse(*texts, embeds).multimodal_embeds)[0]
            margin = found["candidate_logits"][query, candidate]
            assert margin.item() == pytest.approx((itm[1] - itm[0]).item(), abs=1e-5)
            assert found["scores"][query, candidate].item() == pytest.approx(
                itm.softmax(0)[1].item(), abs=1e-5
            )
    assert found["prediction"].tolist() == found["candidate_logits"].argmax(dim=1).tolist()
    assert found["candidate_mask"].tolist()[2] == [True, True, True, False]


@torch.no_grad()
def test_stage_one_against_a_slow_loop(make_task: MakeTask, image_sets: ImageSets) -> None:
    task, batch = make_task("fine_tuning"), image_sets()
    found = task.score(batch)
    embeds = task.model.encode_images(batch["images"][2]).image_embeds
    ids, mask = (batch[key][3].expand(4, -1) for key in ("input_ids", "attention_mask"))
    first = task.model.fuse(ids, mask, embeds).multimodal_embeds[:, 0]
    expected = task.model.score_head(first / first.norm(dim=1, keepdim=True)).squeeze(1)
    assert torch.allclose(found.candidate_logits[3], expected, atol=1e-5)
    assert torch.allclose(found.scores.sum(dim=1), torch.ones(4))
    assert found.scores[2, 3] == 0.0


def test_each_real_image_is_encoded_once(
    make_task: MakeTask, image_sets: ImageSets, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, batch = make_task("zero_shot"), image_sets()
    encode, encoded = task.model.encode_images, []

    def count(images: Tensor) -> object:
        encoded.append(len(images))
        return encode(images)

    monkeypatch.setattr(task.model, "encode_images", count)
    logits(task, batch)
    assert encoded == [11]


@pytest.mark.parametrize("stage", STAGES)
def test_shuffling_candidates_permutes_static_logits(
    make_task: MakeTask, image_sets: ImageSets, stage: str
) -> None:
    task, batch, order = make_task(stage), image_sets(), [3, 0, 2, 1]
    straight, mixed = logits(task, batch), logits(task, shuffled(batch, order))
    static = ~batch["is_video"]
    assert torch.allclose(straight[static][:, order], mixed[static], atol=1e-5)
    assert straight[static].std(dim=1).min() > 1e-3


@pytest.mark.parametrize("stage", STAGES)
def test_order_of_a_video_matters_in_stage_two_only(
    make_task: MakeTask, image_sets: ImageSets, stage: str
) -> None:
    task, batch, order = make_task(stage), image_sets(), [2, 0, 1, 3]
    straight, mixed = logits(task, batch)[2, :3], logits(task, shuffled(batch, order))[2, :3]
    assert torch.allclose(straight[order[:3]], mixed, atol=1e-4) is (stage != "inter_context")


@pytest.mark.parametrize("stage", STAGES)
def test_padded_candidates_change_nothing_and_are_never_predicted(
    make_task: MakeTask, image_sets: ImageSets, stage: str
) -> None:
    task, batch = make_task(stage), image_sets()
    other = batch.copy()
    other["images"] = batch["images"].clone()
    other["images"][1, 3] = 100.0
    straight, other_logits = logits(task, batch), logits(task, other)
    assert torch.equal(straight, other_logits)
    assert straight[2, 3] == -torch.inf
    wide = torch.full_like(batch["candidate_mask"], False)
    wide[:, 2] = True
    batch["candidate_mask"] = wide
    assert logits(task, batch).argmax(dim=1).tolist() == [2] * 4


@pytest.mark.parametrize("stage", STAGES)
def test_test_run_twice_gives_identical_predictions(
    make_task: MakeTask,
    make_trainer: Callable[..., Trainer],
    image_sets: ImageSets,
    evaluate: Evaluate,
    stage: str,
) -> None:
    task, batch = make_task(stage), image_sets()
    first, second = (predict(make_trainer(), task.train(), batch) for _ in range(2))
    assert torch.equal(first["candidate_logits"], second["candidate_logits"])
    assert evaluate(task, [batch]) == evaluate(task, [batch])


def test_logged_names_and_counts(make_task: MakeTask, image_sets: ImageSets, evaluate: Evaluate) -> None:
    task, batch = make_task("zero_shot"), image_sets()
    batch["target_index"][3] = -1
    logged = evaluate(task, [batch, image_sets(seed=1)])
    counts = {name: value for name, value in logged.items() if name.startswith("n/")}
    assert counts == {
        "n/test/accuracy": 7.0,
        "n/test/accuracy_video": 2.0,
        "n/test/accuracy_static": 5.0,
        "n/test/accuracy/spatial": 4.0,
        "n/test/accuracy/propositions_1": 2.0,
        "n/test/accuracy/propositions_2": 2.0,
        "n/test/accuracy/propositions_3": 1.0,
        "n/test/accuracy/words_1-10": 4.0,
        "n/test/accuracy/words_11-20": 3.0,
        **{f"n/test/{name}": 7.0 for name in (*RANKING, "ece")},
        **{f"n/test/{name}_video": 2.0 for name in RANKING},
        **{f"n/test/{name}_static": 5.0 for name in RANKING},
        "n/test/frame_distance": 2.0,
    }
    assert logged.keys() == {*counts, *(name.removeprefix("n/") for name in counts), "test/loss"}
    right = [
        (logits(task, one).argmax(dim=1) == one["target_index"])[one["target_index"] >= 0]
        for one in (batch, image_sets(seed=1))
    ]
    assert logged["test/accuracy"] == pytest.approx(torch.cat(right).float().mean().item())
    assert logged["test/baseline/position_prior_video"] == 1.0  # both videos have the target 2
    places = [
        (logits(task, one)[2].argmax().item(), one["target_index"][2].item())
        for one in (batch, image_sets(seed=1))
    ]
    frames = batch["queries"][2]["frames"]
    distances = [abs(frames[int(found)] - frames[int(target)]) for found, target in places]
    assert logged["test/frame_distance"] == pytest.approx(sum(distances) / 2)


def test_unlabelled_queries_are_scored_but_not_counted(
    make_task: MakeTask, image_sets: ImageSets, evaluate: Evaluate
) -> None:
    task, batch = make_task("zero_shot"), image_sets(labelled=False)
    assert evaluate(task, [batch]) == {}
    assert torch.isfinite(task.predict_step(batch)["candidate_logits"]).sum() == 15


def test_video_with_too_many_candidates_names_the_key(make_task: MakeTask, image_sets: ImageSets) -> None:
    task, batch = make_task("inter_context", max_candidates=2), image_sets()
    with pytest.raises(ConfigurationError, match="max_candidates"):
        task.score(batch)
    batch["is_video"][:] = False
    assert task.score(batch).candidate_logits.shape == (4, 4)


def test_stage_two_can_rank_by_the_itm_head(make_task: MakeTask, image_sets: ImageSets) -> None:
    two, zero, batch = make_task("inter_context", score="itm"), make_task("zero_shot"), image_sets()
    two.model.adapter.load_state_dict(zero.model.adapter.state_dict())
    assert torch.allclose(logits(two, batch), logits(zero, batch), atol=1e-6)


@pytest.mark.parametrize("stage", STAGES)
def test_ranking_is_in_full_precision_under_bf16(
    make_task: MakeTask, make_trainer: Callable[..., Trainer], image_sets: ImageSets, stage: str
) -> None:
    trainer = make_trainer(precision="bf16-mixed")
    found = predict(trainer, make_task(stage), image_sets())["candidate_logits"]
    assert found.dtype == torch.float32
    real = found[torch.isfinite(found)]
    assert (real != real.bfloat16().float()).float().mean() > 0.5


def test_unlabelled_queries_are_never_trained_on(
    make_task: MakeTask, image_sets: ImageSets, fit: Callable[..., Trainer]
) -> None:
    with pytest.raises(DatasetError, match="without a label"):
        fit(make_task("fine_tuning"), [image_sets(labelled=False)], max_epochs=1)


def test_zero_shot_refuses_to_train(
    make_task: MakeTask, image_sets: ImageSets, fit: Callable[..., Trainer]
) -> None:
    with pytest.raises(ConfigurationError, match="trains nothing"):
        fit(make_task("zero_shot"), [image_sets()], max_epochs=1)


@pytest.mark.parametrize(("stage", "warned"), [("zero_shot", True), ("inter_context", False)])
def test_ranking_a_fine_tuned_model_by_its_untrained_itm_head_is_said(
    make_task: MakeTask,
    fit: Callable[..., Trainer],
    image_sets: ImageSets,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    stage: str,
    warned: bool,
) -> None:
    trainer = fit(make_task("fine_tuning"), [image_sets()], max_epochs=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    caplog.clear()
    make_task(stage, init_from=str(tmp_path / "one.ckpt"))
    assert ("its ITM head, which ranks here, was not" in caplog.text) == warned
