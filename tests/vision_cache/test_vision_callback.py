"""Which tasks take the cache, when, and how many images are expected."""

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from contextblip.errors import ConfigurationError
from contextblip.tasks import FineTuning, ImageTextRetrieval, InterContext, Pretraining, ZeroShot
from contextblip.vision_cache import encoder, keys, sizes, store
from contextblip.vision_cache.callback import VisionCache, images_at_most

EVALUATIONS = ("validate", "test", "predict")


def trainer(augment: bool = False) -> Trainer:
    return cast(Trainer, SimpleNamespace(datamodule=SimpleNamespace(augment=augment)))


@pytest.mark.parametrize("task", [ZeroShot, InterContext, ImageTextRetrieval])
def test_evaluations_with_a_frozen_vit_take_it(task: type[LightningModule]) -> None:
    for stage in EVALUATIONS:
        VisionCache(Path("x")).setup(trainer(augment=True), task("random:base"), stage)


@pytest.mark.parametrize("task", [FineTuning, Pretraining])
def test_others_are_refused(task: type[LightningModule]) -> None:
    for stage in ("fit", *EVALUATIONS):
        with pytest.raises(ConfigurationError, match=rf"cache x: {task.__name__} cannot .* --cache off"):
            VisionCache(Path("x")).setup(trainer(), task("random:base"), stage)


def test_a_training_takes_it_unless_its_images_are_augmented() -> None:
    task = InterContext("random:base")
    VisionCache(Path("x")).setup(trainer(augment=False), task, "fit")
    with pytest.raises(
        ConfigurationError, match=r"data\.augment is true.*--data\.augment false.*--cache off"
    ):
        VisionCache(Path("x")).setup(trainer(augment=True), task, "fit")


def test_a_trial_validation_comes_before_the_data_are_known() -> None:
    task = InterContext("random:base")
    trial: Any = SimpleNamespace(sanity_checking=True)
    VisionCache(Path("x")).on_validation_start(trial, task)
    assert task.vision_cache is None


def loader(batch_size: int = 2, **dataset: object) -> SimpleNamespace:
    return SimpleNamespace(dataset=SimpleNamespace(**dataset), batch_size=batch_size)


def sets(*sizes: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(names=("x",) * size) for size in sizes]


@pytest.mark.parametrize(
    ("loaders", "batches", "world_size", "expected"),
    [
        (loader(sets=sets(10, 10, 3)), [5], 1, 23),
        (loader(sets=sets(10, 10, 3)), [1], 1, 20),  # two queries over two sets
        (loader(sets=sets(10, 10, 3)), [1], 2, 23),
        ([loader(files=["a"] * 7), loader(texts=["b"] * 35)], [9, 18], 1, 7),
        ([loader(files=["a"] * 7), loader(texts=["b"] * 35)], [2, 18], 1, 4),
        ([loader(files=["a"] * 7), loader()], [9, 18], 1, None),
    ],
)
def test_images_at_most(loaders: object, batches: list[int], world_size: int, expected: int | None) -> None:
    running: Any = SimpleNamespace(
        state=SimpleNamespace(fn=TrainerFn.TESTING),
        world_size=world_size,
        test_dataloaders=loaders,
        num_test_batches=batches,
        val_dataloaders=loader(sets=sets(1000)),
        num_val_batches=[1],
    )
    assert images_at_most(running) == expected


def test_a_training_counts_all_of_its_images_and_those_of_validation() -> None:
    running: Any = SimpleNamespace(
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        world_size=1,
        train_dataloader=loader(sets=sets(10, 10, 10)),
        num_training_batches=1,  # another one each epoch
        val_dataloaders=None,
        num_val_batches=[],
    )
    assert images_at_most(running) == 30
    running.val_dataloaders, running.num_val_batches = loader(sets=sets(10, 10, 10)), [1]
    assert images_at_most(running) == 50


def test_store_and_keys_know_no_lightning() -> None:
    for module in (encoder, keys, sizes, store):
        source = ast.walk(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")))
        names = {
            name
            for node in source
            for name in (
                [node.module]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
        }
        assert names
        assert not [name for name in names if str(name).startswith(("lightning", "contextblip.tasks"))]
