"""The gallery of an image-text retrieval test: encoded in shares, joined over all processes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from contextblip.errors import DatasetError
from contextblip.types import GalleryImageBatch, GalleryTextBatch


@dataclass(frozen=True)
class Processes:
    """The processes that share a test.

    Attributes:
        rank: This one.
        world_size: How many there are.
        reduce: Combines a tensor over all of them by ``sum``, ``min`` or ``max``; all call it in one order.
    """

    rank: int
    world_size: int
    reduce: Callable[[Tensor, str], Tensor]

    def join(self, rows: Tensor, values: Tensor, total: int) -> Tensor:
        """Put rows that single processes hold into one tensor that all hold.

        A sum over zeros is exact, needs one collective for shares of any size, and works in every backend.

        Args:
            rows: Where this process's rows stand; no other process has one of them, ``(n,)`` int64.
            values: Those rows, ``(n, …)``.
            total: Number of rows N of all processes.

        Returns:
            All rows, ``(N, …)``; 0 where nobody had one.
        """
        joined = values.new_zeros((total, *values.shape[1:]))
        joined[rows] = values
        return self.reduce(joined, "sum")

    def largest(self, number: int, device: torch.device) -> int:
        """Return the largest of the numbers that the processes have."""
        return int(self.reduce(torch.tensor(number, device=device), "max"))

    @property
    def share(self) -> slice:
        """Every how-manieth row of something that all hold is this process's to work on."""
        return slice(self.rank, None, self.world_size)


@dataclass
class Gallery:
    """All images and texts, texts from short to long, each numbered from 0.

    Attributes:
        image_features: Unit-norm, of N images, ``(N, E)`` float32.
        text_features: Unit-norm, of M texts, ``(M, E)`` float32.
        input_ids: Token ids, padded to the longest, ``(M, L)`` int64.
        attention_mask: 1 at tokens, ``(M, L)`` int64.
        image_index: Image of each text, -1 for none, ``(M,)`` int64.
        owned: Images whose states this process holds, ``(N,)`` bool.
        image_embeds: Those states by image, on the CPU, ``(1 + P, D)`` each.
    """

    image_features: Tensor
    text_features: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    image_index: Tensor
    owned: Tensor
    image_embeds: dict[int, Tensor]


@dataclass
class GalleryRows:
    """What one process has encoded so far.

    Attributes:
        images: Numbers of the images, ``(B,)`` each.
        image_features: ``(B, E)`` each, float32.
        image_embeds: States by the image's number, on the CPU.
        texts: Numbers of the texts, ``(B,)`` each.
        text_features: ``(B, E)`` each, float32.
        tokens: Token ids and attention mask, ``(B, L, 2)`` each, L differs.
        image_index: Number of each text's image, ``(B,)`` each.
    """

    images: list[Tensor] = field(default_factory=list)
    image_features: list[Tensor] = field(default_factory=list)
    image_embeds: dict[int, Tensor] = field(default_factory=dict)
    texts: list[Tensor] = field(default_factory=list)
    text_features: list[Tensor] = field(default_factory=list)
    tokens: list[Tensor] = field(default_factory=list)
    image_index: list[Tensor] = field(default_factory=list)

    def add_images(
        self, batch: GalleryImageBatch, features: Tensor, embeds: Tensor | None, dtype: torch.dtype
    ) -> None:
        """Keep a batch of encoded images.

        Args:
            batch: The images.
            features: Their features, ``(B, E)``.
            embeds: Their states, ``(B, 1 + P, D)``; ``None`` where nothing will be fused.
            dtype: In which the states are kept.
        """
        self.images.append(batch["index"])
        self.image_features.append(features.float())
        if embeds is not None:
            rows = embeds.to(dtype).cpu().unbind()
            self.image_embeds.update(zip(batch["index"].tolist(), rows, strict=True))

    def add_texts(self, batch: GalleryTextBatch, features: Tensor) -> None:
        """Keep a batch of encoded texts.

        Args:
            batch: The texts.
            features: Their features, ``(B, E)``.
        """
        self.texts.append(batch["index"])
        self.text_features.append(features.float())
        self.tokens.append(torch.stack([batch["input_ids"], batch["attention_mask"]], dim=-1))
        self.image_index.append(batch["image_index"])

    def join(self, processes: Processes, width: int, device: torch.device) -> Gallery:
        """Join the rows of all processes.

        A row that several have, because a sampler repeated it, counts once. A text whose image is not there
        (a test cut short by ``--trainer.limit_test_batches``) belongs to none.

        Args:
            processes: Those that share the test.
            width: Width E of the features.
            device: Where the batches are.

        Returns:
            The gallery, the same in all processes but for the states.

        Raises:
            DatasetError: No text belongs to an image.
        """
        images = _Numbering(_cat(self.images, device), processes)
        texts = _Numbering(_cat(self.texts, device), processes)
        tokens = self._tokens(processes, device)
        image_features = images.join(_cat(self.image_features, device, (width,), torch.float32))
        text_features = texts.join(_cat(self.text_features, device, (width,), torch.float32))
        tokens, image_index = texts.join(tokens), texts.join(_cat(self.image_index, device))
        image_index = images.positions(image_index)
        if not bool((image_index >= 0).any()):
            raise DatasetError(
                f"image-text retrieval: none of the {texts.total} texts belongs to one of the {images.total} "
                "images; if --trainer.limit_test_batches or limit_val_batches cut them short, raise it"
            )
        # neighbours of one length are fused with little padding
        order = tokens[..., 1].sum(dim=1).argsort(stable=True)
        numbers = images.numbers[images.rows].tolist()
        return Gallery(
            image_features,
            text_features[order],
            tokens[order, :, 0],
            tokens[order, :, 1],
            image_index[order],
            images.owned,
            {
                place: self.image_embeds[number]
                for place, number in zip(images.places.tolist(), numbers, strict=True)
                if number in self.image_embeds
            },
        )

    def _tokens(self, processes: Processes, device: torch.device) -> Tensor:
        """Pad this process's token ids and masks to the longest of all processes, ``(n, L, 2)``."""
        longest = processes.largest(max((part.shape[1] for part in self.tokens), default=0), device)
        padded = [F.pad(part, (0, 0, 0, longest - part.shape[1])) for part in self.tokens]
        return _cat(padded, device, (longest, 2))


class _Numbering:
    """Numbers rows from 0, without the gaps that a cut test leaves, the same in all processes.

    Args:
        numbers: This process's rows as the data set numbers them, ``(n,)`` int64.
        processes: Those that share the test.
    """

    def __init__(self, numbers: Tensor, processes: Processes) -> None:
        self.numbers = numbers
        self.processes = processes
        size = processes.largest(int(numbers.max()) + 1 if len(numbers) else 0, numbers.device)
        owner = numbers.new_full((size,), processes.world_size)
        owner[numbers] = processes.rank
        owner = processes.reduce(owner, "min")
        present = owner < processes.world_size
        self.total = int(present.sum())
        self.owned = owner[present] == processes.rank
        # position of every number, -1 where it is absent; the last entry is for the number -1
        self._position = torch.where(present, present.cumsum(0) - 1, -1)
        self._position = torch.cat([self._position, self._position.new_full((1,), -1)])
        row = numbers.new_zeros(size)
        row[numbers] = torch.arange(len(numbers), device=numbers.device)
        mine = (owner == processes.rank).nonzero().squeeze(1)
        self.rows, self.places = row[mine], self._position[mine]

    def join(self, values: Tensor) -> Tensor:
        """Join what belongs to the rows, ``(n, …)`` to ``(total, …)``."""
        return self.processes.join(self.places, values[self.rows], self.total)

    def positions(self, numbers: Tensor) -> Tensor:
        """Translate the data set's numbers, -1 where there is no such row."""
        size = len(self._position) - 1
        return self._position[torch.where((numbers >= 0) & (numbers < size), numbers, size)]


def _cat(
    parts: list[Tensor], device: torch.device, shape: tuple[int, ...] = (), dtype: torch.dtype = torch.long
) -> Tensor:
    """Join parts; a process may have none."""
    return torch.cat(parts) if parts else torch.zeros((0, *shape), dtype=dtype, device=device)
