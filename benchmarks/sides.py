"""One side of a comparison: what is run, and what it computed, so that two sides can be held together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


class MismatchError(Exception):
    """Two sides that should do the same work computed different things."""


class Outputs(NamedTuple):
    """What a side computed; what its case has not is ``None``.

    Attributes:
        candidate_logits: Margins of each query's candidates, ``(Q, K)``.
        losses: Losses in the order of the case, ``(n,)``.
        gradient: Of one weight far from the loss.
    """

    candidate_logits: Tensor | None = None
    losses: Tensor | None = None
    gradient: Tensor | None = None


@dataclass(frozen=True)
class Side:
    """One way of doing a case's work.

    Attributes:
        run: Does the work.
        prepare: Brings everything to where it was before the work, which is not measured.
    """

    run: Callable[[], Outputs]
    prepare: Callable[[], None] = lambda: None

    def __call__(self) -> Outputs:
        """Prepare and run."""
        self.prepare()
        return self.run()


class Tolerance(NamedTuple):
    """How far two sides may lie apart.

    Attributes:
        logits: Share of the distance between a query's best and worst candidate.
        losses: In the losses' own units.
        gradient: Norm of the difference, as a share of the gradient's.
    """

    logits: float
    losses: float
    gradient: float


TOLERANCES: Mapping[Precision, Tolerance] = {
    "fp32": Tolerance(logits=1e-4, losses=1e-4, gradient=1e-3),
    # bf16 keeps 8 bits, and the roundings of 24 layers add up: at real size the stock model under the same
    # autocast lies up to 0.066 of the spread from itself in fp32, ours 0.052
    "bf16": Tolerance(logits=0.1, losses=0.05, gradient=0.25),
}


def check_equal(case: str, precision: Precision, ours: Outputs, peer: Outputs) -> None:
    """Check that two sides did the same work.

    Args:
        case: Name, for the message.
        precision: Of our side; the peer's is fp32.
        ours: What we computed.
        peer: What the peer computed.

    Raises:
        MismatchError: They lie further apart than `TOLERANCES` allows, or two candidates of a query that the
            peer tells apart by more than that are ranked in another order.
    """
    allowed = TOLERANCES[precision]
    for name, limit, apart in (
        ("candidate_logits", allowed.logits, _of_spread),
        ("losses", allowed.losses, _absolute),
        ("gradient", allowed.gradient, _of_norm),
    ):
        found, expected = getattr(ours, name), getattr(peer, name)
        if (found is None) != (expected is None):
            raise MismatchError(f"{case}, {precision}: only one side computed {name}")
        distance = 0.0 if found is None else apart(found.float(), expected.float())
        if not distance <= limit:  # also where it is no number
            raise MismatchError(f"{case}, {precision}: {name} differ by {distance:.2g}, allowed is {limit:g}")
    found, expected = ours.candidate_logits, peer.candidate_logits
    if found is not None and expected is not None and _reordered(found, expected, allowed.logits):
        raise MismatchError(f"{case}, {precision}: candidates that lie apart are ranked in another order")


def _of_spread(found: Tensor, expected: Tensor) -> float:
    spread = expected.amax(dim=1) - expected.amin(dim=1)
    return float(((found - expected).abs().amax(dim=1) / spread).max())


def _absolute(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


def _of_norm(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _reordered(found: Tensor, expected: Tensor, share: float) -> bool:
    """Whether candidates change places although the peer holds them that share of the spread apart."""
    spread = (expected.amax(dim=1) - expected.amin(dim=1))[:, None, None]
    gaps, ours = (logits[:, :, None] - logits[:, None, :] for logits in (expected, found))
    return bool(((gaps > share * spread) & (ours <= 0)).any())
