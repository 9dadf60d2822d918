"""The leaderboard's file: order, completeness, and a check that names each fault."""

import json
from pathlib import Path
from typing import Any

import pytest

from contextblip.cli import main
from contextblip.errors import ConfigurationError
from contextblip.submission import make_submission, submission_faults


def row(name: str, query_index: int, prediction: int) -> dict[str, Any]:
    return {"set": name, "query_index": query_index, "prediction": prediction, "target": None}


def test_predictions_stand_in_the_order_of_the_descriptions() -> None:
    rows = [row("b", 1, 4), row("a", 0, 9), row("b", 0, 2)]
    assert make_submission(rows) == {"b": [2, 4], "a": [9]}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("a", 0, 1), row("a", 0, 2)], "set a: description 0 was predicted twice"),
        ([row("a", 1, 1)], "set a: predictions for descriptions [1], expected all from 0"),
    ],
)
def test_a_part_of_a_set_is_no_submission(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        make_submission(rows)
    assert said in str(error.value)


def test_every_fault_is_named() -> None:
    submission: dict[str, list[object]] = {"a": [0, 9], "b": [10, -1], "c": [True, 1.0], "x": [1]}
    faults = submission_faults(submission, {"a": 3, "b": 2, "c": 2, "d": 1})
    assert [fault.problem for fault in faults] == [
        "set d is missing",
        "set x is not in the split",
        "set a has 2 predictions for 3 descriptions",
        "set b, description 0: 10 is no index 0 to 9",
        "set b, description 1: -1 is no index 0 to 9",
        "set c, description 0: True is no index 0 to 9",
        "set c, description 1: 1.0 is no index 0 to 9",
    ]
    assert submission_faults({"a": [0, 9]}, {"a": 2}) == []


@pytest.mark.parametrize(
    ("submission", "remedy"),
    [
        ({"a": [0]}, "predict the whole split"),
        ({}, "predict the whole split"),
        ({"a": [0, 1, 2]}, "give the data that was predicted as --root"),
        ({"a": [0, 1], "x": [0]}, "give the data that was predicted as --root"),
        ({"a": [0, 10]}, "write whole numbers 0 to 9, the places of the images in their set"),
        ({"a": [0, "3"]}, "write whole numbers 0 to 9, the places of the images in their set"),
    ],
)
def test_each_fault_has_its_own_remedy(submission: dict[str, list[object]], remedy: str) -> None:
    assert [fault.remedy for fault in submission_faults(submission, {"a": 2})] == [remedy]


def test_each_kind_of_fault_is_shown_before_more_of_one(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = list(json.loads((world / "imagecode" / "test_data_unlabeled.json").read_text()))
    file = tmp_path / "submission.json"
    file.write_text(json.dumps({"foreign": [0], names[-1]: ["3"]}))
    with pytest.raises(SystemExit):
        main(["submit-check", str(file), "--root", str(world)])
    (line,) = capsys.readouterr().err.splitlines()
    for said in ("is missing", "set foreign is not in the split", "'3' is no index 0 to 9"):
        assert said in line


def test_the_check_takes_what_other_commands_take_as_a_root(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    descriptions = json.loads((world / "imagecode" / "test_data_unlabeled.json").read_text())
    file = tmp_path / "submission.json"
    file.write_text(json.dumps({name: [0] * len(texts) for name, texts in descriptions.items()}))
    main(["submit-check", str(file), "--root", f"miniature:{world}"])
    assert "all in place" in capsys.readouterr().out
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SystemExit) as stop:
            main(["submit-check", str(file), "--root", str(root)])
        (line,) = capsys.readouterr().err.splitlines()
        assert stop.value.code == 2
        assert "set --root to the folder of the data set" in line


def test_predict_writes_what_the_check_takes(
    world: Path, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).parents[1]
    arguments = ["--model.backbone", str(backbone), "--data.root", str(world), "--data.num_workers", "0"]
    config = ["--config", str(root / "experiments" / "zero_shot.yaml"), "--trainer.accelerator", "cpu"]
    run = tmp_path / "run"
    main(["predict", *config, *arguments, "--run_dir", str(run)])
    file = run / "submission.json"
    descriptions = json.loads((world / "imagecode" / "test_data_unlabeled.json").read_text())
    assert {name: len(answers) for name, answers in json.loads(file.read_text()).items()} == {
        name: len(texts) for name, texts in descriptions.items()
    }
    main(["submit-check", str(file), "--root", str(world)])
    assert "all in place" in capsys.readouterr().out
    file.write_text(json.dumps(dict(list(json.loads(file.read_text()).items())[1:])))
    with pytest.raises(SystemExit) as stop:
        main(["submit-check", str(file), "--root", str(world)])
    assert stop.value.code == 2
    assert "would be refused: set " in capsys.readouterr().err


def test_the_whole_real_test_split_makes_a_submission(
    real_data: Path, backbone: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real texts; images, which are not there, are links to one small picture."""
    root = tmp_path / "imagecode"
    root.mkdir()
    source = real_data / "imagecode" / "test_data_unlabeled.json"
    (root / source.name).symlink_to(source.absolute())
    picture = root / "picture.jpg"  # links may not lead out of the root
    picture.write_bytes(next((world / "imagecode" / "image-sets").rglob("*.jpg")).read_bytes())
    for name in json.loads(source.read_text()):
        folder = root / "image-sets" / name
        folder.mkdir(parents=True)
        for number in range(10):
            (folder / f"img{number}.jpg").symlink_to(picture)
    experiment = Path(__file__).parents[1] / "experiments" / "zero_shot.yaml"
    run = tmp_path / "run"
    words = ["--data.root", str(root), "--data.num_workers", "0", "--trainer.accelerator", "cpu"]
    words += ["--model.backbone", str(backbone), "--run_dir", str(run)]
    main(["predict", "--config", str(experiment), *words])
    submission = json.loads((run / "submission.json").read_text())
    assert (len(submission), sum(map(len, submission.values()))) == (1046, 2306)
    main(["submit-check", str(run / "submission.json"), "--root", str(root)])
    assert "all in place" in capsys.readouterr().out


def test_labelled_predictions_are_no_submission(world: Path, backbone: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    arguments = ["--model.backbone", str(backbone), "--data.root", str(world), "--data.num_workers", "0"]
    config = ["--config", str(root / "experiments" / "zero_shot.yaml"), "--trainer.accelerator", "cpu"]
    main(
        ["predict", *config, *arguments, "--data.predict_split", "valid", "--run_dir", str(tmp_path / "run")]
    )
    assert (tmp_path / "run" / "predictions.jsonl").is_file()
    assert not (tmp_path / "run" / "submission.json").exists()


def test_a_file_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["submit-check", str(tmp_path / "no.json"), "--root", str(tmp_path)])
    assert stop.value.code == 2
    assert "no.json cannot be read (No such file or directory)" in capsys.readouterr().err
