"""Stands for `lightning`: writes what a run would, in no time; `behaviour.json` makes it slow or fail."""

import json
import os
import signal
import sys
import time
import zipfile
from pathlib import Path

words = sys.argv[1:]
options = dict(word.removeprefix("--").split("=", 1) for word in words[1:] if "=" in word)
folder = Path(options["run_dir"])
behaviour = json.loads(Path("behaviour.json").read_text()) if Path("behaviour.json").is_file() else {}


def concerns(key: str) -> bool:
    return any(part in " ".join(words) for part in behaviour.get(key, []))


with Path("starts.txt").open("a") as starts:
    starts.write(f"{folder.name} {'resumed' if 'ckpt_path' in options else 'new'}\n")
Path("environment.txt").write_text(" ".join(os.environ))
with Path("devices.txt").open("a") as devices:
    devices.write(f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {os.environ.get('OMP_NUM_THREADS')}\n")
if "model.init_from" in options:
    assert Path(options["model.init_from"]).is_file()
if words[0] == "fit":
    (folder / "checkpoints").mkdir(exist_ok=True)
    for name in ("last.ckpt", *([] if concerns("no_best") else ["best.ckpt"])):
        with zipfile.ZipFile(folder / "checkpoints" / name, "w") as file:
            file.writestr("weights", "of a fake")
if concerns("die") and "ckpt_path" not in options:
    os.kill(os.getpid(), signal.SIGKILL)
attempts = Path("starts.txt").read_text().count(f"{folder.name} ")
if concerns("kill_parent") and attempts <= behaviour.get("times", 1):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)  # until it is ended from outside
    Path("survivor.txt").write_text(folder.name)
if concerns("leave"):
    sys.exit(0)  # as Lightning after SIGTERM: status 0, but not at its end
deadline = time.monotonic() + behaviour.get("seconds", 0.0)
while time.monotonic() < deadline:
    time.sleep(0.02)
if concerns("fail"):
    sys.stdout.write("much text\nerror: no such thing; give another\nwarning: and more\n")
    sys.exit(2)
seed = float(options.get("seed_everything", 0))
share, count = 0.3 + 0.01 * (seed - 42), behaviour.get("n", 100)
metrics = {"test/accuracy": share, "n/test/accuracy": count, "test/loss": float("nan")}
text = json.dumps(metrics if words[0] == "test" else {"val/loss": 1.5}).replace("NaN", "null")
(folder / "metrics.json").write_text(text)
sys.stdout.write(f"Run folder: {folder}\n")
