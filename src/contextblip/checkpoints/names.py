"""Names of the model's tensors: which part they belong to, and tables that translate other names to ours."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor

from contextblip.errors import CheckpointError
from contextblip.models.contextblip import BACKBONE_PARTS

ADAPTED_PARTS = ("adapter", "mim_decoder", "score_head", "inter_context")
TEMPERATURE = "temperature"

_INDEX = re.compile(r"\.(\d+)\.")
_PLACEHOLDER = ".{n}."

Pair = tuple[str, str]


def part_of(name: str) -> str:
    """Return the part of the model a tensor belongs to: the first word of its name."""
    return name.split(".", 1)[0]


def is_backbone_name(name: str) -> bool:
    """Tell whether a tensor in our names belongs to the backbone (``temperature`` does not)."""
    return part_of(name) in BACKBONE_PARTS


def few(names: Iterable[str], limit: int = 5) -> str:
    """Join the first names for a message and count the rest."""
    listed = sorted(names)
    rest = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + rest


def with_parameters(pairs: Sequence[Pair]) -> list[Pair]:
    """Return each pair of modules as its pairs of ``weight`` and ``bias``."""
    return [(f"{ours}.{kind}", f"{theirs}.{kind}") for ours, theirs in pairs for kind in ("weight", "bias")]


def prefixed(ours: str, theirs: str, pairs: Sequence[Pair]) -> list[Pair]:
    """Put a prefix before both names of each pair."""
    return [(ours + left, theirs + right) for left, right in pairs]


class NameTable:
    """A one-to-one translation between our names and another code's.

    Args:
        pairs: Our name and theirs; ``.{n}.`` stands for a layer's number, at most once on each side.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._to_ours = {theirs: ours for ours, theirs in pairs}
        self._to_theirs = dict(pairs)

    def to_ours(self, name: str) -> str | None:
        """Return our name for theirs, ``None`` where the table has none."""
        return _translate(self._to_ours, name)

    def to_theirs(self, name: str) -> str | None:
        """Return their name for ours, ``None`` where the table has none."""
        return _translate(self._to_theirs, name)

    def translate(
        self, tensors: Mapping[str, Tensor], ignored: Collection[str], source: str
    ) -> dict[str, Tensor]:
        """Give tensors our names.

        Args:
            tensors: Tensors in their names.
            ignored: Names to leave out.
            source: The file, for the message.

        Returns:
            The rest in our names.

        Raises:
            CheckpointError: The table does not know a name.
        """
        state: dict[str, Tensor] = {}
        unknown = []
        for name in sorted(tensors.keys() - set(ignored)):
            if (ours := self.to_ours(name)) is None:
                unknown.append(name)
            else:
                state[ours] = tensors[name]
        if unknown:
            raise CheckpointError(
                f"{source}: {len(unknown)} tensors have no place in the model: {few(unknown)}"
            )
        return state


def _translate(table: dict[str, str], name: str) -> str | None:
    """Look a name up, first as it is, then with its first number as the layer's."""
    if (found := table.get(name)) is not None:
        return found
    match = _INDEX.search(name)
    if match is None:
        return None
    found = table.get(name[: match.start()] + _PLACEHOLDER + name[match.end() :])
    return None if found is None else found.replace("{n}", match[1])
