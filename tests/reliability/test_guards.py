"""Losses that are no number, frozen parts that change: said at once, and nothing is trained on them."""

import json
import re
from pathlib import Path

import pytest
import torch

from contextblip.cli import main
from contextblip.cli.frozen import hash_part
from contextblip.cli.nonfinite import sample_ids
from tests.reliability.conftest import Words, checkpoint, recording
from tests.reliability.recorder import read_steps

PLACE = "tests.reliability.faults"


def breaking(batch: int, factor: str = ".nan") -> list[str]:
    return [
        f"--trainer.callbacks+={PLACE}.BreakLoss",
        f"--trainer.callbacks.batch={batch}",
        f"--trainer.callbacks.factor={factor}",
    ]


@pytest.mark.parametrize("factor", [".nan", ".inf"])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_batch(
    factor: str, fit_words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(fit_words("finetune", "run", *recording(Path("steps")), *breaking(3, factor)))
    assert stopped.value.code == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error:")]
    assert "no number" in line
    assert "run/nonfinite" in line
    assert "--nonfinite_loss skip" in line
    (told,) = Path("run/nonfinite").glob("*.json")
    content = json.loads(told.read_text())
    assert content["loss"] in ("nan", "inf")
    assert content["step"] == 1  # two batches a step
    kept = torch.load(told.with_suffix(".pt"), weights_only=True)
    assert len(content["samples"]) == len(kept["input_ids"]) == 2
    assert kept["images"].isfinite().all()


def test_skipping_leaves_out_the_step_alone(fit_words: Words) -> None:
    words = fit_words("finetune", "run", "--nonfinite_loss=skip", *recording(Path("steps")), *breaking(3))
    main(words)
    steps = read_steps(Path("steps"))
    assert steps[0, 3]["loss"] == "nan"
    assert len(steps) == 12  # all others were run
    assert all(tensor.isfinite().all() for tensor in checkpoint("run")["state_dict"].values())
    assert len(list(Path("run/nonfinite").glob("*.json"))) == 1


def test_a_skipped_step_moves_nothing(fit_words: Words) -> None:
    short = ["--trainer.limit_train_batches=2", "--trainer.max_epochs=1", "--nonfinite_loss=skip"]
    main(fit_words("finetune", "skipped", *short, *breaking(1)))
    main(fit_words("finetune", "still", *short, "--model.lr_backbone=0", "--model.lr_head=1e-30"))
    skipped, still = (checkpoint(name) for name in ("skipped", "still"))
    for name, tensor in skipped["state_dict"].items():
        torch.testing.assert_close(tensor, still["state_dict"][name], atol=1e-20, rtol=0, msg=name)
    assert not skipped["optimizer_states"][0]["state"]  # not even a moment


@pytest.mark.parametrize("stage", ["pretrain", "intercontext"])
def test_a_frozen_weight_that_changes_is_a_defect_that_is_told(
    stage: str, fit_words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    meddle = [f"--trainer.callbacks+={PLACE}.Meddle", "--trainer.callbacks.what=weight"]
    with pytest.raises(SystemExit) as stopped:
        main(fit_words(stage, "run", *meddle))
    assert stopped.value.code == 1  # the program's fault, not the user's
    assert re.search(r"training changed what is frozen: .*vision_encoder", capsys.readouterr().err)


def test_a_frozen_part_in_training_mode_is_told(fit_words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    meddle = [f"--trainer.callbacks+={PLACE}.Meddle", "--trainer.callbacks.what=mode"]
    with pytest.raises(SystemExit):
        main(fit_words("pretrain", "run", *meddle))
    assert "vision_encoder is frozen but in training mode" in capsys.readouterr().err


def test_hashes_see_every_bit_type_and_buffer() -> None:
    part = torch.nn.BatchNorm1d(3)
    first = hash_part(part)
    assert hash_part(part) == first
    assert part.running_mean is not None
    part.running_mean[1] += 1e-7
    changed = hash_part(part)
    assert changed != first
    assert hash_part(part.half()) != changed


def test_samples_are_named() -> None:
    assert sample_ids({"index": torch.tensor([4, 2])}) == ["4", "2"]
    queries = [{"set_name": "a", "query_index": 1}, {"set_name": "b", "query_index": 0}]
    assert sample_ids({"queries": queries}) == ["a/1", "b/0"]
    assert sample_ids([torch.zeros(2)]) == []
