"""Commands run by several gloo processes at once, and what their first gradients and last weights were."""

import os
import socket
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from tests.reliability.processes import _CONTEXT, _run


class GradientRecorder(Callback):
    """Keeps the gradients of the first optimiser step, averaged over processes, and the weights at the end.

    Args:
        path: File that receives both; rank zero writes it.
        eps: Of Adam, in place of its 1e-8. Adam divides a gradient by its own size: where that is rounding
            alone, as with biases of attention's keys, steps of full length in any direction come of it. Above
            the rounding, steps are as smooth as gradients are.
    """

    def __init__(self, path: str, eps: float = 1e-4) -> None:
        self.path = Path(path)
        self.eps = eps
        self.gradients: dict[str, torch.Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set eps."""
        del pl_module
        for group in trainer.optimizers[0].param_groups:
            group["eps"] = self.eps

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Keep the gradients of the first step."""
        del optimizer
        if trainer.global_step == 0:
            named = pl_module.named_parameters()
            self.gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write."""
        if trainer.is_global_zero:
            weights = {
                name: p.detach().clone() for name, p in pl_module.named_parameters() if p.requires_grad
            }
            found = {"gradients": self.gradients, "weights": weights, "steps": trainer.global_step}
            torch.save(found, self.path)


def run_world(words: list[str], folder: Path, processes: int, status: int = 0) -> None:
    """Run a command to its end, by so many processes that a launcher might have started.

    Args:
        words: Its words.
        folder: Where it runs.
        processes: How many.
        status: With which all of them must end.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    keys = [f"--trainer.devices={processes}", f"--trainer.strategy={'ddp' if processes > 1 else 'auto'}"]
    logs = [folder / f"log{processes}.{rank}" for rank in range(processes)]
    started = []
    for rank, log in enumerate(logs):
        member = place | {"LOCAL_RANK": str(rank), "NODE_RANK": "0"} if processes > 1 else {}
        process = _CONTEXT.Process(target=_member, args=([*words, *keys], str(folder), str(log), member))
        process.start()
        started.append(process)
    for process in started:
        process.join()
    said = "\n".join(log.read_text(encoding="utf-8")[-1500:] for log in logs)
    assert [process.exitcode for process in started] == [status] * processes, said


def _member(words: list[str], folder: str, log: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    _run(words, folder, log)
