"""Training a backbone: its three losses, the learned temperature, and the folder it leaves behind."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from safetensors.torch import load_file

from contextblip.checkpoints import load_backbone
from contextblip.errors import CheckpointError
from contextblip.losses import loss_lm
from contextblip.models import PRESETS, BackboneConfig
from contextblip.tasks import BackbonePretraining, ZeroShot
from contextblip.types import CaptionBatch

Captions = Callable[..., CaptionBatch]
Fit = Callable[..., Trainer]
KEYS: dict[str, Any] = {"warmup_steps": 2, "dropout": 0.0}


def test_one_batch_can_be_overfitted(backbone: str, fit: Fit, captions: Captions) -> None:
    torch.manual_seed(0)
    task = BackbonePretraining(backbone, lr=3e-3, **KEYS)
    batch = captions(4)
    task.configure_model()
    with torch.no_grad():
        before = task.losses(batch)
    trainer = fit(task, [batch] * 250, [batch], max_epochs=1)
    logged = trainer.callback_metrics
    assert logged["val/accuracy_itm"] == 1.0
    assert logged["val/recall_1"] == 1.0
    assert logged["val/loss_itc"] < 0.3 * before.loss_itc
    assert logged["val/loss_itm"] < 0.3 * before.loss_itm
    # label smoothing over 24 words leaves this much even where every word is certain
    likely, unlikely = 0.9 + 0.1 / 24, 0.1 / 24
    floor = -likely * math.log(likely) - 23 * unlikely * math.log(unlikely)
    assert logged["val/loss_lm"] - floor < 0.1 * (before.loss_lm - floor)
    parts = [float(logged[f"val/{name}"]) for name in ("loss_itc", "loss_itm", "loss_lm")]
    assert logged["val/loss"] == pytest.approx(sum(parts), rel=1e-5)


def test_captions_are_predicted_behind_dec(backbone: str, captions: Captions, config: BackboneConfig) -> None:
    task = BackbonePretraining(backbone, **KEYS).eval()
    task.configure_model()
    batch = captions(3)
    given = batch["input_ids"].clone()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    task.caption_decoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[1:3]))
    with torch.no_grad():
        losses = task.losses(batch)
        image_embeds = task.model.encode_images(batch["images"]).image_embeds
        ids = given.clone()
        ids[:, 0] = config.dec_token_id
        hooked = list(seen)
        logits = task.caption_decoder(task.model.text_encoder, ids, batch["attention_mask"], image_embeds)
    assert torch.equal(batch["input_ids"], given)
    # each caption is predicted once, in one bucket of like lengths or another, and only [DEC] differs
    fed = sorted(
        row[mask.bool()].tolist() for part, marks in hooked for row, mask in zip(part, marks, strict=True)
    )
    assert fed == sorted(
        row[mask.bool()].tolist() for row, mask in zip(ids, batch["attention_mask"], strict=True)
    )
    torch.testing.assert_close(losses.loss_lm, loss_lm(logits, ids, batch["attention_mask"]))


def test_the_language_loss_is_the_mean_over_all_processes_tokens(backbone: str, captions: Captions) -> None:
    """Processes average gradients, so the mean of what they compute has to be what one process would."""
    task = BackbonePretraining(backbone, **KEYS)
    task.configure_model()
    whole = captions(6)
    shares = [{key: value[part] for key, value in whole.items()} for part in ([0, 3, 1], [2, 4, 5])]  # type: ignore[index]
    counts = [int(share["attention_mask"][:, 1:].sum()) for share in shares]
    assert counts[0] != counts[1]
    strategy = SimpleNamespace(reduce=lambda _tokens, reduce_op: torch.tensor(sum(counts) / 2))  # noqa: ARG005
    with torch.no_grad():
        expected = task.losses(whole).loss_lm
        task._trainer = SimpleNamespace(world_size=2, strategy=strategy, global_step=0)  # type: ignore[assignment]
        task._watch = SimpleNamespace(note=lambda *_: None)  # type: ignore[assignment]
        found = [task.losses(share).loss_lm for share in shares]  # type: ignore[arg-type]
    torch.testing.assert_close(sum(found) / 2, expected)


def test_everything_trains_and_is_written_as_a_backbone(
    backbone: str, fit: Fit, captions: Captions, tmp_path: Path
) -> None:
    task = BackbonePretraining(backbone, lr=1e-2, **KEYS)
    fit(task, [captions(seed=s) for s in range(3)], max_epochs=2)
    start, written = load_backbone(backbone), load_backbone(str(tmp_path / "run" / "backbone"))
    # what stands at 0 or 1 moves as well, so nothing was left out of the optimiser
    assert {n for n in start.state_dict if torch.equal(start.state_dict[n], written.state_dict[n])} == set()
    model = task.model.state_dict()
    assert all(torch.equal(model[name], tensor) for name, tensor in written.state_dict.items())
    assert written.state_dict["temperature"] == task.temperature
    # the decoder has trained, and stays behind
    assert not torch.equal(task.caption_decoder.bias, torch.zeros_like(task.caption_decoder.bias))
    assert load_file(tmp_path / "run" / "backbone" / "model.safetensors").keys() == start.state_dict.keys()
    follower = ZeroShot(str(tmp_path / "run" / "backbone"), adapter_layers=[1])
    follower.configure_model()
    assert torch.equal(follower.model.temperature, task.temperature.detach())


def test_written_at_each_validation(backbone: str, fit: Fit, captions: Captions, tmp_path: Path) -> None:
    task = BackbonePretraining(backbone, **KEYS)
    folder = tmp_path / "run" / "backbone"
    task.on_fit_end = lambda: None  # type: ignore[method-assign]  # what an interrupted run leaves
    fit(task, [captions()], [captions()], max_epochs=1)
    assert (folder / "model.safetensors").is_file()


def test_dry_run_writes_nothing(backbone: str, fit: Fit, captions: Captions, tmp_path: Path) -> None:
    fit(BackbonePretraining(backbone, **KEYS), [captions()], [captions()], fast_dev_run=True)
    assert not (tmp_path / "run").exists()


def test_temperature_stays_in_range(backbone: str, fit: Fit, captions: Captions) -> None:
    task = BackbonePretraining(backbone, lr=1.0, **KEYS)
    fit(task, [captions(seed=s) for s in range(6)], max_epochs=1)
    assert 0.001 <= task.temperature.item() <= 0.5
    assert task.temperature.item() != pytest.approx(0.07)


def test_captions_of_one_image_are_no_rivals(backbone: str, captions: Captions) -> None:
    task = BackbonePretraining(backbone, **KEYS).eval()
    task.configure_model()
    batch = captions(2, same_image=True)
    batch["images"][1] = batch["images"][0]
    with torch.no_grad():
        losses = task.losses(batch)
    # image to text: both texts are targets, so a soft cross entropy; text to image: two equal images
    sim = task.model.encode_text(batch["input_ids"], batch["attention_mask"]).text_features
    sim = sim @ task.model.encode_images(batch["images"]).image_features.T / 0.07
    expected = -(sim.T.log_softmax(dim=1).mean() + sim.log_softmax(dim=1).mean()) / 2
    assert losses.loss_itc.item() == pytest.approx(expected.item(), rel=1e-4)
    assert losses.recall_1 == 1.0


def test_batch_of_one(backbone: str, fit: Fit, captions: Captions) -> None:
    trainer = fit(BackbonePretraining(backbone, **KEYS), [captions(1)], max_epochs=1)
    assert torch.isfinite(trainer.callback_metrics["train/loss"])


def test_run_from_random_weights_can_be_resumed(
    fit: Fit, captions: Captions, tmp_path: Path, config: BackboneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "miniature", config)
    path = str(tmp_path / "last.ckpt")
    torch.manual_seed(0)
    first = BackbonePretraining("random:miniature", **KEYS)
    fit(first, [captions()], max_epochs=1).save_checkpoint(path)
    torch.manual_seed(1)
    second = BackbonePretraining("random:miniature", **KEYS)
    trainer = fit(second, [captions()], max_epochs=2, ckpt_path=path)
    assert trainer.global_step == 2
    loaded = BackbonePretraining.load_from_checkpoint(path, weights_only=True)
    assert torch.equal(loaded.model.text_proj.weight, first.model.text_proj.weight)
    assert torch.equal(loaded.temperature, first.temperature)


def test_continuing_takes_over_every_part(
    backbone: str, make_backbone: Callable[[int], str], fit: Fit, captions: Captions, tmp_path: Path
) -> None:
    first = BackbonePretraining(backbone, lr=1e-2, **KEYS)
    trainer = fit(first, [captions(seed=s) for s in range(3)], max_epochs=1)
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    second = BackbonePretraining(make_backbone(1), continue_from=str(tmp_path / "first.ckpt"), **KEYS)
    second.configure_model()
    state = second.state_dict()
    assert any(name.startswith("caption_decoder.") for name in state)
    assert all(torch.equal(state[name], tensor) for name, tensor in first.state_dict().items())


def test_continuing_from_weights_alone_is_refused(backbone: str) -> None:
    file = f"{backbone}/model.safetensors"
    task = BackbonePretraining(backbone, continue_from=file, **KEYS)
    with pytest.raises(CheckpointError, match="model.safetensors: no checkpoint of a run"):
        task.configure_model()


def test_continuing_from_another_run_is_refused_in_one_line(
    backbone: str, fit: Fit, captions: Captions, tmp_path: Path
) -> None:
    trainer = fit(BackbonePretraining(backbone, **KEYS), [captions()], max_epochs=1)
    path = tmp_path / "first.ckpt"
    trainer.save_checkpoint(path)
    content = torch.load(path, weights_only=True)

    def refused(name: str, state: dict[str, torch.Tensor]) -> str:
        torch.save({**content, "state_dict": state}, tmp_path / name)
        task = BackbonePretraining(backbone, continue_from=str(tmp_path / name), **KEYS)
        with pytest.raises(CheckpointError, match=name) as error:
            task.configure_model()
        assert "\n" not in str(error.value)
        return str(error.value)

    state = content["state_dict"]
    no_decoder = {name: tensor for name, tensor in state.items() if not name.startswith("caption_decoder.")}
    assert "lacks or has unknown tensors: caption_decoder." in refused("old.ckpt", no_decoder)
    wider = {name: torch.cat([tensor, tensor]) if tensor.ndim else tensor for name, tensor in state.items()}
    assert f"of another size than {backbone}" in refused("wider.ckpt", wider)
