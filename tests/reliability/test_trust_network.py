"""Runs talk to nobody: no network is needed, none is tried, and nothing is told to anyone."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from contextblip.cli import main
from tests.reliability.conftest import Words

ROOT = Path(__file__).parents[2]
# In a process of its own: the libraries read these switches when they are imported
PROBE = """
import socket, sys
tried = []
def refuse(*given, **more):
    tried.append(given)
    raise OSError("no network")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse
from contextblip.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
from huggingface_hub import constants
from huggingface_hub.utils import build_hf_headers
agent = build_hf_headers()["user-agent"]
print(status, len(tried), constants.HF_HUB_DISABLE_TELEMETRY, "torch/" in agent or "agent/" in agent)
"""


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cut the network off and collect who tried to use it."""
    found: list[str] = []
    connect = socket.socket.connect

    def refuse(name: str) -> object:
        def call(*given: object, **_: object) -> None:
            if isinstance(given[0], socket.socket) and given[0].family == socket.AF_UNIX:
                return connect(*given)  # type: ignore[arg-type]  # workers of this machine
            found.append(f"{name}{given}")
            raise OSError("no network")

        return call

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse(name))
    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse(name))
    return found


def test_the_cut_is_felt(tried: list[str]) -> None:
    with pytest.raises(URLError, match="no network"):
        urlopen("http://127.0.0.1:9/", timeout=1)
    assert len(tried) == 1


@pytest.mark.parametrize("stage", ["pretrain", "finetune", "intercontext"])
def test_a_stage_from_training_to_predictions(stage: str, fit_words: Words, tried: list[str]) -> None:
    words = [word for word in fit_words(stage, "run") if word != "--trainer.logger=false"]
    words.append("--trainer.callbacks=[callbacks.PredictionWriter,callbacks.MetricsWriter]")
    main([*words, "--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--data.num_workers=1"])
    assert any(Path("run").glob("events.out.tfevents*"))
    if stage != "pretrain":
        kept = [word for word in words if not word.startswith(("--run_dir", "--data.global"))]
        main(["test", *kept[1:], "--ckpt_path=run/checkpoints/last.ckpt", "--trainer.limit_test_batches=1"])
    assert tried == []


@pytest.mark.parametrize("source", ["no-such-org/blip-itm-base"])
def test_an_id_offline_is_one_line_and_tries_nothing(source: str, world: Path, tmp_path: Path) -> None:
    home = {
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
    }
    switches = ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_CACHE")
    plain = {key: value for key, value in os.environ.items() if key not in switches}
    words = [
        "test",
        "--config=experiments/zero_shot.yaml",
        f"--model.backbone={source}",
        f"--data.root={world}",
    ]
    words += ["--trainer.accelerator=cpu", f"--run_dir={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words], env={**plain, **home}, cwd=ROOT, capture_output=True, text=True
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert source in errors[0]
    assert "unset HF_HUB_OFFLINE" in errors[0]
    assert done.stdout.splitlines()[-1] == "2 0 True False"
