"""Secrets on a command line are hidden, the project's own keys never are."""

import inspect

import pytest

import data_modules
from contextblip import tasks
from contextblip.cli.hardware import Trainer
from contextblip.cli.model_checkpoint import ModelCheckpoint
from contextblip.provenance.command import command_line, is_secret_name, mask_secrets


@pytest.mark.parametrize(
    ("typed", "recorded"),
    [
        (["--trainer.logger.api_key", "abc"], ["--trainer.logger.api_key", "***"]),
        (["--trainer.logger.init_args.api-key=abc", "x"], ["--trainer.logger.init_args.api-key=***", "x"]),
        (["--hub.access_token", "abc", "--other", "d"], ["--hub.access_token", "***", "--other", "d"]),
        (["--password=abc"], ["--password=***"]),
        (["--secret", "--flag", "abc"], ["--secret", "--flag", "abc"]),
        (["--url", "https://me:abc@host/x"], ["--url", "https://***@host/x"]),
        (["--model.backbone", f"hf_{'aB3' * 11}"], ["--model.backbone", "***"]),
        (['{"api_key": "abc", "name": "x"}'], ['{"api_key": ***, "name": "x"}']),
        (["{token: abc, name: x}"], ["{token: ***, name: x}"]),
    ],
)
def test_secrets_are_hidden(typed: list[str], recorded: list[str]) -> None:
    assert mask_secrets(typed) == recorded


def test_paths_and_own_keys_stay() -> None:
    typed = [
        "fit",
        "--model.itm_token",
        "cls",
        "--data.max_tokens=30",
        "--model.backbone",
        "w/hf_blip_itm_base_coco",
    ]
    typed += [
        "--data.tokenizer",
        "vocab.txt",
        "--trainer.callbacks",
        "[{class_path: a.B}]",
        "--data.root=s3://b/c",
    ]
    assert mask_secrets(typed) == typed


def test_no_key_of_tasks_data_and_trainer_looks_like_a_secret() -> None:
    classes = [
        *(getattr(tasks, name) for name in tasks.__all__),
        *(getattr(data_modules, name) for name in data_modules.__all__),
        Trainer.__base__,
        ModelCheckpoint,
    ]
    keys = {name for kind in classes if isinstance(kind, type) for name in inspect.signature(kind).parameters}
    assert {"max_tokens", "itm_token", "mask_token_row", "tokenizer", "precision", "monitor"} <= keys
    assert [key for key in keys if is_secret_name(key)] == []


def test_the_line_can_be_pasted_into_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sys.argv", ["/usr/bin/lightning", "fit", "--model.adapter_layers", "[3, 6]", "--token=x"]
    )
    assert command_line() == "lightning fit --model.adapter_layers '[3, 6]' '--token=***'"
