"""SIGTERM and SIGUSR1 end a training at a step's end, saved; SLURM puts the job back into the queue."""

import signal
from pathlib import Path

import pytest

from contextblip.cli import main
from contextblip.cli.stopping import GracefulStop
from tests.reliability.conftest import Words, checkpoint, recording
from tests.reliability.processes import start
from tests.reliability.recorder import read_steps

SCONTROL = '#!/bin/sh\necho "$@" >> {calls}\nexit {status}\n'


def put_scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> Path:
    """Put a scontrol on the path that writes down what it is asked."""
    calls, program = folder / "calls", folder / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(SCONTROL.format(calls=calls, status=status))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return calls


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_a_process_with_a_checkpoint_and_its_status(
    number: signal.Signals, fit_words: Words, checkout: Path
) -> None:
    log, steps = checkout / "log", checkout / "steps"
    process = start(
        [*fit_words("pretrain", "run"), *recording(steps, stop_at=2, number=int(number))], checkout, log
    )
    process.join()
    assert process.exitcode == 128 + number
    lines = log.read_text().splitlines()
    assert lines[-1] == f"stopped by {number.name} after step 2; go on with --resume auto"
    assert not any("Traceback" in line for line in lines)
    assert checkpoint("run")["global_step"] == 2
    assert max(read_steps(steps)) == (0, 3)


def test_a_signal_within_an_accumulation_waits_for_its_step(fit_words: Words) -> None:
    # the recorder's signal comes in the first of the two batches of step 2
    with pytest.raises(SystemExit) as stopped:
        main(fit_words("finetune", "run", *recording(Path("steps"), stop_at=1, late=1)))
    assert stopped.value.code == 128 + 15
    assert checkpoint("run")["global_step"] == 2
    assert max(read_steps(Path("steps"))) == (0, 3)


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({"SLURM_JOB_ID": "77"}, "requeue 77"),
        (
            {"SLURM_JOB_ID": "79", "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "2"},
            "requeue 77_2",
        ),
    ],
)
def test_sigusr1_puts_a_slurm_job_back_into_the_queue(
    environment: dict[str, str],
    asked: str,
    fit_words: Words,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = put_scontrol(checkout, monkeypatch)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # interactive: Lightning starts no cluster of its own
    with pytest.raises(SystemExit) as stopped:
        main(fit_words("finetune", "run", *recording(Path("steps"), stop_at=1, number=10)))
    assert stopped.value.code == 128 + 10
    assert calls.read_text().split("\n")[0] == asked
    assert "is requeued" in capsys.readouterr().out
    assert checkpoint("run")["global_step"] == 1


def test_a_queue_that_refuses_is_told_and_sigterm_asks_for_nothing(
    fit_words: Words, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = put_scontrol(checkout, monkeypatch, status=1)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    for number, asked in ((15, 0), (10, 1)):
        with pytest.raises(SystemExit):
            main(
                fit_words(
                    "finetune", f"run{number}", *recording(Path(f"s{number}"), stop_at=1, number=number)
                )
            )
        assert (len(calls.read_text().splitlines()) if calls.exists() else 0) == asked
    assert "scontrol requeue 77:" in capsys.readouterr().out


def test_signals_are_given_back(fit_words: Words) -> None:
    main(fit_words("finetune", "run", "--trainer.limit_train_batches=2", "--trainer.max_epochs=1"))
    for number in (signal.SIGTERM, signal.SIGUSR1):  # Lightning leaves handlers of its own
        assert not isinstance(getattr(signal.getsignal(number), "__self__", None), GracefulStop)
