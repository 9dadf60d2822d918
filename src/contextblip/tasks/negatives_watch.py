"""Says, once a run, where negatives could not be drawn by similarity."""

import logging

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

log = logging.getLogger(__name__)

FALLBACKS = (
    "a training step has one image-text pair alone: there is no negative to draw, and matching trains on "
    "positives only; raise --data.batch_size to 2 or more",
    "all pairs of a training step have one image: negatives are drawn uniformly from its other captions, "
    "which match it; raise --data.batch_size, or lower --data.group_size",
    "all similarities of a training step are equal: negatives are drawn uniformly; are the weights of "
    "--model.backbone trained ones, and do the images differ?",
)
"""What may happen and what to do; the order of `fallbacks`."""
_EQUAL = 1e-6  # cosine similarities that differ by less differ by rounding


@torch.no_grad()
def fallbacks(sim: Tensor, same_image: Tensor | None) -> Tensor:
    """Tell which fall-backs a step's negatives are drawn by; nothing waits for the device.

    Args:
        sim: Similarities of the process's B pairs with C, ``(B, C)``.
        same_image: Pairs never to be drawn, ``(B, C)`` bool; ``None``: a row's own only.

    Returns:
        One entry for each of `FALLBACKS`, 0 or 1, int32.
    """
    single = torch.tensor(sim.shape[1] < 2, device=sim.device)
    one_image = torch.zeros_like(single) if same_image is None else same_image.all()
    equal = sim.amax() - sim.amin() < _EQUAL
    return torch.stack([single, one_image & ~single, equal & ~single]).int()


class NegativesWatch:
    """Collects the fall-backs of a training and warns of each kind once, for all processes.

    They are looked at after the first step and then as often as the trainer logs, since looking waits for the
    device.
    """

    def __init__(self) -> None:
        self._met: Tensor | None = None
        self._steps = 0
        self._said = [False] * len(FALLBACKS)

    def note(self, task: LightningModule, fell_back: Tensor) -> None:
        """Collect those of a training step; all processes call it at the same steps.

        Args:
            task: Knows the trainer; outside of training nothing is collected.
            fell_back: From `fallbacks`.
        """
        if task._trainer is None or not task.training:
            return
        trainer = task.trainer
        self._met = fell_back if self._met is None else self._met | fell_back
        if self._steps % max(trainer.log_every_n_steps, 1) == 0 and not all(self._said):  # type: ignore[attr-defined]  # set by a connector
            anywhere = trainer.strategy.reduce(self._met.clone(), reduce_op="max").tolist()
            for number, (met, line) in enumerate(zip(anywhere, FALLBACKS, strict=True)):
                if met and not self._said[number] and trainer.is_global_zero:
                    log.warning("%s", line)
                self._said[number] |= bool(met)
        self._steps += 1
