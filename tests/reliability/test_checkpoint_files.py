"""No half checkpoint is ever found under its name, and a damaged one is passed over."""

import errno
import os
from pathlib import Path

import pytest
import torch

from contextblip.checkpoints.whole_files import WholeCheckpointIO, is_whole, newest_whole
from contextblip.cli import main
from contextblip.errors import CheckpointError
from tests.reliability.conftest import Words, checkpoint, recording
from tests.reliability.processes import start
from tests.reliability.recorder import read_steps

CONTENT = {"state_dict": {"a": torch.arange(30_000.0)}, "epoch": 3}


def damage(path: Path, how: str) -> None:
    """Do to a file what a power cut or a bad disk does."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if how == "truncated":
        content = content[:middle]
    elif how == "empty":
        content = bytearray()
    elif how == "zeros":
        content[middle:] = bytes(len(content) - middle)
    else:
        content[middle] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "empty", "zeros", "one bit"])
def test_a_damaged_file_is_no_whole_one(how: str, tmp_path: Path) -> None:
    WholeCheckpointIO().save_checkpoint(CONTENT, tmp_path / "last.ckpt")
    assert is_whole(tmp_path / "last.ckpt")
    damage(tmp_path / "last.ckpt", how)
    assert not is_whole(tmp_path / "last.ckpt")


def test_a_sharded_checkpoint_is_whole_when_its_metadata_are_there(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").mkdir()
    (tmp_path / "last.ckpt" / "__0_0.distcp").write_bytes(b"shard")
    assert not is_whole(tmp_path / "last.ckpt")
    (tmp_path / "last.ckpt" / ".metadata").write_bytes(b"written last")
    assert is_whole(tmp_path / "last.ckpt")


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path: Path) -> None:
    WholeCheckpointIO().save_checkpoint(CONTENT, tmp_path / "new" / "last.ckpt")
    read = WholeCheckpointIO().load_checkpoint(tmp_path / "new" / "last.ckpt", weights_only=True)
    assert torch.equal(read["state_dict"]["a"], CONTENT["state_dict"]["a"])  # type: ignore[index]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["last.ckpt"]


def test_a_writing_that_breaks_off_leaves_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpointIO().save_checkpoint(CONTENT, path)
    former = path.read_bytes()

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(
        CheckpointError, match=r"last\.ckpt cannot be written: No space left on device; .*whole"
    ):
        WholeCheckpointIO().save_checkpoint({"epoch": 4}, path)
    assert path.read_bytes() == former
    assert [name.name for name in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_newest_whole_file_is_found_and_newer_ones_are_named(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.ckpt" for name in ("oldest", "middle", "newest")]
    for moment, path in enumerate(paths):
        WholeCheckpointIO().save_checkpoint(CONTENT, path)
        os.utime(path, (moment, moment))
    assert newest_whole(paths) == (paths[2], [])
    damage(paths[2], "truncated")
    os.utime(paths[2], (9, 9))
    assert newest_whole(paths) == (paths[1], [paths[2]])
    damage(paths[1], "one bit")
    damage(paths[0], "empty")
    whole, damaged = newest_whole(paths)
    assert whole is None
    assert sorted(damaged) == sorted(paths)


def test_resuming_passes_over_a_truncated_checkpoint(
    fit_words: Words, caplog: pytest.LogCaptureFixture
) -> None:
    every = ["--checkpoint.every_n_epochs=1", "--checkpoint.save_top_k=-1", "--checkpoint.monitor=null"]
    main([*fit_words("finetune", "whole"), *every, *recording(Path("whole.jsonl"))])
    main([*fit_words("finetune", "run"), *every, *recording(Path("run.jsonl"))])
    folder = Path("run/checkpoints")
    assert len(list(folder.glob("*.ckpt"))) == 3  # of two epochs, and the last
    newest = max(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    damage(newest, "truncated")
    second = max(
        (path for path in folder.glob("*.ckpt") if path != newest), key=lambda path: path.stat().st_mtime_ns
    )
    damage(second, "one bit")  # the last and that of the second epoch hold the same
    main([*fit_words("finetune", "run", "--resume=auto"), *every, *recording(Path("run.jsonl"))])
    assert sum("is not whole" in record.message for record in caplog.records) == 2
    assert len(list(folder.glob("*.ckpt.damaged"))) == 2  # nothing is lost
    assert read_steps(Path("run.jsonl")) == read_steps(Path("whole.jsonl"))
    for name, tensor in checkpoint("whole")["state_dict"].items():
        assert torch.equal(tensor, checkpoint("run")["state_dict"][name]), name


def test_a_full_disk_is_one_line_and_leaves_the_last_good_checkpoint(
    fit_words: Words, checkout: Path
) -> None:
    words = fit_words("finetune", "run", "--trainer.max_epochs=1")
    main(words)
    good = checkpoint("run")
    limit = Path("run/checkpoints/last.ckpt").stat().st_size // 2
    more = [word for word in words if "max_epochs" not in word] + ["--trainer.max_epochs=2", "--resume=auto"]
    log = checkout / "log"
    process = start(more, checkout, log, file_limit=limit)
    process.join()
    assert process.exitcode == 2
    errors = [line for line in log.read_text().splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "last.ckpt cannot be written: File too large" in errors[0]
    assert "--resume auto" in errors[0]
    after = checkpoint("run")
    assert after["global_step"] == good["global_step"]
    assert not list(Path("run/checkpoints").glob(".*"))
    main(more)  # with room again
    assert checkpoint("run")["epoch"] == 1


def test_resuming_an_unbegun_run_begins_and_a_finished_one_ends_at_once(
    fit_words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    words = fit_words("finetune", "run", "--resume=auto", *recording(Path("steps")))
    main(words)
    assert "no whole checkpoint in run/checkpoints yet, training begins" in capsys.readouterr().out
    former = Path("steps").read_text()
    main(words)
    assert "run/checkpoints/last.ckpt" in capsys.readouterr().out
    assert Path("steps").read_text() == former


def test_a_run_killed_before_its_last_checkpoint_had_that_name(fit_words: Words) -> None:
    words = [*fit_words("finetune", "run", "--resume=auto"), "--checkpoint.every_n_train_steps=1"]
    words.append("--checkpoint.monitor=null")
    main(words)
    folder = Path("run/checkpoints")
    (numbered,) = [path for path in folder.glob("*.ckpt") if path.name != "last.ckpt"]
    whole = checkpoint("run")
    (folder / "last.ckpt").write_bytes(b"of the step before")
    os.utime(folder / "last.ckpt", (1, 1))
    main(words)
    assert (folder / "last.ckpt").read_bytes() == numbered.read_bytes()
    assert checkpoint("run")["global_step"] == whole["global_step"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--run_dir=null"], "resume auto needs --run_dir"),
        (["--ckpt_path=last.ckpt"], "leave out --ckpt_path or --resume"),
    ],
)
def test_resume_says_what_it_needs(
    more: list[str], told: str, fit_words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(fit_words("finetune", "run", "--resume=auto", *more))
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err
