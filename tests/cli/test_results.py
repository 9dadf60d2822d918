"""The table after a test: families of groups first, what all cases have last."""

import pytest
import torch

from contextblip.cli.results import print_metrics


def test_metrics_of_all_cases_stand_last(capsys: pytest.CaptureFixture[str]) -> None:
    values = {
        "test/loss": 1.5,
        "test/accuracy": 0.25,
        "test/accuracy/spatial": 0.5,
        "n/test/accuracy": 2302.0,
        "n/test/accuracy/spatial": 4.0,
        "test/baseline/prior": 0.125,
    }
    print_metrics({name: torch.tensor(value) for name, value in values.items()})
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["metric", "value", "n"],
        ["test/accuracy/spatial", "0.5000", "4"],
        [],
        ["test/baseline/prior", "0.1250"],
        [],
        ["test/loss", "1.5000"],
        ["test/accuracy", "0.2500", "2,302"],
    ]


def test_nothing_measured_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics({"n/test/accuracy": torch.tensor(1.0)})
    assert capsys.readouterr().out == ""
